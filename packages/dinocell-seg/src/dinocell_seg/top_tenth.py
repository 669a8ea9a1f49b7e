"""The mean of the highest tenth of each cell's distances, for images of any size."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float32, Float64, Int64, Integer

from dinocell_seg.row_blocks import row_blocks

_LEVELS = 65_535  # distances are rounded to 16 bits to sort them within their cells
_GROUP_PIXELS = 1 << 18
_MOST_GROUPS = 16  # of large images
_CELLS_IN_KEY = 1 << 16


def mean_of_top_tenth(
    distance_map: Float32[np.ndarray, "y x"],
    labels: Integer[np.ndarray, "y x"],
    area: Int64[np.ndarray, " cell"],
) -> Float64[np.ndarray, " cell"]:
    """For each cell 1..n with these areas the mean of its highest tenth, at least one pixel; 0 without pixels.

    Cells are sorted in groups of consecutive labels, each about a sixteenth of the image: about one byte a pixel, or
    seven where one cell fills the image.
    """
    group = _groups(area, max(_GROUP_PIXELS, labels.size // _MOST_GROUPS))
    blocks = list(row_blocks(labels.shape))
    group_of_label = np.concatenate([[-1], group])  # the background's column is the last one
    held = np.zeros((len(blocks), group[-1] + 2), bool)
    for number, rows in enumerate(blocks):
        held[number, group_of_label[labels[rows]]] = True
    means = np.zeros(len(area))
    bounds = np.searchsorted(group, np.arange(group[-1] + 2)).tolist()
    for number, (first, last) in enumerate(pairwise(bounds)):
        areas = area[first:last]
        keys = np.empty(int(areas.sum()), np.uint32)
        filled = 0
        for block in np.flatnonzero(held[:, number]):
            of_block = _keys(distance_map[blocks[block]], labels[blocks[block]], first + 1, last)
            keys[filled : filled + len(of_block)] = of_block
            filled += len(of_block)
        keys.sort()
        keys &= 0xFFFF
        means[first:last] = _means_of_highest(keys, areas)
    return means


def _groups(area: Int64[np.ndarray, " cell"], pixels: int) -> Int64[np.ndarray, " cell"]:
    """Numbers 0.. of groups of consecutive cells, with about so many pixels and few enough cells for a key."""
    before = np.cumsum(area) - area
    begins = np.diff(before // pixels, prepend=0) != 0
    begins |= np.diff(np.arange(len(area)) // _CELLS_IN_KEY, prepend=0) != 0
    return np.cumsum(begins)


def _keys(
    distance_map: Float32[np.ndarray, "y x"], labels: Integer[np.ndarray, "y x"], first: int, last: int
) -> np.ndarray:
    """Of the pixels of cells first..last: the cell in the upper half of 32 bits, its distance in the lower half."""
    inside = (labels >= first) & (labels <= last)
    keys = (labels[inside].astype(np.int64) - first).astype(np.uint32) << 16
    return keys | np.rint(np.clip(distance_map[inside], 0, 1) * _LEVELS).astype(np.uint32)


def _means_of_highest(levels: np.ndarray, area: Int64[np.ndarray, " cell"]) -> Float64[np.ndarray, " cell"]:
    """Of levels in ascending order within each cell, one cell after the other."""
    means = np.zeros(len(area))
    present = np.flatnonzero(area)
    if len(present):
        highest, ends = (area[present] + 9) // 10, np.cumsum(area[present])
        begins = np.cumsum(highest) - highest
        top = levels[np.arange(highest.sum()) + np.repeat(ends - highest - begins, highest)]
        means[present] = np.add.reduceat(top, begins, dtype=np.int64) / highest / _LEVELS
    return means
