"""Sufficient statistics: one row of sums an image, from which every metric follows by adding rows and dividing.

The same formulas therefore serve single images, the pooled set and bootstrap replicates.
"""

from collections.abc import Mapping
from itertools import pairwise
from math import fsum

import numpy as np
from jaxtyping import Float64, Int64, Num

Column = Float64[np.ndarray, "row"]
Total = Float64[np.ndarray, "1"]
Statistics = Mapping[str, Column]


def sum_by_image(
    values: Num[np.ndarray, "object"], image: Int64[np.ndarray, "object"], num_images: int
) -> Float64[np.ndarray, "image"]:
    """Sum of the objects' values in each image; `image` ascends. Correctly rounded, so no order of objects shows."""
    if values.dtype.kind in "iub":  # whole numbers up to 2**53 are exact in any order
        return np.bincount(image, weights=values, minlength=num_images).astype(np.float64)
    borders = np.searchsorted(image, np.arange(num_images + 1)).tolist()
    numbers = values.tolist()
    sums = [fsum(numbers[start:stop]) for start, stop in pairwise(borders)]
    return np.array(sums, np.float64)


def count_by_image(image: Int64[np.ndarray, "object"], num_images: int) -> Float64[np.ndarray, "image"]:
    """Number of objects in each image."""
    return np.bincount(image, minlength=num_images).astype(np.float64)


def total(statistics: Statistics) -> dict[str, Total]:
    """The pooled statistics: all images added, as a single row."""
    return {name: np.array([fsum(column.tolist())]) for name, column in statistics.items()}


def ratio(numerator: Column, denominator: Column) -> Column:
    """Quotient of each row; NaN, which stands for "undefined" until the result is handed out, where it is x/0."""
    undefined = np.full(denominator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator != 0)
