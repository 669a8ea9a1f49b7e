"""Agreement of the foregrounds, whatever object a pixel belongs to: Dice and IoU."""

from dinocell_eval.overlap.pair_table import PairTable
from dinocell_eval.overlap.statistics import Column, Statistics, ratio, sum_by_image


def foreground_statistics(table: PairTable) -> dict[str, Column]:
    return {
        "foreground_truth": sum_by_image(table.truth_area, table.truth_image, table.num_images),
        "foreground_predicted": sum_by_image(table.predicted_area, table.predicted_image, table.num_images),
        "foreground_intersection": sum_by_image(table.intersection, table.pair_image, table.num_images),
    }


def dice(statistics: Statistics) -> Column:
    """Dice = 2 I / (A + B) of the foregrounds; undefined when truth and prediction are both empty."""
    both = statistics["foreground_truth"] + statistics["foreground_predicted"]
    return ratio(2 * statistics["foreground_intersection"], both)


def foreground_iou(statistics: Statistics) -> Column:
    """I / (A + B - I) of the foregrounds; undefined when truth and prediction are both empty."""
    both = statistics["foreground_truth"] + statistics["foreground_predicted"]
    shared = statistics["foreground_intersection"]
    return ratio(shared, both - shared)
