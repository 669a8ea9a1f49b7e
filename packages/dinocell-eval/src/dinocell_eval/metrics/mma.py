"""MMA, the maximum matching accuracy of the SAMCell and DINOCell papers."""

from dinocell_eval.overlap.matching import heaviest_matching
from dinocell_eval.overlap.pair_table import PairTable
from dinocell_eval.overlap.statistics import Column, Statistics, ratio, sum_by_image


def mma_statistics(table: PairTable) -> dict[str, Column]:
    pairs = heaviest_matching(table, table.intersection)
    overlap = sum_by_image(table.intersection[pairs], table.pair_image[pairs], table.num_images)
    return {"mma_overlap": overlap}


def mma(statistics: Statistics) -> Column:
    """MMA = overlap of the one-to-one matching with the most overlap / pixels of either foreground.

    Published numbers are the mean over images. Undefined when truth and prediction are both empty.
    """
    foreground = (
        statistics["foreground_truth"] + statistics["foreground_predicted"] - statistics["foreground_intersection"]
    )
    return ratio(statistics["mma_overlap"], foreground)
