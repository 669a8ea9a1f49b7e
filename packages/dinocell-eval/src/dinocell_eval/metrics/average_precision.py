"""AP at IoU thresholds in the sense of the DSB 2018, StarDist and Cellpose, with precision, recall and F1.

This "AP" is TP / (TP + FP + FN), not the area under a precision-recall curve: labels carry no confidence.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from dinocell_eval.overlap.matching import match_at, threshold_key
from dinocell_eval.overlap.pair_table import PairTable
from dinocell_eval.overlap.statistics import Column, Statistics, count_by_image, ratio

COCO_THRESHOLDS = tuple(Fraction(k, 20) for k in range(10, 20))  # .50:.05:.95
MEAN_THRESHOLDS = COCO_THRESHOLDS[:-1]  # .50:.05:.90, those of the tables


def average_precision_statistics(table: PairTable, thresholds: Sequence[Fraction]) -> dict[str, Column]:
    """TP of each image at each threshold (IoU >= threshold, one-to-one)."""
    return {
        f"tp_{threshold_key(threshold)}": count_by_image(table.pair_image[match_at(table, threshold)], table.num_images)
        for threshold in thresholds
    }


def average_precision(statistics: Statistics, threshold: Fraction) -> Column:
    """AP = TP / (TP + FP + FN); undefined when truth and prediction are both empty."""
    hits = statistics[f"tp_{threshold_key(threshold)}"]
    return ratio(hits, statistics["n_truth"] + statistics["n_predicted"] - hits)


def precision(statistics: Statistics, threshold: Fraction) -> Column:
    """TP / (TP + FP); undefined without predicted objects."""
    return ratio(statistics[f"tp_{threshold_key(threshold)}"], statistics["n_predicted"])


def recall(statistics: Statistics, threshold: Fraction) -> Column:
    """TP / (TP + FN); undefined without true objects."""
    return ratio(statistics[f"tp_{threshold_key(threshold)}"], statistics["n_truth"])


def f1(statistics: Statistics, threshold: Fraction) -> Column:
    """2 TP / (2 TP + FP + FN); undefined when truth and prediction are both empty."""
    hits = statistics[f"tp_{threshold_key(threshold)}"]
    return ratio(2 * hits, statistics["n_truth"] + statistics["n_predicted"])


def mean_average_precision(statistics: Statistics, thresholds: Sequence[Fraction]) -> Column:
    """Mean of AP over the thresholds."""
    return np.mean([average_precision(statistics, threshold) for threshold in thresholds], axis=0)
