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
from jaxtyping import Float, Float32, Integer, Num

from dinocell_io import Image, atomic_path

Table = dict[str, np.ndarray]

_BLOCK_PIXELS = 1 << 22
_NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def measure_cells(
    labels: Integer[np.ndarray, "y x"],
    image: Image,
    *,
    confidence: Float32[np.ndarray, " cell"] | None = None,
    pixel_size_um: float | None = None,
) -> Table:
    """Columns of one value per cell, in order of the labels; without cells, columns of length 0.

    Lengths are in pixels (`_px`) and, when the pixel size is known, also in micrometres (`_um`).
    bbox_bottom and bbox_right are one past the last row and column. Solidity is the area over the number of
    pixels whose centres lie in the convex hull of the cell's pixel centres (1 for every digitally convex
    cell; skimage's hull is up to half a pixel wider). Intensities are of every channel of the image, in the
    file's unit. Raises ValueError if the labels are not of the image's shape.
    """
    if labels.shape != image.pixels.shape[1:]:
        raise ValueError(
            f"the labels are {labels.shape} but {image.uri} is {image.pixels.shape[1:]}; give the labels of this image"
        )
    num_cells = int(labels.max(initial=0))
    area = np.zeros(num_cells + 1, np.int64)
    sum_y, sum_x = np.zeros(num_cells + 1), np.zeros(num_cells + 1)
    for row, inside, label in _blocks(labels):
        y, x = np.nonzero(inside)
        area += np.bincount(label, minlength=num_cells + 1)
        sum_y += np.bincount(label, weights=y + row, minlength=num_cells + 1)
        sum_x += np.bincount(label, weights=x, minlength=num_cells + 1)
    present = np.flatnonzero(area)
    pixels = np.maximum(area, 1)
    centroid_y, centroid_x = sum_y / pixels, sum_x / pixels
    moments = _central_moments(labels, centroid_y, centroid_x) / pixels
    table: Table = {
        "label": np.arange(num_cells + 1),
        "area_px": area,
        "centroid_y_px": centroid_y,
        "centroid_x_px": centroid_x,
        **_boxes(labels, num_cells),
        **_ellipses(moments),
        "equivalent_diameter_px": np.sqrt(4 * area / math.pi),
        **_outlines(labels, area),
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
    step = max(1, _BLOCK_PIXELS // max(1, labels.shape[1]))
    for row in range(0, labels.shape[0], step):
        block = labels[row : row + step]
        inside = block > 0
        yield row, inside, block[inside].astype(np.int64)


def _central_moments(
    labels: Integer[np.ndarray, "y x"], centroid_y: np.ndarray, centroid_x: np.ndarray
) -> Float[np.ndarray, "yy_xx_xy cell"]:
    moments = np.zeros((3, len(centroid_y)))
    for row, inside, label in _blocks(labels):
        y, x = np.nonzero(inside)
        dy, dx = y + row - centroid_y[label], x - centroid_x[label]
        for moment, product in zip(moments, (dy * dy, dx * dx, dy * dx), strict=True):
            moment += np.bincount(label, weights=product, minlength=len(moment))
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


def _outlines(labels: Integer[np.ndarray, "y x"], area: np.ndarray) -> Table:
    """Perimeter and solidity, from the edge pixels only.

    The perimeter is skimage's 4-neighbour estimate (Benkrid & Crookes 2000).
    """
    y, x = _edge_pixels(labels)
    label = labels[y, x].astype(np.int64)
    edges = np.zeros((labels.shape[0] + 2, labels.shape[1] + 2), labels.dtype)
    edges[y + 1, x + 1] = labels[y, x]
    pattern = np.ones(len(y), np.int64)
    for dy, dx in _NEIGHBOURS:
        same = edges[y + 1 + dy, x + 1 + dx] == label
        pattern += np.where(same, 10 if dy and dx else 2, 0)
    weights = np.zeros(64)
    weights[[5, 7, 15, 17, 25, 27]] = 1
    weights[[21, 33]] = math.sqrt(2)
    weights[[13, 23]] = (1 + math.sqrt(2)) / 2
    perimeter = np.bincount(label, weights=weights[pattern], minlength=len(area))
    order = np.argsort(label, kind="stable")
    points = np.stack([x[order], y[order]], axis=-1).astype(np.int32)
    cells, starts = np.unique(label[order], return_index=True)
    hull = np.ones(len(area))
    for cell, start, end in zip(cells, starts, np.append(starts[1:], len(points))[: len(cells)], strict=True):
        hull[cell] = _pixels_in_hull(points[start:end])
    return {"perimeter_px": perimeter, "solidity": area / hull}


def _edge_pixels(labels: Integer[np.ndarray, "y x"]) -> tuple[np.ndarray, np.ndarray]:
    """Cell pixels with a 4-neighbour of another label; outside the image counts as another."""
    padded = np.pad(labels, 1)
    centre = padded[1:-1, 1:-1]
    edge = np.zeros(labels.shape, bool)
    for neighbour in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        edge |= centre != neighbour
    y, x = np.nonzero(edge & (labels > 0))
    return y, x


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
        total += np.bincount(label, weights=values, minlength=num_cells + 1)
        count += np.bincount(label, minlength=num_cells + 1)
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
