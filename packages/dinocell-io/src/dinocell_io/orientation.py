"""EXIF orientation: how a camera says which way is up."""

import numpy as np
from jaxtyping import Shaped


def upright(pixels: Shaped[np.ndarray, "a b sample"], orientation: int) -> Shaped[np.ndarray, "y x sample"]:
    """A view of the pixels turned as the EXIF tag 0x0112 says; 1 and unknown values leave them.

    The tag's value names where the stored row 0 and column 0 are in the upright picture
    (EXIF 2.32, section 4.6.4): 2, 4 mirrored, 3 turned by 180 degrees, 5 to 8 with y and x swapped.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
