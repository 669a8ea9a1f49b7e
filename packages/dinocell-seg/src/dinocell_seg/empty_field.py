"""Fields without cells: what a camera records where there is nothing but light and noise."""

import cv2
import numpy as np
from jaxtyping import Float32

from dinocell_seg.normalize import Normalization, normalize

_PHOTONS = (5.0, 2000.0)  # mean of a pixel
_READ_NOISE = (0.0, 2.0)  # in units of the shot noise
_BLUR_PX = (0.3, 1.5)  # noise that a camera's binning or a scan has made smooth
_BLUR_PROBABILITY = 0.5
_GRADIENT = 0.5  # largest change of the light across the field, in units of the noise


def empty_field(
    rng: np.random.Generator, *, size: int, normalization: Normalization | None = None
) -> Float32[np.ndarray, "size size"]:
    """Network input of a field of `size` x `size` pixels without cells: shot and read noise, now and then smooth.

    It is normalised as a whole image is, so that its noise has the contrast that cells have in others.
    """
    photons = np.exp(rng.uniform(*np.log(_PHOTONS)))
    noise = np.sqrt(photons)
    light = rng.poisson(photons, (size, size)) + rng.normal(0, rng.uniform(*_READ_NOISE) * noise, (size, size))
    plane: Float32[np.ndarray, "size size"] = light.astype(np.float32)
    if rng.random() < _BLUR_PROBABILITY:
        plane = cv2.GaussianBlur(plane, (0, 0), rng.uniform(*_BLUR_PX)).astype(np.float32)
    angle, change = rng.uniform(0, 2 * np.pi), rng.uniform(0, _GRADIENT) * float(plane.std())
    y, x = np.meshgrid(np.linspace(-0.5, 0.5, size), np.linspace(-0.5, 0.5, size), indexing="ij")
    plane = plane + (change * (np.sin(angle) * y + np.cos(angle) * x)).astype(np.float32)
    return normalize(plane, normalization or Normalization()).astype(np.float32)
