"""Maxima of a distance map that stand out from their surroundings."""

import numpy as np
from jaxtyping import Float, Int32

from dinocell_kernels import _native
from dinocell_kernels.arguments import require_2d
from dinocell_kernels.watershed import native_map, require_prominence, require_thresholds


def prominent_maxima(
    distance_map: Float[np.ndarray, "y x"], *, peak: float, fill: float, prominence: float
) -> tuple[Int32[np.ndarray, "y x"], int]:
    """Mark the maxima above `peak` with at least `prominence`, one pixel each; return the markers and their number.

    The prominence of a maximum is its height above the pass, the highest level at which a 4-connected path inside
    `distance_map > fill` leads from it to a higher maximum (among equal ones, to one earlier in raster order). The
    highest maximum of a mask component has no pass and only has to exceed `peak`. Markers are 1..n in raster order, 0
    elsewhere. These are the maxima that the h-maxima transform keeps (Soille, Morphological Image Analysis, 2003).

    float32 and float64 are used as they are, float16 is widened. Raises ValueError for NaN in map or thresholds, a
    negative `prominence`, and if `peak` is below `fill`.
    """
    require_2d(distance_map, name="distance_map")
    require_thresholds(peak, fill)
    require_prominence(prominence)
    markers, count = _native.prominent_maxima(native_map(distance_map), float(peak), float(fill), float(prominence))
    return markers, int(count)
