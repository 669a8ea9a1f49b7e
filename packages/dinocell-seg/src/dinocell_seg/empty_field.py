"""Fields without cells: what a camera records where there is only light and noise."""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32

from dinocell_seg.normalize import Normalization, normalize

Plane = Float32[np.ndarray, "y x"]

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
    return normalize(_camera_noise(rng, size), normalization or Normalization()).astype(np.float32)


def any_empty_field(
    rng: np.random.Generator, *, size: int, normalization: Normalization | None = None
) -> Float32[np.ndarray, "size size"]:
    """Network input of a field without cells, half of the time as `empty_field` makes it.

    Else its noise is coarse, interpolated or median-filtered, or the field has stripes, hot pixels or dust, is stored
    as JPEG, or is nothing but uneven light.
    """
    plane = _camera_noise(rng, size)
    if rng.random() >= 0.5:
        plane = _KINDS[rng.integers(len(_KINDS))](plane, rng)
    return normalize(plane, normalization or Normalization()).astype(np.float32)


def _camera_noise(rng: np.random.Generator, size: int) -> Float32[np.ndarray, "size size"]:
    photons = np.exp(rng.uniform(*np.log(_PHOTONS)))
    noise = np.sqrt(photons)
    light = rng.poisson(photons, (size, size)) + rng.normal(0, rng.uniform(*_READ_NOISE) * noise, (size, size))
    plane: Float32[np.ndarray, "size size"] = light.astype(np.float32)
    if rng.random() < _BLUR_PROBABILITY:
        plane = cv2.GaussianBlur(plane, (0, 0), rng.uniform(*_BLUR_PX)).astype(np.float32)
    angle, change = rng.uniform(0, 2 * np.pi), rng.uniform(0, _GRADIENT) * float(plane.std())
    y, x = np.meshgrid(np.linspace(-0.5, 0.5, size), np.linspace(-0.5, 0.5, size), indexing="ij")
    tilted: Float32[np.ndarray, "size size"] = plane + (change * (np.sin(angle) * y + np.cos(angle) * x)).astype(
        np.float32
    )
    return tilted


def _coarse(plane: Plane, rng: np.random.Generator) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), float(np.exp(rng.uniform(np.log(1.5), np.log(6))))), np.float32)


def _interpolated(plane: Plane, rng: np.random.Generator) -> Plane:
    """Noise of a smaller image that was enlarged."""
    side = int(len(plane) / rng.uniform(1.5, 4))
    method = [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST][rng.integers(3)]
    return np.asarray(cv2.resize(plane[:side, :side], plane.shape, interpolation=method), np.float32)


def _median_filtered(plane: Plane, rng: np.random.Generator) -> Plane:
    return np.asarray(cv2.medianBlur(plane, [3, 5][rng.integers(2)]), np.float32)


def _stripes(plane: Plane, rng: np.random.Generator) -> Plane:
    """Rows or columns of their own offset, or a wave of any direction."""
    strength = float(plane.std()) * rng.uniform(0.3, 3)
    if rng.random() < 0.5:
        lines = rng.normal(0, strength, len(plane)).astype(np.float32)
        return plane + (lines[:, None] if rng.random() < 0.5 else lines)
    y, x = np.indices(plane.shape)
    angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3), np.log(60)))
    wave = np.sin(2 * np.pi * (y * np.sin(angle) + x * np.cos(angle)) / period)
    return plane + (strength * wave).astype(np.float32)


def _hot_pixels(plane: Plane, rng: np.random.Generator) -> Plane:
    ys, xs = rng.integers(0, len(plane), (2, int(rng.integers(1, 60))))
    plane[ys, xs] += np.float32(plane.std() * rng.uniform(5, 100))
    return plane


def _dust(plane: Plane, rng: np.random.Generator) -> Plane:
    """Grains of a few pixels, and specks far out of focus."""
    for _ in range(int(rng.integers(1, 15))):
        y, x = rng.integers(len(plane), size=2)
        grain = np.zeros_like(plane)
        cv2.circle(grain, (int(x), int(y)), int(rng.integers(0, 3)), 1.0, -1)
        if rng.random() < 0.3:
            grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), float(rng.uniform(8, 25))), np.float32)
            grain /= max(float(grain.max()), 1e-6)
        plane += grain * np.float32(plane.std() * rng.uniform(-4, 8))
    return plane


def _jpeg(plane: Plane, rng: np.random.Generator) -> Plane:
    low, high = float(plane.min()), float(plane.max())
    eight_bit = np.rint((plane - low) / max(high - low, 1e-6) * rng.uniform(20, 255)).astype(np.uint8)
    _, stored = cv2.imencode(".jpg", eight_bit, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 95))])
    read = cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE)
    assert read is not None
    return read.astype(np.float32)


def _uneven_light(plane: Plane, rng: np.random.Generator) -> Plane:
    knots = rng.uniform(0, 1, (int(rng.integers(2, 5)),) * 2).astype(np.float32)
    light = np.asarray(cv2.resize(knots, plane.shape, interpolation=cv2.INTER_CUBIC), np.float32)
    return light + (plane - plane.mean()) / max(float(plane.std()), 1e-6) * np.float32(rng.uniform(0, 0.2))


_KINDS: tuple[Callable[[Plane, np.random.Generator], Plane], ...] = (
    _coarse,
    _interpolated,
    _median_filtered,
    _stripes,
    _hot_pixels,
    _dust,
    _jpeg,
    _uneven_light,
)
