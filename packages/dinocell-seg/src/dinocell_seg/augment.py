"""Augmentation: image and labels warped once, by one affine map; intensities changed on the image alone.

The target is computed from the warped labels, never warped itself, so it is exact at every scale and rotation.
"""

import math

import cv2
import numpy as np
from jaxtyping import Float, Float32, Integer, Num
from pydantic import BaseModel, ConfigDict, Field

from dinocell_io import NETWORK_HIGH, NETWORK_LOW, NETWORK_MEAN, NETWORK_STD

_MAX_UINT16_LABEL = np.iinfo(np.uint16).max
_ANTIALIAS_BELOW_SCALE = 0.75


class Augmentation(BaseModel):
    """Ranges of the random changes; every probability 0 and every range empty gives plain crops.

    Intensities are in units of v: 0 is the image's low percentile, 1 its high percentile.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    flip: bool = True
    rotation_degrees: float = Field(default=180.0, ge=0, le=180, description="uniform in [-r, r]")
    scale: tuple[float, float] = Field(default=(0.75, 1.35), description="log-uniform magnification")
    wide_scale: tuple[float, float] = Field(default=(0.5, 2.0), description="the same, now and then")
    wide_scale_probability: float = Field(default=0.2, ge=0, le=1)
    diameter_px: tuple[float, float] = Field(
        default=(6.0, 120.0), description="a magnification never takes the median cell out of this range"
    )
    target_diameter_px: tuple[float, float] | None = Field(
        default=None,
        description="the median cell of a crop is this large, log-uniformly, however large it is in the image",
    )
    target_diameter_probability: float = Field(
        default=1.0, ge=0, le=1, description="share of crops that are so resized; the others by scale"
    )
    gain: tuple[float, float] = (0.7, 1.3)
    offset: tuple[float, float] = (-0.1, 0.1)
    gamma: tuple[float, float] = (0.6, 1.6)
    gamma_probability: float = Field(default=0.5, ge=0, le=1)
    invert_probability: float = Field(default=0.1, ge=0, le=1)
    noise: float = Field(default=0.08, ge=0, description="largest standard deviation of added Gaussian noise")
    noise_probability: float = Field(default=0.3, ge=0, le=1)
    blur_px: float = Field(default=1.5, ge=0, description="largest sigma of Gaussian blur")
    blur_probability: float = Field(default=0.2, ge=0, le=1)
    gradient: float = Field(default=0.3, ge=0, description="largest change of illumination across a crop")
    gradient_probability: float = Field(default=0.2, ge=0, le=1)
    illumination: float = Field(default=0.0, ge=0, description="largest change of illumination from place to place")
    illumination_probability: float = Field(default=0.0, ge=0, le=1)
    artefact_probability: float = Field(
        default=0.0, ge=0, le=1, description="seams, borders, saturation, specks, bubbles, scratches, defocus, JPEG"
    )


def random_affine(
    rng: np.random.Generator, settings: Augmentation, *, median_diameter: float
) -> Float[np.ndarray, "2 2"]:
    """A random map from offsets in the crop to offsets in the image (both [x y], from their centres)."""
    scale = _random_scale(rng, settings, median_diameter=median_diameter)
    angle = math.radians(rng.uniform(-settings.rotation_degrees, settings.rotation_degrees))
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    matrix = np.array([[cos, -sin], [sin, cos]])
    if settings.flip and rng.random() < 0.5:
        matrix[:, 0] *= -1
    return matrix


def _random_scale(rng: np.random.Generator, settings: Augmentation, *, median_diameter: float) -> float:
    """Magnification of a crop."""
    if (
        settings.target_diameter_px is not None
        and median_diameter > 0
        and rng.random() < settings.target_diameter_probability
    ):
        low, high = (bound / median_diameter for bound in settings.target_diameter_px)
        return math.exp(rng.uniform(math.log(low), math.log(high)))
    low, high = settings.scale
    if rng.random() < settings.wide_scale_probability:
        low, high = settings.wide_scale
    scale = math.exp(rng.uniform(math.log(low), math.log(high)))
    if median_diameter > 0:
        smallest, largest = (bound / median_diameter for bound in settings.diameter_px)
        scale = min(max(scale, min(smallest, 1.0)), max(largest, 1.0))
    return scale


def warp_crop(
    image: Float[np.ndarray, "y x"],
    labels: Integer[np.ndarray, "y x"],
    *,
    matrix: Float[np.ndarray, "2 2"],
    center: tuple[float, float],
    size: int,
) -> tuple[Float32[np.ndarray, "size size"], Integer[np.ndarray, "size size"]]:
    """Cut a square crop around ``center`` (y, x) through an affine map; image bilinear, labels nearest.

    Beyond its border the image is mirrored, and the labels with it.
    """
    half = (size - 1) / 2
    y, x = center
    magnification = 1.0 / math.sqrt(abs(float(np.linalg.det(matrix))))
    sigma = 0.5 / magnification if magnification < _ANTIALIAS_BELOW_SCALE else 0.0
    # Only what the crop sees is worked on, with what the blur and the interpolation see of its surroundings.
    reach = np.abs(matrix).sum(axis=1) * half + math.ceil(4 * sigma) + 2
    columns, rows = (
        _seen(position - extent, position + extent, side)
        for position, extent, side in zip((x, y), reach, image.shape[::-1], strict=True)
    )
    image, labels = image[rows, columns].astype(np.float32), labels[rows, columns]
    shift = np.array([x - columns.start, y - rows.start]) - matrix @ np.array([half, half])
    affine = np.concatenate([matrix, shift[:, None]], axis=1)
    if sigma > 0:
        image = cv2.GaussianBlur(image, (0, 0), sigmaX=sigma)
    flags = cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(
        image, affine, (size, size), flags=flags | cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    # OpenCV has no 32-bit integer warp; float64 carries every int32 exactly.
    carrier: Num[np.ndarray, "y x"] = labels.astype(
        np.uint16 if labels.max(initial=0) <= _MAX_UINT16_LABEL else np.float64
    )
    warped = cv2.warpAffine(
        carrier, affine, (size, size), flags=flags | cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101
    )
    return crop, warped.astype(np.int32)


def _seen(first: float, last: float, side: int) -> slice:
    """The pixels of an axis that lie in [first, last], also by one reflection at the image's border."""
    low, high = max(0, math.floor(first)), min(side - 1, math.ceil(last))
    if last > side - 1:
        low = max(0, min(low, 2 * (side - 1) - math.ceil(last)))
    if first < 0:
        high = min(side - 1, max(high, -math.floor(first)))
    if first < -(side - 1) or last > 2 * (side - 1):  # reflected more than once
        low, high = 0, side - 1
    return slice(low, high + 1)


def change_intensities(
    image: Float32[np.ndarray, "y x"], rng: np.random.Generator, settings: Augmentation
) -> Float32[np.ndarray, "y x"]:
    """Random gain, offset, gamma, inversion, illumination, blur and noise of network input."""
    v = image * NETWORK_STD + NETWORK_MEAN
    if rng.random() < settings.gamma_probability:
        low, high = settings.gamma
        gamma = math.exp(rng.uniform(math.log(low), math.log(high)))
        v = np.sign(v) * np.abs(v) ** gamma
    v = v * rng.uniform(*settings.gain) + rng.uniform(*settings.offset)
    if rng.random() < settings.gradient_probability:
        height, width = v.shape
        angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0, settings.gradient)
        ramp = np.add.outer(np.linspace(-1, 1, height) * math.sin(angle), np.linspace(-1, 1, width) * math.cos(angle))
        v = v * (1 + strength * ramp)
    if settings.illumination_probability > 0 and rng.random() < settings.illumination_probability:
        v = v * _uneven_light(v.shape, rng, strength=rng.uniform(0, settings.illumination))
    if rng.random() < settings.invert_probability:
        v = 1 - v
    changed: Float32[np.ndarray, "y x"] = v.astype(np.float32)
    if settings.blur_px > 0 and rng.random() < settings.blur_probability:
        changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), sigmaX=rng.uniform(0.3, settings.blur_px)), np.float32)
    if rng.random() < settings.noise_probability:
        noise = rng.standard_normal(changed.shape, dtype=np.float32)
        changed = changed + noise * np.float32(rng.uniform(0, settings.noise))
    values = (changed - np.float32(NETWORK_MEAN)) / np.float32(NETWORK_STD)
    return np.clip(values, NETWORK_LOW, NETWORK_HIGH).astype(np.float32)


def _uneven_light(shape: tuple[int, ...], rng: np.random.Generator, *, strength: float) -> Float32[np.ndarray, "y x"]:
    """A smooth field around 1, of bright and dark places a quarter to a half of the crop apart."""
    knots = rng.uniform(-1, 1, (int(rng.integers(3, 6)),) * 2).astype(np.float32)
    field = cv2.resize(knots, shape[::-1], interpolation=cv2.INTER_CUBIC)
    light: Float32[np.ndarray, "y x"] = np.maximum(1 + np.float32(strength) * field, np.float32(0.1))
    return light
