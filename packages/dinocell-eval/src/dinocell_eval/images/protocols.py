"""Named protocols: which numbers a community reports for a set of images, and how it averages them.

A protocol never changes the metrics of an `Evaluation`; it adds the few numbers that its users compare, each with the
definition they use, so that a report says which of the many numbers called "AP" it shows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Int64

from dinocell_eval.metrics.aji import aji
from dinocell_eval.metrics.average_precision import (
    MEAN_THRESHOLDS,
    average_precision,
    mean_average_precision,
    precision,
    recall,
)
from dinocell_eval.metrics.det import det
from dinocell_eval.metrics.metric_table import Metric
from dinocell_eval.metrics.mma import mma
from dinocell_eval.metrics.op_csb import op_csb
from dinocell_eval.metrics.panoptic_quality import panoptic_quality
from dinocell_eval.metrics.published_ap import published_average_precision, published_average_precision_statistics
from dinocell_eval.metrics.seg import seg
from dinocell_eval.overlap.matching import match_at
from dinocell_eval.overlap.pair_table import PairTable
from dinocell_eval.overlap.statistics import Column, Statistics, ratio, sum_by_image

Aggregation = Literal["pooled", "mean of images"]
ExtraStatistics = Callable[[PairTable, Int64[np.ndarray, "image"]], dict[str, Column]]


@dataclass(frozen=True)
class Quantity:
    """One number of a protocol.

    `definition` is its id, `formula` works on sums over images as every metric here. "pooled" applies it to the sums
    of the set; "mean of images" to each image, and takes the mean over the images where it is defined, or counts
    `undefined_as` for the others where the protocol's own tool does.
    """

    definition: str
    meaning: str
    formula: Callable[[Statistics], Column]
    aggregation: Aggregation = "pooled"
    undefined_as: float | None = None

    def columns(self, statistics: Statistics) -> tuple[Column, Column]:
        """Each image's value and weight, from which a mean of images is summed."""
        values = self.formula(statistics)
        defined = ~np.isnan(values)
        if self.undefined_as is None:
            return np.where(defined, values, 0.0), defined.astype(np.float64)
        return np.where(defined, values, self.undefined_as), np.ones(values.size)


@dataclass(frozen=True)
class Protocol:
    """A named set of numbers; `extra` computes statistics that only this protocol needs."""

    name: str
    title: str
    description: str
    quantities: Mapping[str, Quantity]
    extra: ExtraStatistics | None = None
    caveats: Sequence[str] = field(default=())


@dataclass(frozen=True)
class ProtocolResult:
    """A protocol's numbers for one set of images, with their 95 % bootstrap intervals; None where undefined."""

    protocol: Protocol
    values: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float] | None]


def quantity_metrics(protocol: Protocol, statistics: Statistics) -> tuple[Statistics, dict[str, Metric]]:
    """The quantities as metrics, and the statistics with the columns from which means of images are summed."""
    columns: dict[str, Column] = dict(statistics)
    metrics = {}
    for name, quantity in protocol.quantities.items():
        formula = quantity.formula
        if quantity.aggregation == "mean of images":
            keys = (f"{name}: sum", f"{name}: images")
            columns |= zip(keys, quantity.columns(statistics), strict=True)
            formula = partial(_mean_of_images, keys=keys)
        metrics[name] = Metric(quantity.definition, quantity.meaning, formula)
    return columns, metrics


def _mean_of_images(statistics: Statistics, keys: tuple[str, str]) -> Column:
    return ratio(statistics[keys[0]], statistics[keys[1]])


def protocol_named(name: str) -> Protocol:
    """The protocol of that name; ValueError with all names if there is none."""
    if name not in PROTOCOLS:
        raise ValueError(f"there is no protocol {name!r}; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


_HALF, _THREE_QUARTERS, _NINE_TENTHS = Fraction(1, 2), Fraction(3, 4), Fraction(9, 10)
_MEAN: Aggregation = "mean of images"


def _ap(threshold: Fraction, aggregation: Aggregation, *, undefined_as: float | None = None) -> Quantity:
    return Quantity(
        "ap-jaccard/1",
        f"TP / (TP + FP + FN), IoU >= {threshold} exactly, one-to-one",
        partial(average_precision, threshold=threshold),
        aggregation,
        undefined_as,
    )


_CTC = {
    "SEG": Quantity("ctc-seg/1", "mean over all true objects of the IoU with the object covering more than half", seg),
    "DET": Quantity("ctc-det/1", "1 - min(5 NS + 10 FN + FP, 10 n) / 10 n, one cap for the set", det),
    "OP_CSB": Quantity("ctc-op-csb/1", "(SEG + DET) / 2", op_csb),
}
_MMA = Quantity("dinocell-mma/1", "overlap of the heaviest one-to-one matching / union of the foregrounds", mma, _MEAN)


def _stardist_statistics(table: PairTable, num_pixels: Int64[np.ndarray, "image"]) -> dict[str, Column]:
    matched = match_at(table, _HALF)
    return {"stardist_sum_iou": sum_by_image(table.iou[matched], table.pair_image[matched], table.num_images)}


def _stardist_quality(statistics: Statistics) -> Column:
    return ratio(2 * statistics["stardist_sum_iou"], statistics["n_truth"] + statistics["n_predicted"])


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "dinocell",
            "DINOCell",
            "Static images as one pooled set; AP also as mean of images; MMA as published, mean of images.",
            {
                **_CTC,
                "AP@.50": _ap(_HALF, "pooled"),
                "AP .50:.05:.90": Quantity(
                    "ap-mean-50-90/1",
                    "mean of AP at nine thresholds",
                    partial(mean_average_precision, thresholds=MEAN_THRESHOLDS),
                ),
                "AP .50:.05:.90, mean of images": Quantity(
                    "ap-mean-50-90/1",
                    "mean of AP at nine thresholds",
                    partial(mean_average_precision, thresholds=MEAN_THRESHOLDS),
                    _MEAN,
                ),
                "PQ": Quantity("kirillov-pq/1", "sum of IoU / (TP + FP/2 + FN/2), IoU > 1/2", panoptic_quality),
                "AJI": Quantity("kumar-aji/1", "aggregated Jaccard index, C and U added over images", aji),
                "MMA": _MMA,
            },
        ),
        Protocol(
            "ctc",
            "Cell Tracking Challenge",
            "SEG, DET and OP_CSB with all images as frames of one sequence, the true labels as SEG and TRA reference.",
            _CTC,
            caveats=(
                "the official executables take 16-bit labels only; larger ones are counted exactly here",
                "the challenge's field of interest is not applied; set excluded objects to 0 in both folders first",
            ),
        ),
        Protocol(
            "samcell",
            "SAMCell and DINOCell papers",
            "All images of a set as frames of one sequence, the true labels as SEG and TRA reference; "
            "MMA and AP@.50 as mean of images.",
            {**_CTC, "MMA": _MMA, "AP@.50, mean of images": _ap(_HALF, _MEAN)},
            caveats=(
                "the published scripts store labels in 16 bits, where larger ones wrap; they are counted exactly here",
                "AP@.50 is the correct one; protocol dinocell-2026 reproduces the published AP",
            ),
        ),
        Protocol(
            "stardist",
            "StarDist matching_dataset",
            'Accuracy, precision, recall and panoptic quality as stardist.matching names them ("accuracy" is AP here): '
            "pooled (by_image=False, its default) and as mean of images (by_image=True, empty pairs count as 0).",
            {
                "accuracy@.50": _ap(_HALF, "pooled"),
                "accuracy@.75": _ap(_THREE_QUARTERS, "pooled"),
                "accuracy@.90": _ap(_NINE_TENTHS, "pooled"),
                "accuracy@.50, by image": _ap(_HALF, _MEAN, undefined_as=0.0),
                "accuracy@.75, by image": _ap(_THREE_QUARTERS, _MEAN, undefined_as=0.0),
                "accuracy@.90, by image": _ap(_NINE_TENTHS, _MEAN, undefined_as=0.0),
                "precision@.50": Quantity("precision/1", "TP / (TP + FP)", partial(precision, threshold=_HALF)),
                "recall@.50": Quantity("recall/1", "TP / (TP + FN)", partial(recall, threshold=_HALF)),
                "panoptic_quality@.50": Quantity(
                    "stardist-pq/1", "sum of IoU / (TP + FP/2 + FN/2), IoU >= 1/2, not > 1/2", _stardist_quality
                ),
            },
            extra=_stardist_statistics,
            caveats=("stardist compares float32 IoU with >=; here the same thresholds are compared in integers",),
        ),
        Protocol(
            "cellpose",
            "Cellpose average_precision",
            "AP of each image at IoU .50, .75 and .90, and the mean of images.",
            {
                "AP@.50, mean of images": _ap(_HALF, _MEAN),
                "AP@.75, mean of images": _ap(_THREE_QUARTERS, _MEAN),
                "AP@.90, mean of images": _ap(_NINE_TENTHS, _MEAN),
            },
            caveats=(
                "where cellpose returns NaN (an image empty on both sides) the image is left out of the mean",
                "cellpose miscounts images without background; here they count as any other",
            ),
        ),
        Protocol(
            "dinocell-2026",
            "published DINOCell table (2026)",
            "SEG, DET, their mean and MMA of the published table, and AP@.50 as its code computes it: background "
            "counts as a missed cell, so a perfect prediction of N cells gets N / (N + 1); a prediction that reaches "
            "IoU 1/2 with the background counts as correct, and so do both halves of a cell cut in two.",
            {
                **_CTC,
                "MMA": _MMA,
                "AP@.50 as published": Quantity(
                    "dinocell-2026-ap/1",
                    "TP / (TP + FP + FN) with background as a true object: N / (N + 1) when all N cells are perfect",
                    published_average_precision,
                    _MEAN,
                ),
                "AP@.50 corrected, mean of images": _ap(_HALF, _MEAN),
            },
            extra=published_average_precision_statistics,
            caveats=(
                "AP@.50 as published is flawed and serves only to compare with published numbers; "
                "report AP@.50 corrected",
            ),
        ),
    )
}
