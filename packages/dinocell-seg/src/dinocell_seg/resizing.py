"""Images of other sizes."""

import cv2
import numpy as np
from jaxtyping import Shaped


def resized(pixels: Shaped[np.ndarray, "y_in x_in"], shape: tuple[int, int]) -> Shaped[np.ndarray, "y_out x_out"]:
    """An image of another shape: averaged over areas when it shrinks, linear in between when it grows."""
    if pixels.shape == shape:
        return pixels
    shrinks = shape[0] * shape[1] < pixels.shape[0] * pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    result: Shaped[np.ndarray, "y_out x_out"] = cv2.resize(
        np.ascontiguousarray(pixels), (shape[1], shape[0]), interpolation=method
    )
    return result
