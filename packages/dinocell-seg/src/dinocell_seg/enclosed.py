"""Holes and vacuoles: what lies inside one cell belongs to it."""

import numpy as np
from jaxtyping import Bool, Int32, Int64

from dinocell_kernels import connected_components
from dinocell_seg.row_blocks import row_blocks


def with_enclosed_filled(labels: Int32[np.ndarray, "y x"]) -> Int32[np.ndarray, "y x"]:
    """Labels whose cells hold what they enclose; cells are again 1..n, in the order that they had.

    Background that touches neither the image's border nor a second cell becomes the cell's around it, with smaller
    cells that lie alone in it; so does a smaller cell that touches nothing but that one: a vacuole, or a nucleolus,
    that was taken for a cell. What two or more cells enclose stays. The argument is not changed.
    """
    while (filled := _filled_once(labels)) is not None:
        labels = filled  # what was filled may itself lie alone in something
    return labels


def _filled_once(labels: Int32[np.ndarray, "y x"]) -> Int32[np.ndarray, "y x"] | None:
    """None where no cell encloses anything."""
    num_cells = int(labels.max(initial=0))
    if num_cells == 0:
        return None
    regions = _regions(labels, num_cells)
    pairs, area, at_border = _facts(regions)
    owner = _owners(pairs, area, at_border, num_cells)
    if (owner == np.arange(len(owner))).all():
        return None
    is_cell = (owner == np.arange(len(owner))) & (area > 0)
    is_cell[0] = is_cell[num_cells + 1 :] = False  # background that no single cell encloses
    number = np.where(is_cell, np.cumsum(is_cell, dtype=np.int32), 0)[owner]
    for rows in row_blocks(regions.shape):
        regions[rows] = number[regions[rows]]
    return regions


def _regions(labels: Int32[np.ndarray, "y x"], num_cells: int) -> Int32[np.ndarray, "y x"]:
    """Cells as they are numbered, and after them the separate areas of the background."""
    regions: Int32[np.ndarray, "y x"] = connected_components(labels == 0)[0]
    for rows in row_blocks(regions.shape):
        regions[rows] = np.where(labels[rows] == 0, regions[rows] + num_cells, labels[rows])
    return regions


def _facts(
    regions: Int32[np.ndarray, "y x"],
) -> tuple[Int64[np.ndarray, "pair 2"], Int64[np.ndarray, " region"], Bool[np.ndarray, " region"]]:
    """Of all regions: which share a side (both ways), their areas, and which touch the image's border."""
    num_regions = int(regions.max()) + 1
    keys: list[np.ndarray] = []
    area = np.zeros(num_regions, np.int64)
    for rows in row_blocks(regions.shape):
        block = regions[rows.start : rows.stop + 1].astype(np.int64)  # with the row below
        np.add.at(area, block[: rows.stop - rows.start].ravel(), 1)
        for one, other in ((block[:, :-1], block[:, 1:]), (block[:-1], block[1:])):
            differ = one != other
            keys.append(np.unique(one[differ] * num_regions + other[differ]))
    pairs = np.stack(np.divmod(np.unique(np.concatenate(keys)), num_regions), axis=-1)
    at_border = np.zeros(num_regions, bool)
    for line in (regions[0], regions[-1], regions[:, 0], regions[:, -1]):
        at_border[line] = True
    return np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0), area, at_border


def _owners(
    pairs: Int64[np.ndarray, "pair 2"],
    area: Int64[np.ndarray, " region"],
    at_border: Bool[np.ndarray, " region"],
    num_cells: int,
) -> Int32[np.ndarray, " region"]:
    """The cell that encloses each region, else the region itself."""
    starts = np.searchsorted(pairs[:, 0], np.arange(len(area) + 1))
    degree = np.diff(starts)
    owner = np.arange(len(area), dtype=np.int32)
    alone = (degree == 1) & ~at_border
    for cell in np.flatnonzero(alone[: num_cells + 1]):
        around = pairs[starts[cell], 1]
        if around <= num_cells and area[cell] < area[around]:
            owner[cell] = around
    for hole in np.flatnonzero(~at_border[num_cells + 1 :] & (area[num_cells + 1 :] > 0)) + num_cells + 1:
        beside = pairs[starts[hole] : starts[hole + 1], 1]
        within = beside[alone[beside]]
        around = beside[~alone[beside]]
        if len(around) == 1 and area[within].sum() < area[around[0]]:
            owner[within] = owner[hole] = around[0]
        elif len(beside) == 1:
            owner[hole] = beside[0]  # a cell that itself lies alone in something
    while (owner[owner] != owner).any():
        owner = owner[owner]
    return owner
