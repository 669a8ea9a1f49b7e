"""The table of metrics: name, definition, and the formula on sufficient statistics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from dinocell_eval.metrics.aji import aji, aji_plus
from dinocell_eval.metrics.average_precision import (
    COCO_THRESHOLDS,
    MEAN_THRESHOLDS,
    average_precision,
    f1,
    mean_average_precision,
    precision,
    recall,
)
from dinocell_eval.metrics.boundary import boundary_mean
from dinocell_eval.metrics.count import count_error, count_ratio
from dinocell_eval.metrics.det import det
from dinocell_eval.metrics.foreground import dice, foreground_iou
from dinocell_eval.metrics.mma import mma
from dinocell_eval.metrics.op_csb import op_csb
from dinocell_eval.metrics.panoptic_quality import panoptic_quality, recognition_quality, segmentation_quality
from dinocell_eval.metrics.seg import seg
from dinocell_eval.overlap.matching import threshold_key
from dinocell_eval.overlap.statistics import Column, Statistics


@dataclass(frozen=True)
class Metric:
    """A metric as it is computed here: `definition` is its id, a name that changes when the numbers would."""

    definition: str
    meaning: str
    formula: Callable[[Statistics], Column]


_CTC_MATCH = "a prediction matches a true object if it covers more than half of it"

_FIXED = {
    "seg": Metric("ctc-seg/1", f"sum of IoU of the matched / true objects; {_CTC_MATCH}", seg),
    "det": Metric(
        "ctc-det/1", f"1 - min(5 NS + 10 FN + FP, 10 n) / 10 n, n true objects; {_CTC_MATCH}", det
    ),
    "op_csb": Metric("ctc-op-csb/1", "(SEG + DET) / 2", op_csb),
    "ap_mean": Metric(
        "ap-mean-50-90/1",
        "mean of AP at IoU .50:.05:.90 (9 thresholds)",
        partial(mean_average_precision, thresholds=MEAN_THRESHOLDS),
    ),
    "ap_mean_50_95": Metric(
        "ap-mean-50-95/1",
        "mean of AP at IoU .50:.05:.95 (10 thresholds)",
        partial(mean_average_precision, thresholds=COCO_THRESHOLDS),
    ),
    "pq": Metric("kirillov-pq/1", "sum of IoU / (TP + FP/2 + FN/2), IoU > 1/2 strictly", panoptic_quality),
    "sq": Metric("kirillov-sq/1", "sum of IoU / TP, IoU > 1/2 strictly", segmentation_quality),
    "rq": Metric("kirillov-rq/1", "TP / (TP + FP/2 + FN/2), IoU > 1/2 strictly", recognition_quality),
    "aji": Metric(
        "kumar-aji/1", "C / U, each true object with its best-IoU prediction, reuse allowed, ties: lowest label", aji
    ),
    "aji_plus": Metric("graham-aji-plus/1", "C / U over the one-to-one assignment with the greatest IoU sum", aji_plus),
    "mma": Metric("dinocell-mma/1", "overlap of the heaviest one-to-one matching / union of the foregrounds", mma),
    "dice": Metric("foreground-dice/1", "2 I / (A + B) of the foregrounds", dice),
    "foreground_iou": Metric("foreground-iou/1", "I / (A + B - I) of the foregrounds", foreground_iou),
    "count_ratio": Metric("count-ratio/1", "predicted / true objects", count_ratio),
    "count_error": Metric(
        "count-error/1", "sum over images of |true - predicted| / true objects", count_error
    ),
}  # fmt: skip

_AT_THRESHOLD = {
    "ap": ("ap-jaccard/1", "TP / (TP + FP + FN)", average_precision),
    "precision": ("precision/1", "TP / (TP + FP)", precision),
    "recall": ("recall/1", "TP / (TP + FN)", recall),
    "f1": ("f1/1", "2 TP / (2 TP + FP + FN)", f1),
}

COUNTS = {
    "ns": "ctc-ns/1",
    "fn": "ctc-fn/1",
    "fp": "ctc-fp/1",
    "n_truth": "objects/1",
    "n_predicted": "objects/1",
}


_BOUNDARY = {
    "boundary_iou": ("cheng-boundary-iou-euclidean/1", "mean IoU of the bands along the outlines, {width} px wide"),
    "boundary_f": ("csurka-boundary-f/1", "mean F of the outlines' shares no farther than {width} px from each other"),
    "hausdorff_px": ("hausdorff/1", "mean greatest distance between the outlines in pixels"),
    "assd_px": ("assd/1", "mean of the mean distances between the outlines in pixels"),
}


def metric_table(thresholds: Sequence[Fraction], *, boundary_px: float | int | None = None) -> dict[str, Metric]:
    """All metrics by name, those at IoU thresholds as `ap_0.50`, `precision_0.50`, `recall_0.50`, `f1_0.50`.

    Those of the outlines are among them where their width in pixels is given.
    """
    table = dict(_FIXED)
    if boundary_px is not None:
        for name, (definition, meaning) in _BOUNDARY.items():
            table[name] = Metric(
                definition,
                f"{meaning.format(width=f'{boundary_px:g}')}; of the one-to-one pairs with IoU >= 1/2",
                partial(boundary_mean, name=name),
            )
    for name, (definition, meaning, formula) in _AT_THRESHOLD.items():
        for threshold in thresholds:
            table[f"{name}_{threshold_key(threshold)}"] = Metric(
                definition,
                f"{meaning}, IoU >= {threshold} exactly, one-to-one",
                partial(formula, threshold=threshold),
            )
    return table
