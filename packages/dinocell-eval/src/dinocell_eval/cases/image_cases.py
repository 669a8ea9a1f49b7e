"""Tiny drawn cases on which every metric has a value that can be checked by hand.

They are part of the package so that another implementation, or a metric of your own, can be compared with them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True)
class Case:
    """A true and a predicted label image of one shape."""

    truth: Int64[np.ndarray, "y x"]
    predicted: Int64[np.ndarray, "y x"]


def drawn(picture: str) -> Int64[np.ndarray, "y x"]:
    """Labels from a picture: `.` is 0, `1` to `9` and `a` to `z` are 1 to 35; lines are rows, blanks are skipped."""
    rows = [line.strip() for line in picture.strip().splitlines()]
    return np.array([[0 if sign == "." else int(sign, 36) for sign in row] for row in rows], np.int64)


def _case(truth: str, predicted: str) -> Case:
    return Case(drawn(truth), drawn(predicted))


def _large_labels() -> Case:
    """Two cells whose labels become one when they are squeezed into 16 bits."""
    two = drawn("1111.2222")
    labels = np.array([0, 70000, 70000 - 65536])
    return Case(labels[two], labels[two])


CASES = {
    "perfect_cell": _case(".1111.", ".1111."),
    "perfect_cells_without_background": _case("1122", "1122"),
    "perfect_disconnected_cell": _case("11..11", "11..11"),
    "labels_above_16_bits": _large_labels(),
    "missed_cell": _case("1111..2222", "1111......"),
    "spurious_cell": _case("1111......", "1111..2222"),
    "merged_cells": _case("112233", "111111"),
    "split_cell": _case("11111111", "11111222"),
    "cell_in_exact_halves": _case("1111", "1122"),
    "exact_halves_as_one_cell": _case("1122", "1111"),
    "cell_with_iou_of_three_fifths": _case("1111.", ".1111"),
    "moved_border_without_background": _case("11222", "11122"),
    "shattered_cell": _case("111111", "11.22."),
    "shrunken_cell": _case("11111111", "..111..."),
    "blown_up_cell": _case("11........", "1111111111"),
    "greedy_matching_fails": _case("1111111112222", "2222111111111"),
    "more_spurious_cells_than_det_counts": _case("1......................", "1.2.3.4.5.6.7.8.9.a.b.c"),
    "both_empty": _case("....", "...."),
    "truth_empty": _case("....", ".11."),
    "prediction_empty": _case(".11.", "...."),
}
