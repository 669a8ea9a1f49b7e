"""From a distance map to labels, and how sure the distance map was of each of them."""

import numpy as np
from jaxtyping import Float32, Int32, Integer
from torch import Tensor

from dinocell_kernels import remove_small, torch_ops, watershed

_LEVELS = 65_535  # distances are rounded to 16 bits to sort them within their cells


def labels_from_distance_map(
    distance_map: Float32[np.ndarray, "y x"] | Float32[Tensor, "y x"],
    *,
    peak: float,
    fill: float,
    prominence: float | None = None,
    min_size: int = 0,
) -> Int32[np.ndarray, "y x"]:
    """Label image of a distance map: 0 is background, cells are 1..n.

    Seeds are the 4-connected components above `peak` or, with `prominence`, the maxima above `peak` that stand out
    by that much; they grow downhill to `fill`. Cells with fewer than `min_size` pixels are dropped. A map on a GPU is
    labelled there, with the same result, and only the labels are copied. Raises ValueError if peak is below fill or the
    map holds NaN.
    """
    if isinstance(distance_map, Tensor):
        if distance_map.is_cuda:
            return _labels_on_gpu(distance_map, peak, fill, prominence, min_size)
        distance_map = distance_map.numpy()
    labels = watershed(distance_map, peak=peak, fill=fill, prominence=prominence)
    if min_size > 1:
        labels, _ = remove_small(labels, min_size=min_size)
    return labels


def _labels_on_gpu(
    distance_map: Float32[Tensor, "y x"], peak: float, fill: float, prominence: float | None, min_size: int
) -> Int32[np.ndarray, "y x"]:
    on_gpu = torch_ops.watershed(distance_map, peak=peak, fill=fill, prominence=prominence)
    if min_size > 1:
        on_gpu, _ = torch_ops.remove_small(on_gpu, min_size=min_size)
    labels: Int32[np.ndarray, "y x"] = on_gpu.cpu().numpy()
    return labels


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
    num_cells = int(labels.max(initial=0))
    if num_cells == 0:
        return np.zeros(0, np.float32)
    top = _mean_of_top_tenth(distance_map, labels, num_cells)
    at_edge = inner_boundaries(labels)
    edge_labels = labels[at_edge]
    pixels = np.bincount(edge_labels, minlength=num_cells + 1)[1:]
    total = np.bincount(edge_labels, weights=distance_map[at_edge], minlength=num_cells + 1)[1:]
    edge = total / np.maximum(pixels, 1)
    return np.clip(top - edge, 0, 1).astype(np.float32)


def inner_boundaries(labels: Integer[np.ndarray, "y x"]) -> np.ndarray:
    """Mask of the cell pixels with a 4-neighbour of another label; the image's frame is no neighbour."""
    differs = np.zeros(labels.shape, bool)
    down = labels[1:] != labels[:-1]
    differs[1:] |= down
    differs[:-1] |= down
    right = labels[:, 1:] != labels[:, :-1]
    differs[:, 1:] |= right
    differs[:, :-1] |= right
    return differs & (labels > 0)


def _mean_of_top_tenth(
    distance_map: Float32[np.ndarray, "y x"], labels: Integer[np.ndarray, "y x"], num_cells: int
) -> np.ndarray:
    inside = labels > 0
    level = np.rint(np.clip(distance_map[inside], 0, 1) * _LEVELS).astype(np.int64)
    key = np.sort((labels[inside].astype(np.int64) << 16) | level)  # by cell, then by distance
    sums = np.concatenate([[0], np.cumsum(key & 0xFFFF)])
    pixels = np.bincount(key >> 16, minlength=num_cells + 1)[1:]
    ends = np.cumsum(pixels)
    highest = (pixels + 9) // 10
    mean: np.ndarray = (sums[ends] - sums[ends - highest]) / np.maximum(highest, 1) / _LEVELS
    return mean
