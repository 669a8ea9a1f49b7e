"""The AP@.50 of the public DINOCell code of 2026, flaws included, for comparison with published numbers only.

It counts background as a true object, so a perfect prediction of N cells gets N / (N + 1). It does not match one to
one, so both halves of a cell cut in two are correct, and so is a prediction that reaches IoU 1/2 with the background.
"""

from fractions import Fraction

import numpy as np
from jaxtyping import Int64

from dinocell_eval.overlap.matching import reaches
from dinocell_eval.overlap.pair_table import PairTable
from dinocell_eval.overlap.statistics import Column, Statistics, count_by_image, ratio


def published_average_precision_statistics(
    table: PairTable, num_pixels: Int64[np.ndarray, "image"]
) -> dict[str, Column]:
    """Its "true positives" and the numbers of predicted and true labels as it counts them, of each image.

    Its smallest predicted label is taken for background, also in an image that has none; a prediction is a true
    positive if any label of the truth, background included, reaches IoU 1/2 with it.
    """
    true_background = num_pixels - np.bincount(
        table.truth_image, weights=table.truth_area, minlength=table.num_images
    ).astype(np.int64)
    predicted_background = num_pixels - np.bincount(
        table.predicted_image, weights=table.predicted_area, minlength=table.num_images
    ).astype(np.int64)
    on_cells = np.bincount(table.pair_predicted, weights=table.intersection, minlength=table.num_predicted)
    on_background = table.predicted_area - on_cells.astype(np.int64)
    background = true_background[table.predicted_image]
    hit = (on_background > 0) & (2 * on_background >= table.predicted_area + background - on_background)
    hit[table.pair_predicted[reaches(table, Fraction(1, 2))]] = True

    kept = np.ones(table.num_predicted, bool)
    first = np.unique(table.predicted_image, return_index=True)[1]  # labels ascend within an image
    kept[first[predicted_background[table.predicted_image[first]] == 0]] = False
    return {
        "dinocell_2026_tp": count_by_image(table.predicted_image[hit & kept], table.num_images),
        "dinocell_2026_masks": count_by_image(table.predicted_image[kept], table.num_images),
        "dinocell_2026_truths": count_by_image(table.truth_image, table.num_images) + (true_background > 0),
    }


def published_average_precision(statistics: Statistics) -> Column:
    """TP / (TP + FP + FN) with background as one of the true objects, if the image has any."""
    hits = statistics["dinocell_2026_tp"]
    return ratio(hits, statistics["dinocell_2026_masks"] + statistics["dinocell_2026_truths"] - hits)
