"""One row per cell: where it is, its shape, its intensities, and how sure the model was of it.

All cells are measured together in a few passes over the image, row block by row block; the values of area,
centroid, axes, eccentricity, orientation, perimeter and intensity are those of skimage.measure.regionprops.
"""

import csv
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, Int32, Integer, Num

from dinocell_io import RGB_CHANNELS, Image, atomic_path
from dinocell_seg.row_blocks import row_blocks

Table = dict[str, np.ndarray]

_NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def measure_cells(
    labels: Integer[np.ndarray, "y x"],
    image: Image | Num[np.ndarray, "..."],
    *,
    confidence: Float32[np.ndarray, " cell"] | None = None,
    pixel_size_um: float | None = None,
) -> Table:
    """Columns of one value per cell, in order of the labels; without cells, columns of length 0.

    Lengths are in pixels (`_px`) and, when the pixel size is known, also in micrometres (`_um`).
    bbox_bottom and bbox_right are one past the last row and column. Solidity is the area over the number of
    pixels whose centres lie in the convex hull of the cell's pixel centres (1 for every digitally convex
    cell; skimage's hull is up to half a pixel wider). Intensities are of every channel of the image, in the
    file's unit. An array [y x] or [channel y x] has the channels C0, C1 ..., and RGB [y x 3] those of its colours.
    Raises ValueError if the labels are not of the image's shape.
    """
    image = _with_channels(image, labels.shape)
    if labels.shape != image.pixels.shape[1:]:
        raise ValueError(
            f"the labels are {labels.shape} but {image.uri} is {image.pixels.shape[1:]}; give the labels of this image"
        )
    num_cells = int(labels.max(initial=0))
    area = np.zeros(num_cells + 1, np.int64)
    sum_y, sum_x = np.zeros(num_cells + 1), np.zeros(num_cells + 1)
    for row, inside, label in _blocks(labels):
        y, x = np.nonzero(inside)
        np.add.at(area, label, 1)
        np.add.at(sum_y, label, (y + row).astype(np.float64))
        np.add.at(sum_x, label, x.astype(np.float64))
    present = np.flatnonzero(area)
    pixels = np.maximum(area, 1)
    centroid_y, centroid_x = sum_y / pixels, sum_x / pixels
    moments = _central_moments(labels, centroid_y, centroid_x) / pixels
    boxes = _boxes(labels, num_cells)
    table: Table = {
        "label": np.arange(num_cells + 1),
        "area_px": area,
        "centroid_y_px": centroid_y,
        "centroid_x_px": centroid_x,
        **boxes,
        **_ellipses(moments),
        "equivalent_diameter_px": np.sqrt(4 * area / math.pi),
        **_outlines(labels, area, boxes["bbox_bottom"]),
    }
    if confidence is not None:
        table["confidence"] = np.concatenate([[0], confidence])
    table = {name: column[present] for name, column in table.items()}
    if pixel_size_um is not None:
        table |= _in_micrometres(table, pixel_size_um)
    for name, plane in zip(_column_names(image.channels), image.pixels, strict=True):
        columns = _intensities(labels, plane, num_cells)
        table |= {f"{kind}_{name}": column[present] for kind, column in columns.items()}
    return table


def _with_channels(image: Image | Num[np.ndarray, "..."], shape: tuple[int, ...]) -> Image:
    """An array as an image of this shape [y x]."""
    if isinstance(image, Image):
        return image
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3):
        found = f"an array of shape {image.shape}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
        raise ValueError(f"got {found}; expected an array [y x], [channel y x] or RGB [y x 3], or a dinocell_io.Image")
    if image.shape == (*shape, 3):
        return Image(np.moveaxis(image, -1, 0), RGB_CHANNELS, is_rgb=True)
    return Image(image if image.ndim == 3 else image[None])


def write_table(path: str | Path, table: Mapping[str, np.ndarray]) -> None:
    """Write columns as CSV, completely or not at all; a table without rows is a header."""
    columns = [[_text(value) for value in column.tolist()] for column in table.values()]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*columns, strict=True))


def _text(value: bool | int | float) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(int(value))


def _blocks(labels: Integer[np.ndarray, "y x"]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Row blocks as (first row, mask of cell pixels, their labels)."""
    for rows in row_blocks(labels.shape):
        block = labels[rows]
        inside = block > 0
        yield rows.start, inside, block[inside].astype(np.intp)


def _central_moments(
    labels: Integer[np.ndarray, "y x"], centroid_y: np.ndarray, centroid_x: np.ndarray
) -> Float[np.ndarray, "yy_xx_xy cell"]:
    moments = np.zeros((3, len(centroid_y)))
    for row, inside, label in _blocks(labels):
        y, x = np.nonzero(inside)
        dy, dx = y + row - centroid_y[label], x - centroid_x[label]
        for moment, product in zip(moments, (dy * dy, dx * dx, dy * dx), strict=True):
            np.add.at(moment, label, product)
    return moments


def _ellipses(moments: Float[np.ndarray, "yy_xx_xy cell"]) -> Table:
    """Axes, eccentricity and orientation of the ellipse of the same second moments."""
    yy, xx, xy = moments
    mean, spread = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    major, minor = mean + spread, np.maximum(mean - spread, 0)
    ratio = np.divide(minor, major, out=np.ones_like(major), where=major > 0)
    turned = 0.5 * np.arctan2(2 * xy, yy - xx)
    level = np.where(xy > 0, math.pi / 4, -math.pi / 4)  # exactly as skimage where yy == xx
    round_value = np.where(xy == 0, math.pi / 4, level)
    return {
        "major_axis_px": 4 * np.sqrt(major),
        "minor_axis_px": 4 * np.sqrt(minor),
        "eccentricity": np.sqrt(1 - ratio),
        "orientation_rad": np.where(yy == xx, round_value, turned),
    }


def _boxes(labels: Integer[np.ndarray, "y x"], num_cells: int) -> Table:
    height, width = labels.shape
    top, left = np.full(num_cells + 1, height), np.full(num_cells + 1, width)
    bottom, right = np.zeros(num_cells + 1, np.int64), np.zeros(num_cells + 1, np.int64)
    for row, inside, label in _blocks(labels):
        y, x = np.nonzero(inside)
        np.minimum.at(top, label, y + row)
        np.maximum.at(bottom, label, y + row + 1)
        np.minimum.at(left, label, x)
        np.maximum.at(right, label, x + 1)
    touches = (top == 0) | (left == 0) | (bottom == height) | (right == width)
    return {
        "bbox_top": top,
        "bbox_left": left,
        "bbox_bottom": bottom,
        "bbox_right": right,
        "touches_border": touches,
    }


def _outlines(labels: Integer[np.ndarray, "y x"], area: np.ndarray, bottom: np.ndarray) -> Table:
    """Perimeter and solidity, from the edge pixels only; those of a cell are kept until its last row is read.

    The perimeter is skimage's 4-neighbour estimate (Benkrid & Crookes 2000).
    """
    weights = np.zeros(64)
    weights[[5, 7, 15, 17, 25, 27]] = 1
    weights[[21, 33]] = math.sqrt(2)
    weights[[13, 23]] = (1 + math.sqrt(2)) / 2
    perimeter, hull = np.zeros(len(area)), np.ones(len(area))
    label, points = np.zeros(0, np.intp), np.zeros((0, 2), np.int32)
    for rows in row_blocks(labels.shape):
        label_here, points_here, pattern = _edge_pixels(labels, rows)
        np.add.at(perimeter, label_here, weights[pattern])
        label, points = np.concatenate([label, label_here]), np.concatenate([points, points_here])
        whole = bottom[label] <= rows.stop
        for cell, points_of_cell in _by_cell(label[whole], points[whole]):
            hull[cell] = _pixels_in_hull(points_of_cell)
        label, points = label[~whole], points[~whole]
    return {"perimeter_px": perimeter, "solidity": area / hull}


def _edge_pixels(
    labels: Integer[np.ndarray, "y x"], rows: slice
) -> tuple[Int[np.ndarray, " pixel"], Int32[np.ndarray, "pixel xy"], Int[np.ndarray, " pixel"]]:
    """Labels and places of the cell pixels in some rows with a 4-neighbour of another label, and their patterns.

    Outside the image counts as another label. A pattern is 1 plus 2 for each 4-neighbour and 10 for each diagonal one
    that is an edge pixel of the same cell.
    """
    top = max(0, rows.start - 2)  # whether a neighbour is at the edge depends on the row beyond it
    padded = np.pad(labels[top : rows.stop + 2], 1)
    centre = padded[1:-1, 1:-1]
    at_edge = np.zeros(centre.shape, bool)
    for neighbour in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        at_edge |= centre != neighbour
    centre[~at_edge] = 0  # padded is a copy
    y, x = np.nonzero(centre[rows.start - top : rows.stop - top] > 0)
    y += rows.start - top
    label = centre[y, x]
    pattern = np.ones(len(y), np.intp)
    for dy, dx in _NEIGHBOURS:
        pattern += np.where(padded[y + 1 + dy, x + 1 + dx] == label, 10 if dy and dx else 2, 0)
    return label.astype(np.intp), np.stack([x, y + top], axis=-1).astype(np.int32), pattern


def _by_cell(
    label: Int[np.ndarray, " pixel"], points: Int32[np.ndarray, "pixel xy"]
) -> Iterator[tuple[int, Int32[np.ndarray, "point xy"]]]:
    order = np.argsort(label, kind="stable")
    cells, starts = np.unique(label[order], return_index=True)
    yield from zip(cells, np.split(points[order], starts[1:]), strict=False)  # without cells, one empty part


def _pixels_in_hull(points: Integer[np.ndarray, "point 2"]) -> float:
    """Number of pixel centres in the convex hull of some, by Pick's theorem: area + boundary points / 2 +
    1."""
    corners = cv2.convexHull(points)[:, 0].astype(np.int64)
    following = np.roll(corners, -1, axis=0)
    doubled_area = abs(int((corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0]).sum()))
    on_boundary = int(np.gcd(*np.abs(following - corners).T).sum())
    return (doubled_area + on_boundary) / 2 + 1


def _intensities(labels: Integer[np.ndarray, "y x"], plane: Num[np.ndarray, "y x"], num_cells: int) -> Table:
    total, count = np.zeros(num_cells + 1), np.zeros(num_cells + 1, np.int64)
    low, high = np.full(num_cells + 1, np.inf), np.full(num_cells + 1, -np.inf)
    for row, inside, label in _blocks(labels):
        values = plane[row : row + len(inside)][inside].astype(np.float64)
        np.add.at(total, label, values)
        np.add.at(count, label, 1)
        np.minimum.at(low, label, values)
        np.maximum.at(high, label, values)
    if np.issubdtype(plane.dtype, np.integer) and plane.dtype.itemsize <= 4:  # written with all their digits
        low, high = (np.where(count > 0, bound, 0).astype(np.int64) for bound in (low, high))
    return {"mean": total / np.maximum(count, 1), "min": low, "max": high}


def _in_micrometres(table: Table, pixel_size_um: float) -> Table:
    lengths = {
        name.removesuffix("_px") + "_um": column * pixel_size_um
        for name, column in table.items()
        if name.endswith("_px") and name != "area_px"
    }
    return {"area_um2": table["area_px"] * pixel_size_um**2, **lengths}


def _column_names(channels: tuple[str, ...]) -> list[str]:
    """Channel names that are safe and distinct as the ends of column names."""
    names = [re.sub(r"\W+", "_", name).strip("_") or "C" for name in channels]
    while len(set(names)) < len(names):
        names = [f"{name}_{index}" if names.count(name) > 1 else name for index, name in enumerate(names)]
    return names
