"""One normalisation for training and inference, fitted once per image and never per tile.

v = (pixel - p_low) / (p_high - p_low) with percentiles of the whole picture; the network sees (v - 0.5) / 0.25,
clipped to [-4, 6]. Two tiles that share a pixel therefore see the same number, whatever else they contain.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32, Num, Shaped, UInt8
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dinocell_io import (
    NETWORK_HIGH,
    NETWORK_LOW,
    NETWORK_MEAN,
    NETWORK_STD,
    FittedPlane,
    IntensityBasis,
    differences,
    fit_intensities,
    from_origin,
    refuse_masked,
    refuse_non_finite,
    row_blocks,
    unit_values,
)

BACKGROUND_INPUT = -NETWORK_MEAN / NETWORK_STD  # what v = 0 becomes

CLAHE_CLIP_LIMIT = 1.0  # SAMCell's constants
CLAHE_GRID = (8, 8)


class Normalization(BaseModel):
    """How an image's intensities become the network's input; saved with every model and every result.

    `robust` leaves a frame of one intensity out of the percentiles, and moves a percentile that lies in the noise of an
    almost empty field, or in flecks (see `dinocell_io.intensity.limits`); else all pixels count alike, as they always
    do for CLAHE.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["percentile", "clahe"] = "percentile"
    low_percentile: float = Field(default=1.0, ge=0, le=100)
    high_percentile: float = Field(default=99.8, ge=0, le=100)
    robust: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> "Normalization":
        if self.low_percentile >= self.high_percentile:
            raise ValueError(
                f"low_percentile {self.low_percentile} is not below high_percentile {self.high_percentile}; "
                "the usual pair is 1 and 99.8"
            )
        return self


@dataclass(frozen=True)
class AffineNormalization:
    """The two numbers that turn a prepared pixel into network input: clip(pixel * scale + offset, low, high).

    `low_value` and `high_value` are the intensities that became v = 0 and v = 1, in the image's own unit (for
    CLAHE: of the equalised 8-bit image). `basis` says where they came from: "percentile"; "adapted" where a percentile
    was moved; "min-max" when both coincide in an image that is not constant; "constant" when every pixel is the same,
    and then every v is 0. `frame_share` is the share of pixels that is no picture. `notes` say in words what a user
    should know about this image's contrast. `origin` is 0 but for integers beyond 2**53, which floats do not hold
    exactly: `low_value` and `high_value` are counted from it.
    """

    scale: float
    offset: float
    low: float
    high: float
    low_value: float
    high_value: float
    basis: IntensityBasis
    frame_share: float = 0.0
    notes: tuple[str, ...] = ()
    origin: int = 0

    def as_dict(self) -> dict[str, float | str | list[str]]:
        return {**asdict(self), "notes": list(self.notes)}


@dataclass(frozen=True)
class PreparedPlane:
    """Pixels in a dtype the tile kernel reads (uint8, uint16, float32), and the affine map that fits them."""

    pixels: Shaped[np.ndarray, "y x"]
    affine: AffineNormalization


def normalize(plane: Shaped[np.ndarray, "y x"], settings: Normalization | None = None) -> Float32[np.ndarray, "y x"]:
    """Network input for one complete grey image.

    The values lie in [-4, 6]; a constant image becomes -2 everywhere. Raises ValueError as `prepare` does.
    """
    prepared = prepare(plane, settings)
    affine = prepared.affine
    values = prepared.pixels.astype(np.float32)
    values *= np.float32(affine.scale)
    values += np.float32(affine.offset)
    return np.clip(values, affine.low, affine.high, out=values)


def fit_normalization(plane: Shaped[np.ndarray, "y x"], settings: Normalization | None = None) -> AffineNormalization:
    """The affine map of one image; see `prepare` for the pixels that it applies to."""
    return prepare(plane, settings).affine


def prepare(plane: Shaped[np.ndarray, "y x"], settings: Normalization | None = None) -> PreparedPlane:
    """Fit the normalisation of one image and bring its pixels into a dtype the tile kernel reads.

    uint8 and uint16 pixels stay as they are (no copy, unless a frame is filled). Every other dtype becomes v itself,
    computed in float64 and rounded once to float32, so that a small signal on a large offset keeps its digits; scale
    and offset are then those of v. A frame far outside the picture's range becomes the picture's median, since its edge
    would look like a cell's. Raises ValueError for an empty image, a masked array, and NaN or infinite pixels.
    """
    settings = settings or Normalization()
    refuse_masked(plane)
    is_clahe = settings.method == "clahe"
    if is_clahe and plane.size:
        refuse_non_finite(plane)
        plane = equalize(plane)
    return _prepared(
        fit_intensities(
            plane,
            low_percentile=settings.low_percentile,
            high_percentile=settings.high_percentile,
            robust=settings.robust and not is_clahe,
        )
    )


def prepare_as_fitted(
    plane: Shaped[np.ndarray, "y x"], settings: Normalization, affine: AffineNormalization
) -> PreparedPlane:
    """The pixels of an image whose normalisation was fitted before; a frame keeps its own intensity."""
    pixels = equalize(plane) if settings.method == "clahe" else plane
    if affine.origin:
        pixels = differences(pixels, affine.origin)
    return _prepared(FittedPlane(pixels, affine.low_value, affine.high_value, affine.basis, origin=affine.origin))


def equalize(plane: Num[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x"]:
    """CLAHE of the whole image with SAMCell's constants, after one min-max rescaling to 8 bit."""
    plane, _ = from_origin(plane)
    low, high = float(plane.min()), float(plane.max())
    eight_bit = np.zeros(plane.shape, np.uint8)
    if high > low:
        factor = 255.0 / (high - low)
        for rows in row_blocks(plane):
            eight_bit[rows] = np.rint((plane[rows].astype(np.float64) - low) * factor)
    equalized: UInt8[np.ndarray, "y x"] = cv2.createCLAHE(CLAHE_CLIP_LIMIT, CLAHE_GRID).apply(eight_bit)
    return equalized


def _prepared(fitted: FittedPlane) -> PreparedPlane:
    plane, low, high = fitted.pixels, fitted.low, fitted.high
    keeps_dtype = plane.dtype in (np.uint8, np.uint16)
    if fitted.basis == "constant":
        scale, offset = 0.0, BACKGROUND_INPUT
    elif keeps_dtype:
        scale = 1.0 / (NETWORK_STD * (high - low))
        offset = BACKGROUND_INPUT - low * scale
    else:
        scale, offset = 1.0 / NETWORK_STD, BACKGROUND_INPUT
    affine = AffineNormalization(
        scale,
        offset,
        NETWORK_LOW,
        NETWORK_HIGH,
        low,
        high,
        fitted.basis,
        fitted.frame_share,
        fitted.notes,
        fitted.origin,
    )
    return PreparedPlane(plane if keeps_dtype else unit_values(plane, low, high), affine)
