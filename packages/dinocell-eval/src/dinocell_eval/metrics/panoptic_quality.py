"""Panoptic quality PQ = SQ * RQ (Kirillov et al. 2019)."""

import numpy as np

from dinocell_eval.overlap.pair_table import PairTable
from dinocell_eval.overlap.statistics import Column, Statistics, count_by_image, ratio, sum_by_image


def panoptic_quality_statistics(table: PairTable) -> dict[str, Column]:
    """Number of pairs with IoU > 1/2 and the sum of their IoU; strictly more, so an exact half does not match."""
    matched = np.flatnonzero(2 * table.intersection > table.union)
    image = table.pair_image[matched]
    return {
        "pq_tp": count_by_image(image, table.num_images),
        "pq_sum_iou": sum_by_image(table.iou[matched], image, table.num_images),
    }


def panoptic_quality(statistics: Statistics) -> Column:
    """PQ = sum of IoU / (TP + FP/2 + FN/2); undefined when truth and prediction are both empty."""
    return ratio(2 * statistics["pq_sum_iou"], statistics["n_truth"] + statistics["n_predicted"])


def segmentation_quality(statistics: Statistics) -> Column:
    """SQ = sum of IoU / TP; undefined without a match."""
    return ratio(statistics["pq_sum_iou"], statistics["pq_tp"])


def recognition_quality(statistics: Statistics) -> Column:
    """RQ = TP / (TP + FP/2 + FN/2); undefined when truth and prediction are both empty."""
    return ratio(2 * statistics["pq_tp"], statistics["n_truth"] + statistics["n_predicted"])
