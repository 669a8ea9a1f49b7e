"""How well the outlines agree: boundary IoU, boundary F, Hausdorff distance and ASSD of the matched objects.

Computed on request, because these need the pixels once more and a distance for each pixel of an outline. The objects
compared are the one-to-one pairs with IoU >= 1/2, so the means say how good the outlines of the found cells are, not
how many cells were found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Integer

from dinocell_eval.overlap.matching import match_at
from dinocell_eval.overlap.pair_table import PairTable
from dinocell_eval.overlap.statistics import Column, Statistics, ratio, sum_by_image
from dinocell_kernels import distance_map, label_overlap

MEASURES = ("boundary_iou", "boundary_f", "hausdorff_px", "assd_px")


@dataclass(frozen=True)
class BoundaryAgreement:
    """Rows of the pair table that were compared, and the four measures of each."""

    pairs: Int64[np.ndarray, "match"]
    boundary_iou: Float64[np.ndarray, "match"]
    boundary_f: Float64[np.ndarray, "match"]
    hausdorff_px: Float64[np.ndarray, "match"]
    assd_px: Float64[np.ndarray, "match"]


def boundary_agreement(
    truth: Integer[np.ndarray, "y x"], predicted: Integer[np.ndarray, "y x"], table: PairTable, *, width_px: float
) -> BoundaryAgreement:
    """The four measures of the one-to-one pairs with IoU >= 1/2 of one image.

    An object's outline is its pixels with one of the four neighbours outside it; beyond the image is outside. Its band
    is its pixels no farther than `width_px` from the outside, the outline itself for 1. Boundary IoU is the IoU of the
    two bands (Cheng et al. 2021, with Euclidean instead of chessboard distance and a width in pixels instead of 2 % of
    the image's diagonal, which would fill entire cells). Boundary F is the harmonic mean of the shares of either
    outline no farther than `width_px` from the other (Csurka et al. 2013). Hausdorff is the greatest, ASSD the mean
    distance from the pixels of either outline to the other, in pixels.
    """
    pairs = match_at(table, Fraction(1, 2))
    depth_truth, depth_predicted = (
        distance_map(_native(labels), normalize=False, border_is_background=True) for labels in (truth, predicted)
    )
    points_truth = _outline(truth, depth_truth, table.truth_label, table.pair_truth[pairs])
    points_predicted = _outline(predicted, depth_predicted, table.predicted_label, table.pair_predicted[pairs])
    there, back = _nearest(points_truth, points_predicted, gap=2.0 * sum(truth.shape))
    pair_there, pair_back = points_truth[:, 0].astype(np.int64), points_predicted[:, 0].astype(np.int64)

    def per_pair(values: np.ndarray, pair: np.ndarray) -> np.ndarray:
        return np.bincount(pair, weights=values, minlength=pairs.size)

    length_there, length_back = (np.bincount(pair, minlength=pairs.size) for pair in (pair_there, pair_back))
    recall = per_pair(there <= width_px, pair_there) / length_there
    precision = per_pair(back <= width_px, pair_back) / length_back
    farthest = np.zeros(pairs.size)
    np.maximum.at(farthest, pair_there, there)
    np.maximum.at(farthest, pair_back, back)
    both = precision + recall
    return BoundaryAgreement(
        pairs=pairs,
        boundary_iou=_band_iou(
            truth, predicted, table, pairs, depth_truth <= width_px, depth_predicted <= width_px
        ),
        boundary_f=np.divide(2 * precision * recall, both, out=np.zeros(pairs.size), where=both > 0),
        hausdorff_px=farthest,
        assd_px=(per_pair(there, pair_there) + per_pair(back, pair_back)) / (length_there + length_back),
    )  # fmt: skip


def boundary_statistics(table: PairTable, agreements: Sequence[BoundaryAgreement]) -> dict[str, Column]:
    """Number of compared pairs of each image and the sum of each measure over them."""
    sizes = [agreement.pairs.size for agreement in agreements]
    image = np.repeat(np.arange(table.num_images), sizes)
    columns = {"boundary_pairs": np.array(sizes, np.float64)}
    for name in MEASURES:
        values = np.concatenate([np.zeros(0), *(getattr(agreement, name) for agreement in agreements)])
        columns[f"sum_{name}"] = sum_by_image(values, image, table.num_images)
    return columns


def boundary_mean(statistics: Statistics, name: str) -> Column:
    """Mean of a measure over the compared pairs; undefined without a pair."""
    return ratio(statistics[f"sum_{name}"], statistics["boundary_pairs"])


def _native(labels: Integer[np.ndarray, "y x"]) -> Integer[np.ndarray, "y x"]:
    return labels.astype(np.int64) if labels.dtype == np.uint64 else labels


def _outline(
    labels: Integer[np.ndarray, "y x"],
    depth: Float32[np.ndarray, "y x"],
    label: Int64[np.ndarray, "object"],
    matched: Int64[np.ndarray, "match"],
) -> Float64[np.ndarray, "point 3"]:
    """Pixels (pair, y, x) of the outlines of the matched objects."""
    pair_of = np.full(label.size, -1, np.int64)
    pair_of[matched] = np.arange(matched.size)
    y, x = np.nonzero(depth == 1)
    pair = pair_of[np.searchsorted(label, labels[y, x])]
    kept = pair >= 0
    return np.stack([pair[kept], y[kept], x[kept]], axis=1).astype(np.float64)


def _nearest(
    first: Float64[np.ndarray, "first 3"], second: Float64[np.ndarray, "second 3"], *, gap: float
) -> tuple[Float64[np.ndarray, "first"], Float64[np.ndarray, "second"]]:
    """Distance of each point to the nearest one of the other set in the same pair.

    One tree serves all pairs: they lie in planes farther apart than any two points of an image.
    """
    from scipy.spatial import cKDTree

    if not first.size:
        return np.zeros(0), np.zeros(0)
    planes = np.array([gap, 1.0, 1.0])
    first, second = first * planes, second * planes
    return cKDTree(second).query(first)[0], cKDTree(first).query(second)[0]


def _band_iou(
    truth: Integer[np.ndarray, "y x"],
    predicted: Integer[np.ndarray, "y x"],
    table: PairTable,
    pairs: Int64[np.ndarray, "match"],
    near_truth: Bool[np.ndarray, "y x"],
    near_predicted: Bool[np.ndarray, "y x"],
) -> Float64[np.ndarray, "match"]:
    """IoU of the bands of each pair; every object has a band, so no union is empty."""
    overlap = label_overlap(np.where(near_truth, truth, 0), np.where(near_predicted, predicted, 0))
    row_truth = _row(table.truth_label, overlap.truth)
    row_predicted = _row(table.predicted_label, overlap.predicted)
    area_truth = np.bincount(row_truth, weights=overlap.pixels, minlength=table.num_truth + 1)
    area_predicted = np.bincount(row_predicted, weights=overlap.pixels, minlength=table.num_predicted + 1)
    key = row_truth * (table.num_predicted + 1) + row_predicted
    wanted = table.pair_truth[pairs] * (table.num_predicted + 1) + table.pair_predicted[pairs]
    order = np.argsort(key)
    at = np.minimum(np.searchsorted(key, wanted, sorter=order), key.size - 1)
    shared = np.where(key[order[at]] == wanted, overlap.pixels[order[at]], 0)
    union = area_truth[table.pair_truth[pairs]] + area_predicted[table.pair_predicted[pairs]] - shared
    return shared / union


def _row(label: Int64[np.ndarray, "object"], occurring: Int64[np.ndarray, "row"]) -> Int64[np.ndarray, "row"]:
    """Number of each occurring label among the objects; one past the last for background."""
    return np.where(occurring == 0, label.size, np.searchsorted(label, occurring)).astype(np.int64)
