"""Metrics by size of the object and by its position, to see which cells a model is good at."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool

from dinocell_eval.images.bootstrap import NUM_REPLICATES, bootstrap_intervals
from dinocell_eval.images.evaluate import Evaluation
from dinocell_eval.images.taxonomy import Objects
from dinocell_eval.metrics.metric_table import Metric
from dinocell_eval.metrics.seg import seg
from dinocell_eval.overlap.statistics import Column, Statistics, count_by_image, ratio, sum_by_image, total


def _average_precision(statistics: Statistics) -> Column:
    return ratio(statistics["hits"], statistics["n_truth"] + statistics["spurious"])


def _recall(statistics: Statistics) -> Column:
    return ratio(statistics["hits"], statistics["n_truth"])


STRATUM_METRICS = {
    "seg": Metric("stratum-seg/1", "mean J of the true objects of the stratum", seg),
    "ap_0.50": Metric(
        "stratum-ap/1",
        "TP / (TP + FP + FN) at IoU >= 1/2: TP and FN are true objects of the stratum, FP unmatched predictions of its "
        "size or position; a match counts where its true object is",
        _average_precision,
    ),
    "recall_0.50": Metric("stratum-recall/1", "TP / (TP + FN) at IoU >= 1/2 of the stratum's true objects", _recall),
}


@dataclass(frozen=True)
class Stratum:
    """The metrics of one part of the objects, pooled over images; `kind` is "size" or "position"."""

    kind: str
    name: str
    n_truth: int
    n_predicted: int
    values: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float] | None]


def stratify(evaluation: Evaluation, *, num_replicates: int = NUM_REPLICATES) -> tuple[Stratum, ...]:
    """SEG, AP and recall at IoU 1/2 of four classes of size and of the objects inside and on the border of the image.

    The classes of size are the quarters of the true objects by area in pixels, over the whole set; predictions are put
    into them by their own area. Classes that no area falls into because many areas are equal are left out. None stands
    for "undefined" as everywhere.
    """
    objects = evaluation.objects
    parts = [("size", name, part) for name, part in size_classes(objects).items()]
    parts += [("position", "inside", ~objects.on_border), ("position", "on the border", objects.on_border)]
    return tuple(
        _stratum(kind, name, part, objects, num_images=len(evaluation.names), num_replicates=num_replicates)
        for kind, name, part in parts
    )


def size_classes(objects: Objects) -> dict[str, Bool[np.ndarray, "object"]]:
    """Objects of each quarter of the true areas, by the range of areas in pixels."""
    areas = objects.area[objects.kind == "truth"]
    if not areas.size:
        return {}
    quartiles = np.unique(np.quantile(areas, [0.25, 0.5, 0.75], method="lower"))
    quarter = np.searchsorted(quartiles, objects.area)  # an area equal to a quartile belongs below it
    bounds = quartiles.tolist()
    names = [f"up to {bounds[0]} px"]
    names += [f"{low + 1} to {high} px" if high > low + 1 else f"{high} px" for low, high in pairwise(bounds)]
    names += [f"from {bounds[-1] + 1} px"]
    classes = {name: quarter == number for number, name in enumerate(names)}
    return {name: part for name, part in classes.items() if part.any()}


def _stratum(
    kind: str,
    name: str,
    part: Bool[np.ndarray, "object"],
    objects: Objects,
    *,
    num_images: int,
    num_replicates: int,
) -> Stratum:
    truth = part & (objects.kind == "truth")
    predicted = part & (objects.kind == "predicted")
    correct = objects.error_class == "correct"  # one-to-one with IoU >= 1/2

    def counted(chosen: Bool[np.ndarray, "object"]) -> Column:
        return count_by_image(objects.image[chosen], num_images)

    statistics = {
        "n_truth": counted(truth),
        "hits": counted(truth & correct),
        "spurious": counted(predicted & ~correct),
        "sum_jaccard": sum_by_image(objects.jaccard[truth], objects.image[truth], num_images),
    }
    pooled = total(statistics)
    values = {metric: float(definition.formula(pooled)[0]) for metric, definition in STRATUM_METRICS.items()}
    return Stratum(
        kind,
        name,
        int(truth.sum()),
        int(predicted.sum()),
        {metric: None if np.isnan(value) else value for metric, value in values.items()},
        bootstrap_intervals(statistics, STRATUM_METRICS, num_replicates=num_replicates),
    )
