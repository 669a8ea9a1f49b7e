"""Aggregated Jaccard index AJI (Kumar et al. 2017) and AJI+ (Graham et al. 2019)."""

import numpy as np
from jaxtyping import Int64

from dinocell_eval.overlap.matching import heaviest_matching
from dinocell_eval.overlap.pair_table import PairTable
from dinocell_eval.overlap.statistics import Column, Statistics, ratio, sum_by_image


def best_of_truth(table: PairTable) -> Int64[np.ndarray, "match"]:
    """The pair with the greatest IoU of each true object that overlaps anything; the lowest label of equals."""
    truth, iou = table.pair_truth, table.iou  # pairs are sorted by truth, then by predicted label
    if not truth.size:
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.concatenate([[True], truth[1:] != truth[:-1]]))
    best = np.repeat(np.maximum.reduceat(iou, starts), np.diff(starts, append=truth.size))
    at_best = np.flatnonzero(iou == best)
    return at_best[np.concatenate([[True], truth[at_best][1:] != truth[at_best][:-1]])]


def aji_statistics(table: PairTable) -> dict[str, Column]:
    intersection, union = _aggregate(table, best_of_truth(table))
    return {"aji_intersection": intersection, "aji_union": union}


def aji_plus_statistics(table: PairTable) -> dict[str, Column]:
    intersection, union = _aggregate(table, heaviest_matching(table, table.iou))
    return {"aji_plus_intersection": intersection, "aji_plus_union": union}


def aji(statistics: Statistics) -> Column:
    """AJI = C / U: each true object takes its best-IoU prediction (reuse allowed), C adds I and U adds the union;
    true objects without overlap and predictions nobody took add their area to U.

    Undefined when truth and prediction are both empty.
    """
    return ratio(statistics["aji_intersection"], statistics["aji_union"])


def aji_plus(statistics: Statistics) -> Column:
    """AJI+ = C / U as for AJI, over the one-to-one assignment with the greatest sum of IoU.

    Where several assignments reach the same sum, C / U can depend on which is taken; the numbers are reproducible.
    """
    return ratio(statistics["aji_plus_intersection"], statistics["aji_plus_union"])


def _aggregate(table: PairTable, pairs: Int64[np.ndarray, "match"]) -> tuple[Column, Column]:
    """C and U of each image for the pairs taken."""
    image = table.pair_image[pairs]
    alone_truth = np.ones(table.num_truth, bool)
    alone_truth[table.pair_truth[pairs]] = False
    alone_predicted = np.ones(table.num_predicted, bool)
    alone_predicted[table.pair_predicted[pairs]] = False
    intersection = sum_by_image(table.intersection[pairs], image, table.num_images)
    union = (
        sum_by_image(table.union[pairs], image, table.num_images)
        + sum_by_image(table.truth_area[alone_truth], table.truth_image[alone_truth], table.num_images)
        + sum_by_image(table.predicted_area[alone_predicted], table.predicted_image[alone_predicted], table.num_images)
    )
    return intersection, union
