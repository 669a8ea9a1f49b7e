"""DET of the Cell Tracking Challenge: how many operations would correct the detected objects."""

import numpy as np
from jaxtyping import Int64

from dinocell_eval.overlap.pair_table import PairTable
from dinocell_eval.overlap.statistics import Column, Statistics, count_by_image, ratio, sum_by_image

SPLIT_WEIGHT = 5  # NS: one predicted object has to be split once more
MISSED_WEIGHT = 10  # FN: a true object has to be added
SPURIOUS_WEIGHT = 1  # FP: a predicted object has to be deleted


def det_statistics(table: PairTable, match: Int64[np.ndarray, "truth"]) -> dict[str, Column]:
    """NS, FN and FP of each image; a predicted object that matches m true ones needs m - 1 splits."""
    matches = np.bincount(match[match >= 0], minlength=table.num_predicted)
    splits = np.maximum(matches - 1, 0)
    return {
        "ns": sum_by_image(splits, table.predicted_image, table.num_images),
        "fn": count_by_image(table.truth_image[match < 0], table.num_images),
        "fp": count_by_image(table.predicted_image[matches == 0], table.num_images),
    }


def det(statistics: Statistics) -> Column:
    """DET = 1 - min(AOGM-D, AOGM-D0) / AOGM-D0, AOGM-D = 5 NS + 10 FN + 1 FP, AOGM-D0 = 10 true objects.

    Undefined without true objects. Pooled, the cap holds once for the whole set.
    """
    cost = SPLIT_WEIGHT * statistics["ns"] + MISSED_WEIGHT * statistics["fn"] + SPURIOUS_WEIGHT * statistics["fp"]
    worst = MISSED_WEIGHT * statistics["n_truth"]
    return ratio(worst - np.minimum(cost, worst), worst)
