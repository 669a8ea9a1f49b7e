"""From a distance map to labels, and how sure the distance map was of each of them."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, Integer
from torch import Tensor

import dinocell_kernels
from dinocell_kernels import torch_ops
from dinocell_seg.enclosed import with_enclosed_filled
from dinocell_seg.row_blocks import row_blocks
from dinocell_seg.top_tenth import mean_of_top_tenth


def labels_from_distance_map(
    distance_map: Float32[np.ndarray, "y x"] | Float32[Tensor, "y x"],
    *,
    peak: float,
    fill: float,
    prominence: float | None = None,
    full_prominence_px: float = 0.0,
    min_size: int = 0,
    fill_holes: bool = True,
) -> Int32[np.ndarray, "y x"]:
    """Label image of a distance map: 0 is background, cells are 1..n.

    Seeds are the 4-connected components above `peak` or, with `prominence`, the maxima above `peak` that stand out
    by that much; they grow downhill to `fill`. Where the median diameter of the cells so found is below
    `full_prominence_px` pixels, they are found once more with the prominence lowered in proportion. Cells with fewer
    than `min_size` pixels are dropped. With `fill_holes` a cell then holds what it encloses: holes, and vacuoles that
    were taken for cells (see `dinocell_seg.enclosed`). A map on a GPU is labelled there, with the same result, and only
    the labels are copied. Raises ValueError if peak is below fill or the map holds NaN.
    """
    return labels_and_prominence(
        distance_map,
        peak=peak,
        fill=fill,
        prominence=prominence,
        full_prominence_px=full_prominence_px,
        min_size=min_size,
        fill_holes=fill_holes,
    )[0]


def labels_and_prominence(
    distance_map: Float32[np.ndarray, "y x"] | Float32[Tensor, "y x"],
    *,
    peak: float,
    fill: float,
    prominence: float | None = None,
    full_prominence_px: float = 0.0,
    min_size: int = 0,
    fill_holes: bool = True,
) -> tuple[Int32[np.ndarray, "y x"], float | None]:
    """As `labels_from_distance_map`, with the prominence that was used, which small cells lower."""
    thresholds = (peak, fill, prominence, full_prominence_px, min_size)
    if isinstance(distance_map, Tensor) and distance_map.is_cuda:
        on_gpu, used = _labels_by(torch_ops, distance_map, *thresholds)
        labels: Int32[np.ndarray, "y x"] = on_gpu.cpu().numpy()
    else:
        array = distance_map.numpy() if isinstance(distance_map, Tensor) else distance_map
        labels, used = _labels_by(dinocell_kernels, array, *thresholds)
    return with_enclosed_filled(labels) if fill_holes else labels, used


def _labels_by(
    kernels: Any,
    distance_map: Any,
    peak: float,
    fill: float,
    prominence: float | None,
    full_prominence_px: float,
    min_size: int,
) -> tuple[Any, float | None]:
    """With `dinocell_kernels` arrays become arrays, with `torch_ops` tensors become tensors where they are."""
    labels = kernels.watershed(distance_map, peak=peak, fill=fill, prominence=prominence)
    if prominence is not None and full_prominence_px > 0:
        share = median_diameter(labels) / full_prominence_px
        if 0 < share < 1:
            prominence = share * prominence
            labels = kernels.watershed(distance_map, peak=peak, fill=fill, prominence=prominence)
    if min_size > 1:
        labels, _ = kernels.remove_small(labels, min_size=min_size)
    return labels, prominence


def median_diameter(labels: Int32[np.ndarray, "y x"] | Int32[Tensor, "y x"]) -> float:
    """Median diameter, in pixels, of the circles with the cells' areas; 0 without cells."""
    areas = _areas(labels)
    return 2 * math.sqrt(float(np.median(areas[areas > 0])) / math.pi) if areas.any() else 0.0


def _areas(labels: Integer[np.ndarray, "y x"] | Int32[Tensor, "y x"]) -> Int64[np.ndarray, " cell"]:
    if isinstance(labels, Tensor):
        on_gpu: Int64[np.ndarray, " cell"] = labels.flatten().bincount()[1:].cpu().numpy()
        return on_gpu
    areas = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    for rows in row_blocks(labels.shape):
        np.add.at(areas, labels[rows].ravel().astype(np.intp), 1)
    return areas[1:]


def confidence(
    distance_map: Float32[np.ndarray, "y x"], labels: Integer[np.ndarray, "y x"]
) -> Float32[np.ndarray, " cell"]:
    """How clearly each cell 1..n stands out of the distance map, in [0, 1].

    top - edge, where top is the mean of the highest tenth of the cell's distances (at least one pixel) and
    edge the mean over its pixels that touch something else (0 for a cell that touches nothing: one that
    fills the image). That is top times its contrast 1 - edge / top. A crisp round cell reaches about 0.75;
    a cell cut off from its neighbour along a shallow valley, and one hardly above the threshold, come out
    low. It ranks cells; it is not a probability. A label that does not occur gets 0.
    """
    area = _areas(labels)
    if len(area) == 0:
        return np.zeros(0, np.float32)
    top = mean_of_top_tenth(distance_map, labels, area)
    return np.clip(top - _mean_at_edge(distance_map, labels, len(area)), 0, 1).astype(np.float32)


def _mean_at_edge(
    distance_map: Float32[np.ndarray, "y x"], labels: Integer[np.ndarray, "y x"], num_cells: int
) -> Float64[np.ndarray, " cell"]:
    pixels, total = np.zeros(num_cells + 1, np.int64), np.zeros(num_cells + 1)
    for rows in row_blocks(labels.shape):
        top = max(0, rows.start - 1)
        at_edge = inner_boundaries(labels[top : rows.stop + 1])[rows.start - top :][: rows.stop - rows.start]
        label = labels[rows][at_edge].astype(np.intp)
        np.add.at(pixels, label, 1)
        np.add.at(total, label, distance_map[rows][at_edge].astype(np.float64))
    mean: np.ndarray = total[1:] / np.maximum(pixels[1:], 1)
    return mean


def inner_boundaries(labels: Integer[np.ndarray, "y x"]) -> np.ndarray:
    """Mask of the cell pixels with a 4-neighbour of another label; the image's border does not count as one."""
    differs = np.zeros(labels.shape, bool)
    down = labels[1:] != labels[:-1]
    differs[1:] |= down
    differs[:-1] |= down
    right = labels[:, 1:] != labels[:, :-1]
    differs[:, 1:] |= right
    differs[:, :-1] |= right
    return differs & (labels > 0)
