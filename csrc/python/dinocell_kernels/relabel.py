"""Consecutive labels, with or without the small ones."""

import numpy as np
from jaxtyping import Int32, Integer

from dinocell_kernels import _native
from dinocell_kernels.arguments import kernel_labels, require_2d, result_array, thread_count


def relabel(
    labels: Integer[np.ndarray, "y x"],
    *,
    out: Int32[np.ndarray, "y x"] | None = None,
    num_threads: int | None = None,
) -> tuple[Int32[np.ndarray, "y x"], int]:
    """Renumber labels 1..n in raster order of first appearance; return them and n.

    0 stays 0; every other value is a label, including negative ones. An image without pixels has no labels.
    `out` receives the result if given: from a few megapixels on, new memory costs as much as the numbering.
    `num_threads=None` uses one thread below half a megapixel, otherwise every core; two threads are not faster than
    one, so with two one does the work.
    Differs from `skimage.segmentation.relabel_sequential`, which keeps the ascending order of the old labels.
    """
    require_2d(labels, name="labels")
    result = result_array(out, labels.shape, labels, dtype=np.dtype(np.int32))
    return result, _native.relabel(kernel_labels(labels), result, thread_count(num_threads))


def remove_small(
    labels: Integer[np.ndarray, "y x"],
    *,
    min_size: int,
    out: Int32[np.ndarray, "y x"] | None = None,
    num_threads: int | None = None,
) -> tuple[Int32[np.ndarray, "y x"], int]:
    """Drop labels of fewer than `min_size` pixels and renumber the others 1..n; return them and n.

    The others keep the ascending order of their old labels (negative ones first). A label's fragments count
    together. `out` receives the result if given. `num_threads=None` uses one thread below half a megapixel,
    otherwise every core. Raises ValueError if `min_size` is negative; 0 and 1 drop nothing.
    """
    require_2d(labels, name="labels")
    if min_size < 0:
        raise ValueError(f"min_size is a number of pixels and must not be negative, got {min_size}")
    result = result_array(out, labels.shape, labels, dtype=np.dtype(np.int32))
    return result, _native.remove_small(kernel_labels(labels), int(min_size), result, thread_count(num_threads))
