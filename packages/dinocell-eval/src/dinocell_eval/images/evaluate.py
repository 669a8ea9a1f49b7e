"""All metrics of a set of static images, pooled and per image, from one pass over the pixels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from dinocell_eval.images.bootstrap import FEWEST_IMAGES, NUM_REPLICATES, bootstrap_intervals
from dinocell_eval.images.compared_images import compared_images
from dinocell_eval.images.protocols import Protocol, ProtocolResult, protocol_named, quantity_metrics
from dinocell_eval.images.taxonomy import PREDICTED_CLASSES, TRUTH_CLASSES, Objects, classify
from dinocell_eval.metrics.average_precision import COCO_THRESHOLDS
from dinocell_eval.metrics.boundary import boundary_statistics
from dinocell_eval.metrics.metric_table import COUNTS, Metric, metric_table, statistics_of
from dinocell_eval.overlap.geometry import stack_geometry
from dinocell_eval.overlap.matching import exact_threshold, majority_match, threshold_key
from dinocell_eval.overlap.pair_table import stack
from dinocell_eval.overlap.statistics import Column, Statistics, Total, total
from dinocell_io import counted


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a set of images. None stands for "undefined" everywhere; no value is ever NaN.

    `pooled` adds the statistics of all images before dividing, as the Cell Tracking Challenge does with the frames
    of a sequence; `per_image_mean` is the mean over the images where a metric is defined. `intervals` are 95 %
    bootstrap intervals of the pooled metrics. `counts` are whole numbers of the set, `notes` what a reader has to
    know about these numbers. `protocol` holds the numbers of the chosen protocol, `statistics` the sums of each image
    from which all of these follow, so that sets can be compared without the images.
    """

    names: tuple[str, ...]
    iou_thresholds: tuple[Fraction, ...]
    pooled: Mapping[str, float | None]
    per_image: Mapping[str, tuple[float | None, ...]]
    per_image_mean: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float] | None]
    num_replicates: int
    counts: Mapping[str, int]
    objects: Objects
    definitions: Mapping[str, Metric]
    protocol: ProtocolResult
    statistics: Statistics
    boundary_px: float | int | None
    notes: tuple[str, ...]


def evaluate(
    truths: Iterable[npt.ArrayLike],
    predictions: Iterable[npt.ArrayLike],
    *,
    iou_thresholds: Sequence[float | Fraction] = tuple(float(t) for t in COCO_THRESHOLDS),
    names: Sequence[str] | None = None,
    num_replicates: int = NUM_REPLICATES,
    protocol: str = "dinocell",
    boundary_px: float | int | None = None,
    boxes: bool = False,
) -> Evaluation:
    """Compare predicted with true label images, pair by pair; 0 is background, every other label one object.

    Both may be generators: one pair is held at a time. Labels may be of any integer type, with gaps and up to
    2**63 - 1; images may differ in size, but not within a pair. `iou_thresholds` choose the AP, precision, recall and
    F1 to report; `ap_mean` and `ap_mean_50_95` always use their own. `names` are used in messages and files
    ("0", "1", ... by default). `num_replicates` 0 leaves out the bootstrap intervals, which is for sweeps.
    `protocol` is one of `dinocell_eval.images.protocols.PROTOCOLS` and changes nothing but `Evaluation.protocol`.
    `boundary_px`, the width of an outline, adds boundary IoU, boundary F, Hausdorff distance and ASSD; `boxes` adds
    bounding boxes to the objects. Raises ValueError on unequal numbers or shapes, negative or fractional labels, an
    unknown protocol, and thresholds outside (0, 1] or widths below 1.
    """
    thresholds, chosen = check_settings(iou_thresholds=iou_thresholds, protocol=protocol, boundary_px=boundary_px)
    images = list(compared_images(truths, predictions, names=names, boundary_px=boundary_px, boxes=boxes))
    image_names = tuple(names) if names is not None else tuple(str(i) for i in range(len(images)))
    table = stack([image.table for image in images])
    match = majority_match(table)
    metrics = metric_table(thresholds, boundary_px=boundary_px)
    statistics = statistics_of(metrics.values(), table, thresholds=thresholds)
    agreements = [image.agreement for image in images if image.agreement is not None]
    if boundary_px is not None:
        statistics |= boundary_statistics(table, agreements)
    if chosen.extra is not None:
        statistics |= chosen.extra(table, np.array([image.num_pixels for image in images], np.int64))
    summed, quantities = quantity_metrics(chosen, statistics)
    pooled_statistics = total(summed)

    per_image = {name: statistics[name] for name in COUNTS}
    per_image |= {name: metric.formula(statistics) for name, metric in metrics.items()}
    pooled = {name: pooled_statistics[name] for name in COUNTS}
    pooled |= {name: metric.formula(pooled_statistics) for name, metric in metrics.items()}
    both = {(0, name): metric for name, metric in metrics.items()} | {(1, name): q for name, q in quantities.items()}
    intervals = bootstrap_intervals(summed, both, num_replicates=num_replicates)
    geometry = stack_geometry([*(image.truth for image in images), *(image.predicted for image in images)])
    objects = classify(table, match, geometry, agreements=agreements)
    counts = _counts(pooled_statistics, statistics, objects, thresholds)
    return Evaluation(
        names=image_names,
        iou_thresholds=thresholds,
        pooled={name: _defined(column)[0] for name, column in pooled.items()},
        per_image={name: _defined(column) for name, column in per_image.items()},
        per_image_mean={name: _mean(column) for name, column in per_image.items()},
        intervals={name: intervals.get((0, name)) for name in pooled},
        num_replicates=num_replicates,
        counts=counts,
        objects=objects,
        definitions=metrics,
        protocol=ProtocolResult(
            chosen,
            {name: _defined(quantity.formula(pooled_statistics))[0] for name, quantity in quantities.items()},
            {name: intervals[1, name] for name in quantities},
        ),
        statistics=statistics,
        boundary_px=boundary_px,
        notes=_notes(counts, num_replicates=num_replicates),
    )


def check_settings(
    *, iou_thresholds: Sequence[float | Fraction], protocol: str, boundary_px: float | int | None
) -> tuple[tuple[Fraction, ...], Protocol]:
    """Exact thresholds and the protocol; ValueError for settings that `evaluate` refuses, before any image is read."""
    thresholds = _thresholds(iou_thresholds)
    if boundary_px is not None and not 1 <= boundary_px < np.inf:
        raise ValueError(f"boundary_px is {boundary_px}, expected a width of 1 pixel or more, such as 2")
    return thresholds, protocol_named(protocol)


def per_image_values(
    truths: Iterable[npt.ArrayLike], predictions: Iterable[npt.ArrayLike], *, metrics: Sequence[str]
) -> dict[str, Column]:
    """Only these metrics of each image, NaN where undefined: what a sweep needs of `evaluate`, in less time.

    Raises ValueError as `evaluate` does, and for a metric that it does not report by default.
    """
    known = metric_table(COCO_THRESHOLDS)
    unknown = [name for name in metrics if name not in known]
    if unknown or not metrics:
        raise ValueError(f"there is no metric {', '.join(unknown) or '(none)'}; choose from {', '.join(sorted(known))}")
    table = stack(
        [image.table for image in compared_images(truths, predictions, names=None, boundary_px=None, boxes=False)]
    )
    statistics = statistics_of([known[name] for name in metrics], table, thresholds=())
    return {name: known[name].formula(statistics) for name in metrics}


def _thresholds(given: Sequence[float | Fraction]) -> tuple[Fraction, ...]:
    thresholds = tuple(exact_threshold(threshold) for threshold in given)
    if len(set(thresholds)) != len(thresholds):
        raise ValueError(f"IoU thresholds {list(given)} hold one twice, expected each once; remove the repetition")
    return thresholds


def _counts(
    pooled: Mapping[str, Total],
    statistics: Mapping[str, Column],
    objects: Objects,
    thresholds: Sequence[Fraction],
) -> dict[str, int]:
    truth_empty, predicted_empty = statistics["n_truth"] == 0, statistics["n_predicted"] == 0
    counts = {
        "images": truth_empty.size,
        "images_truth_empty": truth_empty.sum(),
        "images_predicted_empty": predicted_empty.sum(),
        "images_both_empty": (truth_empty & predicted_empty).sum(),
    }
    counts |= {name: pooled[name][0] for name in COUNTS}
    counts |= {f"tp_{threshold_key(t)}": pooled[f"tp_{threshold_key(t)}"][0] for t in thresholds}
    for kind, classes in (("truth", TRUTH_CLASSES), ("predicted", PREDICTED_CLASSES)):
        of_kind = objects.error_class[objects.kind == kind]
        counts |= {f"{kind}_{name.replace(' ', '_')}": (of_kind == name).sum() for name in classes}
    return {name: int(count) for name, count in counts.items()}


def _notes(counts: Mapping[str, int], *, num_replicates: int) -> tuple[str, ...]:
    notes = []
    images, both = counts["images"], counts["images_both_empty"]
    if num_replicates == 0:
        notes.append("bootstrap intervals were left out")
    elif images < 2:
        notes.append(f"{counted(images, 'image')}: no bootstrap intervals")
    elif images < FEWEST_IMAGES:
        notes.append(f"only {images} images: the bootstrap intervals are rough below {FEWEST_IMAGES}")
    if both:
        are = "1 image is" if both == 1 else f"{both} images are"
        notes.append(f"{are} empty in truth and prediction, and left out of per-image means")
    if (spurious := counts["images_truth_empty"] - both) > 0:
        have = "1 image has" if spurious == 1 else f"{spurious} images have"
        notes.append(
            f"{have} predicted but no true objects; SEG and DET are undefined there, and false positives count in the "
            "pooled values"
        )
    if counts["n_truth"] == 0:
        notes.append("no true object in the whole set: SEG, DET and OP_CSB are undefined")
    return tuple(notes)


def _defined(column: Column) -> tuple[float | None, ...]:
    undefined = np.isnan(column)
    if not undefined.any():
        return tuple(column.tolist())
    return tuple(None if nan else value for value, nan in zip(column.tolist(), undefined.tolist(), strict=True))


def _mean(column: Column) -> float | None:
    defined = column[~np.isnan(column)]
    return float(defined.mean()) if defined.size else None
