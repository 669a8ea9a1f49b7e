"""Connected components of a mask."""

import numpy as np
from jaxtyping import Int32, Shaped

from dinocell_kernels import _native
from dinocell_kernels.arguments import require_2d, require_connectivity, thread_count


def connected_components(
    mask: Shaped[np.ndarray, "y x"], *, connectivity: int = 1, num_threads: int | None = None
) -> tuple[Int32[np.ndarray, "y x"], int]:
    """Label the connected parts of `mask` 1..n by their first pixel in raster order; return labels and n.

    `mask` is boolean or integer, nonzero = foreground. `connectivity` 1 joins pixels that share a side, 2
    also those that share a corner. The numbering is that of `scipy.ndimage.label`. An image without pixels
    has no components. `num_threads=None` uses one thread below half a megapixel, otherwise every core; the result
    is the same. Raises ValueError for other types (threshold first) and other connectivities.
    """
    require_2d(mask, name="mask")
    require_connectivity(connectivity)
    return _native.connected_components(native_mask(mask), connectivity, thread_count(num_threads))


def native_mask(mask: Shaped[np.ndarray, "y x"]) -> Shaped[np.ndarray, "y x"]:
    """`mask` as row-major uint8, nonzero = foreground; booleans and uint8 are not copied."""
    if mask.dtype.kind not in "biu":
        raise ValueError(f"mask must hold booleans or integers, got {mask.dtype}; threshold it, for example mask > 0")
    if mask.dtype == np.bool_ or mask.dtype == np.uint8:
        return np.ascontiguousarray(mask).view(np.uint8)
    return np.ascontiguousarray(mask != 0).view(np.uint8)
