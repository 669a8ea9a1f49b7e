"""How many objects were found, whether or not they are the right ones."""

import numpy as np

from dinocell_eval.overlap.pair_table import PairTable
from dinocell_eval.overlap.statistics import Column, Statistics, count_by_image, ratio


def count_statistics(table: PairTable) -> dict[str, Column]:
    num_truth = count_by_image(table.truth_image, table.num_images)
    num_predicted = count_by_image(table.predicted_image, table.num_images)
    return {
        "n_truth": num_truth,
        "n_predicted": num_predicted,
        "count_difference": np.abs(num_truth - num_predicted),
    }


def count_ratio(statistics: Statistics) -> Column:
    """Predicted objects / true objects; undefined without true objects."""
    return ratio(statistics["n_predicted"], statistics["n_truth"])


def count_error(statistics: Statistics) -> Column:
    """Sum over images of |true - predicted| / true objects, so errors of two images never cancel.

    Undefined without true objects.
    """
    return ratio(statistics["count_difference"], statistics["n_truth"])
