"""What is wrong with which object: one class for every true and every predicted object.

The classes are exhaustive and disjoint; where several apply, the first of the lists below holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from dinocell_eval.metrics.boundary import MEASURES, BoundaryAgreement
from dinocell_eval.metrics.seg import jaccard
from dinocell_eval.overlap.geometry import Geometry
from dinocell_eval.overlap.matching import match_at
from dinocell_eval.overlap.pair_table import PairTable

# correct: one-to-one with IoU >= 1/2.
# merged: the predicted object that covers more than half of it covers more than half of another one too.
# split: two predicted objects or more have more than half of their area in it, or none covers more than half of it
#   but all together cover half or more.
# poorly outlined: covered to more than half by one predicted object, with IoU < 1/2.
# missed: less than half of it is covered.
TRUTH_CLASSES = ("correct", "merged", "split", "poorly outlined", "missed")

# correct: one-to-one with IoU >= 1/2.
# merging: covers more than half of two true objects or more.
# fragment: more than half of its area is in one true object that is in pieces (the condition of split).
# poorly outlined: covers more than half of one true object, with IoU < 1/2.
# spurious: more than half of it is on background.
# other: what remains, such as a small part of a missed object.
PREDICTED_CLASSES = ("correct", "merging", "fragment", "poorly outlined", "spurious", "other")


@dataclass(frozen=True)
class Objects:
    """All objects of a set as columns: the true objects image by image, then the predicted ones.

    `matched_label` of a true object is the predicted object that covers more than half of it, of a predicted object
    the true object so covered (of several the one with the greatest IoU); 0 means none. `iou` is the greatest with
    any object of the other kind, `jaccard` the IoU with the matched one (0 without a match).
    FN are the true objects and FP the predicted ones whose `matched_label` is 0. `on_border` marks objects with a
    pixel in the image's first or last row or column; `box` is y0, x0, y1, x1, ends outside, if requested.
    `boundary` holds the measures of `dinocell_eval.metrics.boundary` if requested, NaN for objects that were not
    compared.
    """

    image: Int64[np.ndarray, "object"]
    kind: Shaped[np.ndarray, "object"]
    label: Int64[np.ndarray, "object"]
    area: Int64[np.ndarray, "object"]
    matched_label: Int64[np.ndarray, "object"]
    iou: Float64[np.ndarray, "object"]
    jaccard: Float64[np.ndarray, "object"]
    error_class: Shaped[np.ndarray, "object"]
    on_border: Bool[np.ndarray, "object"]
    box: Int64[np.ndarray, "object 4"] | None
    boundary: Mapping[str, Float64[np.ndarray, "object"]]

    def __len__(self) -> int:
        return int(self.label.size)


def classify(
    table: PairTable,
    match: Int64[np.ndarray, "truth"],
    geometry: Geometry,
    *,
    agreements: Sequence[BoundaryAgreement] = (),
) -> Objects:
    """Class, match and overlap of every object.

    `match` is the majority match of the true objects; `geometry` has a row for each true, then each predicted object;
    `agreements` are those of each image, or none.
    """
    matched_truth = _matched_truth(table, match)
    truth_class, predicted_class = _classes(table, match)
    matched_predicted_label = np.append(table.predicted_label, 0)[match]
    matched_truth_label = np.append(table.truth_label, 0)[matched_truth]
    truth_jaccard = jaccard(table, match)
    kinds = np.repeat(["truth", "predicted"], [table.num_truth, table.num_predicted])
    return Objects(
        image=np.concatenate([table.truth_image, table.predicted_image]),
        kind=kinds,
        label=np.concatenate([table.truth_label, table.predicted_label]),
        area=np.concatenate([table.truth_area, table.predicted_area]),
        matched_label=np.concatenate([matched_predicted_label, matched_truth_label]),
        iou=np.concatenate(
            [
                _greatest(table.iou, table.pair_truth, table.num_truth),
                _greatest(table.iou, table.pair_predicted, table.num_predicted),
            ]
        ),
        jaccard=np.concatenate([truth_jaccard, np.append(truth_jaccard, 0.0)[matched_truth]]),
        error_class=np.concatenate(
            [np.array(TRUTH_CLASSES)[truth_class], np.array(PREDICTED_CLASSES)[predicted_class]]
        ),
        on_border=geometry.on_border,
        box=geometry.box,
        boundary=_boundary_columns(table, agreements),
    )


def _boundary_columns(
    table: PairTable, agreements: Sequence[BoundaryAgreement]
) -> dict[str, Float64[np.ndarray, "object"]]:
    """The measures of the compared pairs on their true and on their predicted objects, NaN elsewhere."""
    if not agreements:
        return {}
    pairs = match_at(table, Fraction(1, 2))  # image by image the same pairs in the same order
    columns = {}
    for name in MEASURES:
        column = np.full(table.num_truth + table.num_predicted, np.nan)
        values = np.concatenate([getattr(agreement, name) for agreement in agreements])
        column[table.pair_truth[pairs]] = values
        column[table.num_truth + table.pair_predicted[pairs]] = values
        columns[name] = column
    return columns


def _classes(
    table: PairTable, match: Int64[np.ndarray, "truth"]
) -> tuple[Int64[np.ndarray, "truth"], Int64[np.ndarray, "predicted"]]:
    """Number of each object's class in TRUTH_CLASSES and PREDICTED_CLASSES."""
    pairs = match_at(table, Fraction(1, 2))
    correct_truth = np.zeros(table.num_truth, bool)
    correct_truth[table.pair_truth[pairs]] = True
    correct_predicted = np.zeros(table.num_predicted, bool)
    correct_predicted[table.pair_predicted[pairs]] = True

    matched = match >= 0
    matches = np.bincount(match[matched], minlength=table.num_predicted)
    merged = matched & (np.append(matches, 0)[match] > 1)

    inside = 2 * table.intersection > table.predicted_area[table.pair_predicted]
    pieces = np.bincount(table.pair_truth[inside], minlength=table.num_truth)
    covered = np.bincount(table.pair_truth, weights=table.intersection, minlength=table.num_truth)
    split = (pieces > 1) | (~matched & (2 * covered >= table.truth_area))

    piece_of_split = np.zeros(table.num_predicted, bool)
    piece_of_split[table.pair_predicted[inside & split[table.pair_truth]]] = True
    on_truth = np.bincount(table.pair_predicted, weights=table.intersection, minlength=table.num_predicted)
    spurious = 2 * on_truth < table.predicted_area

    return (
        _first_that_holds([correct_truth, merged, split, matched]),
        _first_that_holds([correct_predicted, matches > 1, piece_of_split, matches > 0, spurious]),
    )


def _matched_truth(table: PairTable, match: Int64[np.ndarray, "truth"]) -> Int64[np.ndarray, "predicted"]:
    """True object that each predicted object matches: of several the greatest IoU, then the lowest label; or -1."""
    rows = np.flatnonzero(match[table.pair_truth] == table.pair_predicted)
    order = rows[np.lexsort((-table.pair_truth[rows], table.iou[rows]))]
    matched = np.full(table.num_predicted, -1, np.int64)
    matched[table.pair_predicted[order]] = table.pair_truth[order]  # the last write wins, so the best comes last
    return matched


def _first_that_holds(conditions: list[np.ndarray]) -> np.ndarray:
    """Position of the first true condition of each object, the number of conditions where none is."""
    return np.argmax(np.stack([*conditions, np.ones_like(conditions[0])]), axis=0).astype(np.int64)


def _greatest(
    values: Float64[np.ndarray, "pair"], group: Int64[np.ndarray, "pair"], num_groups: int
) -> Float64[np.ndarray, "group"]:
    greatest = np.zeros(num_groups)
    np.maximum.at(greatest, group, values)
    return greatest
