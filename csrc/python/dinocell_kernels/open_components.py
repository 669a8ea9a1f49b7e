"""Components whose labels depend on ties, which the watershed on a GPU leaves open, flooded on the CPU."""

import numpy as np
from jaxtyping import Float32, Int32, Int64

from dinocell_kernels.watershed import marker_watershed


def flood_open(
    heights: Float32[np.ndarray, " pixel"],
    codes: Int32[np.ndarray, " pixel"],
    pixels: Int64[np.ndarray, " pixel"],
    *,
    width: int,
) -> Int32[np.ndarray, " pixel"]:
    """Labels of all pixels of some components of a map's mask, listed in raster order.

    `pixels` are their positions in an image of `width` columns; `codes` are ~marker, -1 without a marker. A component's
    labels depend on nothing outside it, so these are the labels that flooding the whole image gives.
    """
    rows, columns = np.divmod(pixels, width)
    if not pixels.size:
        return codes
    top, left = int(rows.min()), int(columns.min())
    at = (rows - top, columns - left)
    shape = (int(rows.max()) - top + 1, int(columns.max()) - left + 1)
    depths = np.zeros(shape, np.float32)
    depths[at] = -heights
    markers = np.zeros(shape, np.int32)
    markers[at] = ~codes
    mask = np.zeros(shape, np.uint8)
    mask[at] = 1
    return marker_watershed(depths, markers, mask=mask)[at]
