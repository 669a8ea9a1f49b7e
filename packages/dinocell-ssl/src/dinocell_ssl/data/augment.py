"""Random changes of intensity that a microscope makes: exposure, noise, focus, illumination, saturation.

No hue, no saturation of colours, no solarisation: channels are stains, and an inverted stain does not exist.
"""

import math

import cv2
import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field, model_validator

Range = tuple[float, float]


class Augmentation(BaseModel):
    """Ranges and probabilities in units of v: 0 is the field's low percentile, 1 its high one.

    A probability is the share of crops that are changed, 0 to 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    gain: Range = Field(default=(0.7, 1.4), description="per channel, log-uniform")
    offset: Range = Field(default=(-0.1, 0.1), description="per channel")
    gamma: Range = Field(default=(0.7, 1.5), description="per channel, log-uniform; of values above 0")
    gamma_probability: float = Field(default=0.5, ge=0, le=1)
    defocus_px: Range = Field(default=(0.4, 1.5), description="standard deviation of a Gaussian blur")
    defocus_probability: float = Field(default=0.2, ge=0, le=1)
    gradient: float = Field(default=0.3, ge=0, lt=1, description="largest change of illumination across a crop")
    gradient_probability: float = Field(default=0.2, ge=0, le=1)
    shot_noise: float = Field(default=0.08, ge=0, description="largest standard deviation at v = 1; grows with √v")
    read_noise: float = Field(default=0.04, ge=0, description="largest standard deviation, the same at every v")
    noise_probability: float = Field(default=0.5, ge=0, le=1)
    saturation: Range = Field(default=(0.6, 1.0), description="values above are cut off, as by a full well")
    saturation_probability: float = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _ranges_are_ranges(self) -> "Augmentation":
        for name in ("gain", "offset", "gamma", "defocus_px", "saturation"):
            low, high = getattr(self, name)
            is_signed = name == "offset"
            if not (low <= high and (is_signed or low > 0) and math.isfinite(high - low)):
                least = "" if is_signed else " above 0"
                raise ValueError(f"{name} is [{low:g}, {high:g}]; give [lowest, highest], two numbers{least}")
        return self

    @classmethod
    def none(cls) -> "Augmentation":
        """Crops as they are."""
        return cls(
            gain=(1.0, 1.0),
            offset=(0.0, 0.0),
            gamma_probability=0,
            defocus_probability=0,
            gradient_probability=0,
            noise_probability=0,
            saturation_probability=0,
        )


def changed_exposure(
    v: Float32[np.ndarray, "y x"], rng: np.random.Generator, settings: Augmentation
) -> Float32[np.ndarray, "y x"]:
    """One channel with random gain, offset and gamma; may change `v` in place."""
    gain = _log_uniform(rng, settings.gain)
    offset = rng.uniform(*settings.offset)
    if rng.random() < settings.gamma_probability:
        # Pixels below the low percentile are negative: they have no real power and stay as they are.
        np.power(v, np.float32(_log_uniform(rng, settings.gamma)), out=v, where=v > 0)
    v *= np.float32(gain)
    v += np.float32(offset)
    return v


def changed_optics(
    v: Float32[np.ndarray, "y x"], rng: np.random.Generator, settings: Augmentation
) -> Float32[np.ndarray, "y x"]:
    """One plane of a crop after illumination, focus, noise and saturation, in the order of the light path.

    The noise is Gaussian with the variance of photons plus that of the camera.
    """
    if rng.random() < settings.gradient_probability:
        v *= _illumination(v.shape, rng, settings.gradient)
    if rng.random() < settings.defocus_probability:
        v = np.asarray(cv2.GaussianBlur(v, (0, 0), sigmaX=rng.uniform(*settings.defocus_px)), np.float32)
    if rng.random() < settings.noise_probability:
        shot, read = rng.uniform(0, settings.shot_noise), rng.uniform(0, settings.read_noise)
        deviation = np.sqrt(np.maximum(v, 0) * np.float32(shot**2) + np.float32(read**2))
        v = v + deviation * rng.standard_normal(v.shape, dtype=np.float32)
    if rng.random() < settings.saturation_probability:
        v = np.minimum(v, np.float32(rng.uniform(*settings.saturation)))
    return v


def _illumination(shape: tuple[int, ...], rng: np.random.Generator, largest: float) -> Float32[np.ndarray, "y x"]:
    height, width = shape
    angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0, largest)
    y = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(strength * math.sin(angle))
    x = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(strength * math.cos(angle))
    return 1 + np.add.outer(y, x)


def _log_uniform(rng: np.random.Generator, bounds: Range) -> float:
    low, high = bounds
    return math.exp(rng.uniform(math.log(low), math.log(high)))
