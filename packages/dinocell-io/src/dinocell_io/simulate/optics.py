"""From brightness to camera counts: blur, haze, uneven light, photons and the camera's own noise."""

import math

import numpy as np
from jaxtyping import Float32, UInt16
from scipy import ndimage

_OFFSET_COUNTS = 100.0
_COUNTS_PER_PHOTON = 10.0
HAZE_SHARE = 0.08  # of the light: structures out of focus
BACKGROUND = 0.03  # of the brightness of a bright structure


def uneven_light(shape: tuple[int, int], gradient: float, rng: np.random.Generator) -> Float32[np.ndarray, "y x"]:
    """Illumination from 1 where it is best down to 1 - `gradient`: a tilt plus darker corners."""
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    turn = rng.uniform(0, 2 * math.pi)
    loss = 0.5 * (y * np.float32(math.sin(turn)) + x * np.float32(math.cos(turn))) + 0.5 * (y**2 + x**2)
    spread = loss.max() - loss.min()
    loss = (loss - loss.min()) / (spread if spread > 0 else 1)
    return (1 - np.float32(gradient) * loss).astype(np.float32)


def camera_counts(
    brightness: Float32[np.ndarray, "y x"],
    *,
    light: Float32[np.ndarray, "y x"],
    psf_sigma_px: float,
    photons: float,
    read_noise: float,
    haze: float = HAZE_SHARE,
    background: float = BACKGROUND,
    rng: np.random.Generator,
) -> UInt16[np.ndarray, "y x"]:
    """What a 16-bit camera records of `brightness`: shot noise is Poisson, read noise Gaussian.

    `photons` is their mean number at brightness 1; `read_noise` is in photons. The PSF is a Gaussian.
    `haze` is the share of light from structures out of focus, `background` what an empty place emits.
    Counts above 65535 saturate, as they do in a camera.
    """
    sharp = ndimage.gaussian_filter(brightness, psf_sigma_px, truncate=3) if psf_sigma_px > 0 else brightness
    wide = ndimage.uniform_filter(brightness, 1 + 2 * round(6 * max(psf_sigma_px, 1.0)))
    mean_photons = ((1 - haze) * sharp + haze * wide + background) * light * photons
    recorded = rng.poisson(np.maximum(mean_photons, 0)).astype(np.float32)
    recorded += np.float32(read_noise) * rng.standard_normal(brightness.shape, dtype=np.float32)
    counts = np.rint(_OFFSET_COUNTS + _COUNTS_PER_PHOTON * recorded)
    return np.clip(counts, 0, 65535).astype(np.uint16)
