"""Distance of each pixel to the edge of its own cell."""

import numpy as np
from jaxtyping import Float32, Integer

from dinocell_kernels import _native
from dinocell_kernels.arguments import kernel_labels, require_2d, thread_count


def distance_map(
    labels: Integer[np.ndarray, "y x"],
    *,
    normalize: bool = True,
    border_is_background: bool = False,
    num_threads: int | None = None,
) -> Float32[np.ndarray, "y x"]:
    """Exact Euclidean distance of each pixel to its own cell's edge, divided by that cell's maximum.

    Background is 0, a cell's deepest pixel is 1, and a one-pixel cell is 1. Touching cells stay apart, because
    pixels of other cells are background to a cell. Fragments of one label share one maximum. With
    `normalize=False` the distance stays in pixels: 1 for a pixel beside the edge.

    The border of the image is not an edge (the convention of SciPy and OpenCV) unless `border_is_background`.
    A label that fills the whole image has no other edge, so for that label the border always is one. An image
    without pixels gives a map without pixels.

    `num_threads=None` uses one thread below half a megapixel, otherwise every core; the result is the same.
    Raises ValueError if labels are negative or not integers. Differs from the distance transform of the
    foreground, which joins touching cells and scales once per image.
    """
    require_2d(labels, name="labels")
    return _native.distance_map(kernel_labels(labels), normalize, border_is_background, thread_count(num_threads))
