"""The table of metrics. One entry says all of a metric: what it is, what it is computed from, and where it is shown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Int64

from dinocell_eval.metrics.aji import aji, aji_plus, aji_plus_statistics, aji_statistics
from dinocell_eval.metrics.average_precision import (
    COCO_THRESHOLDS,
    MEAN_THRESHOLDS,
    average_precision,
    average_precision_statistics,
    f1,
    mean_average_precision,
    precision,
    recall,
)
from dinocell_eval.metrics.boundary import boundary_mean
from dinocell_eval.metrics.count import count_error, count_ratio, count_statistics
from dinocell_eval.metrics.det import det, det_statistics
from dinocell_eval.metrics.foreground import dice, foreground_iou, foreground_statistics
from dinocell_eval.metrics.mma import mma, mma_statistics
from dinocell_eval.metrics.op_csb import op_csb
from dinocell_eval.metrics.panoptic_quality import (
    panoptic_quality,
    panoptic_quality_statistics,
    recognition_quality,
    segmentation_quality,
)
from dinocell_eval.metrics.seg import seg, seg_statistics
from dinocell_eval.overlap.matching import majority_match, threshold_key
from dinocell_eval.overlap.pair_table import PairTable
from dinocell_eval.overlap.statistics import Column, Statistics


@dataclass(frozen=True)
class Compared:
    """All pairs of true and predicted objects, the matches of the Cell Tracking Challenge, and the IoU thresholds."""

    table: PairTable
    match: Int64[np.ndarray, "truth"]
    thresholds: Sequence[Fraction]


Place = Literal["printed", "page", "differences"]
EVERYWHERE: tuple[Place, ...] = ("printed", "page", "differences")


@dataclass(frozen=True)
class Metric:
    """A metric as it is computed here.

    definition: its id, a name that changes when the numbers would.
    formula: the value of each row of statistics.
    statistics: what the formula needs of an image, besides the numbers of objects.
    higher_is_better: False where lower is; None where neither is, so that nothing can be tuned by it.
    shown: where it is among the usual metrics: printed, as dots on the page, in the differences of two predictions.
    """

    definition: str
    meaning: str
    formula: Callable[[Statistics], Column]
    statistics: tuple[Callable[[Compared], dict[str, Column]], ...] = ()
    higher_is_better: bool | None = True
    shown: tuple[Place, ...] = ()


def _counts(compared: Compared) -> dict[str, Column]:
    return count_statistics(compared.table) | det_statistics(compared.table, compared.match)


def _seg(compared: Compared) -> dict[str, Column]:
    return seg_statistics(compared.table, compared.match)


def _true_positives(compared: Compared) -> dict[str, Column]:
    return average_precision_statistics(compared.table, sorted({*compared.thresholds, *COCO_THRESHOLDS}))


def _panoptic(compared: Compared) -> dict[str, Column]:
    return panoptic_quality_statistics(compared.table)


def _aji(compared: Compared) -> dict[str, Column]:
    return aji_statistics(compared.table)


def _aji_plus(compared: Compared) -> dict[str, Column]:
    return aji_plus_statistics(compared.table)


def _mma(compared: Compared) -> dict[str, Column]:
    return mma_statistics(compared.table) | foreground_statistics(compared.table)


def _foreground(compared: Compared) -> dict[str, Column]:
    return foreground_statistics(compared.table)


_CTC_MATCH = "a prediction matches a true object if it covers more than half of it"

_CTC = {
    "seg": Metric(
        "ctc-seg/1",
        f"sum of IoU of the matched / true objects; {_CTC_MATCH}",
        seg,
        (_seg,),
        shown=EVERYWHERE,
    ),
    "det": Metric(
        "ctc-det/1", f"1 - min(5 NS + 10 FN + FP, 10 n) / 10 n, n true objects; {_CTC_MATCH}", det, shown=EVERYWHERE
    ),
    "op_csb": Metric("ctc-op-csb/1", "(SEG + DET) / 2", op_csb, (_seg,), shown=("printed", "differences")),
}
_AT_THRESHOLD = {
    "ap": ("ap-jaccard/1", "TP / (TP + FP + FN)", average_precision),
    "precision": ("precision/1", "TP / (TP + FP)", precision),
    "recall": ("recall/1", "TP / (TP + FN)", recall),
    "f1": ("f1/1", "2 TP / (2 TP + FP + FN)", f1),
}
_SHOWN_AT: dict[str, tuple[Place, ...]] = {"ap_0.50": EVERYWHERE, "ap_0.75": ("printed", "differences")}
_FIXED = {
    "ap_mean": Metric(
        "ap-mean-50-90/1",
        "mean of AP at IoU .50:.05:.90 (9 thresholds)",
        partial(mean_average_precision, thresholds=MEAN_THRESHOLDS),
        (_true_positives,),
        shown=EVERYWHERE,
    ),
    "ap_mean_50_95": Metric(
        "ap-mean-50-95/1",
        "mean of AP at IoU .50:.05:.95 (10 thresholds)",
        partial(mean_average_precision, thresholds=COCO_THRESHOLDS),
        (_true_positives,),
    ),
    "pq": Metric(
        "kirillov-pq/1",
        "sum of IoU / (TP + FP/2 + FN/2), IoU > 1/2 strictly",
        panoptic_quality,
        (_panoptic,),
        shown=EVERYWHERE,
    ),
    "sq": Metric("kirillov-sq/1", "sum of IoU / TP, IoU > 1/2 strictly", segmentation_quality, (_panoptic,)),
    "rq": Metric("kirillov-rq/1", "TP / (TP + FP/2 + FN/2), IoU > 1/2 strictly", recognition_quality, (_panoptic,)),
    "aji": Metric(
        "kumar-aji/1",
        "C / U, each true object with its best-IoU prediction, reuse allowed, ties: lowest label",
        aji,
        (_aji,),
        shown=EVERYWHERE,
    ),
    "aji_plus": Metric(
        "graham-aji-plus/1", "C / U over the one-to-one assignment with the greatest IoU sum", aji_plus, (_aji_plus,)
    ),
    "mma": Metric(
        "dinocell-mma/1",
        "overlap of the heaviest one-to-one matching / union of the foregrounds",
        mma,
        (_mma,),
        shown=EVERYWHERE,
    ),
    "dice": Metric("foreground-dice/1", "2 I / (A + B) of the foregrounds", dice, (_foreground,), shown=EVERYWHERE),
    "foreground_iou": Metric("foreground-iou/1", "I / (A + B - I) of the foregrounds", foreground_iou, (_foreground,)),
    "count_ratio": Metric("count-ratio/1", "predicted / true objects", count_ratio, higher_is_better=None),
    "count_error": Metric(
        "count-error/1",
        "sum over images of |true - predicted| / true objects",
        count_error,
        higher_is_better=False,
        shown=("printed",),
    ),
}

COUNTS = {
    "ns": "ctc-ns/1",
    "fn": "ctc-fn/1",
    "fp": "ctc-fp/1",
    "n_truth": "objects/1",
    "n_predicted": "objects/1",
}

_BOUNDARY = {
    "boundary_iou": (
        "cheng-boundary-iou-euclidean/1",
        "mean IoU of the bands along the outlines, {width} px wide",
        True,
    ),
    "boundary_f": (
        "csurka-boundary-f/1",
        "mean F of the outlines' shares no farther than {width} px from each other",
        True,
    ),
    "hausdorff_px": ("hausdorff/1", "mean greatest distance between the outlines in pixels", False),
    "assd_px": ("assd/1", "mean of the mean distances between the outlines in pixels", False),
}


def metric_table(thresholds: Sequence[Fraction], *, boundary_px: float | int | None = None) -> dict[str, Metric]:
    """All metrics by name, those at IoU thresholds as `ap_0.50`, `precision_0.50`, `recall_0.50`, `f1_0.50`.

    Those of the outlines are among them where their width in pixels is given; `boundary_statistics` has what they need.
    """
    table = dict(_CTC)
    for name, (definition, meaning, formula) in _AT_THRESHOLD.items():
        for threshold in thresholds:
            key = f"{name}_{threshold_key(threshold)}"
            table[key] = Metric(
                definition,
                f"{meaning}, IoU >= {threshold} exactly, one-to-one",
                partial(formula, threshold=threshold),
                (_true_positives,),
                shown=_SHOWN_AT.get(key, ()),
            )
    table |= _FIXED
    if boundary_px is not None:
        for name, (definition, meaning, higher_is_better) in _BOUNDARY.items():
            table[name] = Metric(
                definition,
                f"{meaning.format(width=f'{boundary_px:g}')}; of the one-to-one pairs with IoU >= 1/2",
                partial(boundary_mean, name=name),
                higher_is_better=higher_is_better,
                shown=("printed",),
            )
    return table


def shown_metrics(definitions: Mapping[str, Metric], place: Place) -> list[str]:
    """The names of the metrics that belong there, in the order of the table."""
    return [name for name, metric in definitions.items() if place in metric.shown]


def higher_is_better(name: str) -> bool | None:
    """Whether a high value of the metric is good, of several ("op_csb+ap_mean") whether it is for all; None: neither.

    Raises ValueError for a name that is not a metric's.
    """
    known = metric_table(COCO_THRESHOLDS, boundary_px=1)
    unknown = [one for one in name.split("+") if one not in known]
    if unknown:
        raise ValueError(f"there is no metric {', '.join(unknown)}; choose from {', '.join(sorted(known))}")
    directions = {known[one].higher_is_better for one in name.split("+")}
    return directions.pop() if len(directions) == 1 else None


def statistics_of(metrics: Iterable[Metric], table: PairTable, *, thresholds: Sequence[Fraction]) -> dict[str, Column]:
    """What the metrics are computed from, with the numbers of objects that all of them need."""
    compared = Compared(table, majority_match(table), thresholds)
    statistics = _counts(compared)
    for needed in dict.fromkeys(needed for metric in metrics for needed in metric.statistics):
        statistics |= needed(compared)
    return statistics
