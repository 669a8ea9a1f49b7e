"""SEG of the Cell Tracking Challenge: how well the true objects are outlined."""

import numpy as np
from jaxtyping import Int64

from dinocell_eval.overlap.pair_table import PairTable
from dinocell_eval.overlap.statistics import Column, Statistics, ratio, sum_by_image


def jaccard(table: PairTable, match: Int64[np.ndarray, "truth"]) -> np.ndarray:
    """J of each true object: IoU with the object that covers more than half of it, 0 without one."""
    values = np.zeros(table.num_truth)
    matched = match[table.pair_truth] == table.pair_predicted
    values[table.pair_truth[matched]] = table.iou[matched]
    return values


def seg_statistics(table: PairTable, match: Int64[np.ndarray, "truth"]) -> dict[str, Column]:
    return {"sum_jaccard": sum_by_image(jaccard(table, match), table.truth_image, table.num_images)}


def seg(statistics: Statistics) -> Column:
    """SEG = sum of J over the true objects / their number; undefined without true objects.

    Pooled it is the mean over all objects of the set, not the mean of image means. Spurious objects do not count.
    """
    return ratio(statistics["sum_jaccard"], statistics["n_truth"])
