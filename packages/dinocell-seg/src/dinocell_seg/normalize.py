"""One normalisation for training and inference, fitted once per image and never per tile.

v = (pixel - p_low) / (p_high - p_low) with percentiles of the whole picture; the network sees (v - 0.5) / 0.25,
clipped to [-4, 6]. Two tiles that share a pixel therefore see the same number, whatever else they contain.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Num, Shaped, UInt8
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dinocell_io.counted import counted
from dinocell_seg.intensity_limits import (
    Limits,
    intensities,
    percentile_limits,
    robust_limits,
    sampled_rows,
)
from dinocell_seg.picture_area import PictureArea, picture_area

NETWORK_MEAN = 0.5
NETWORK_STD = 0.25
NETWORK_LOW = -4.0
NETWORK_HIGH = 6.0
BACKGROUND_INPUT = -NETWORK_MEAN / NETWORK_STD  # what v = 0 becomes

CLAHE_CLIP_LIMIT = 1.0  # SAMCell's constants
CLAHE_GRID = (8, 8)

FRAME_BEYOND = 0.25  # of v, outside 0..1, from where a frame would look like an object or a hole

_BLOCK_PIXELS = 1 << 22

Basis = Literal["percentile", "adapted", "min-max", "constant"]


class Normalization(BaseModel):
    """How an image's intensities become the network's input; saved with every model and every result.

    `robust` leaves a frame of one intensity out of the percentiles, and moves a percentile that lies in the noise of an
    almost empty field, or in flecks (see `dinocell_seg.intensity_limits`); else all pixels count alike, as they always
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
    should know about this image's contrast.
    """

    scale: float
    offset: float
    low: float
    high: float
    low_value: float
    high_value: float
    basis: Basis
    frame_share: float = 0.0
    notes: tuple[str, ...] = ()

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
    would look like a cell's. Raises ValueError for an empty image and for NaN or infinite pixels.
    """
    settings = settings or Normalization()
    if plane.size == 0:
        raise ValueError(f"the image has shape {plane.shape} and no pixels; check the file or the crop")
    _refuse_non_finite(plane)
    if plane.dtype == np.bool_:
        plane = plane.view(np.uint8)
    if settings.method == "clahe":
        plane = equalize(plane)
    low, high = float(plane.min()), float(plane.max())
    if low == high:
        return _prepared(plane, low, high, "constant")
    if not math.isfinite(high - low):
        raise ValueError(f"intensities from {low:g} to {high:g} overflow a float64; rescale the image first")
    robust = settings.robust and settings.method == "percentile"
    area = picture_area(plane) if robust else None
    limits, middle = _limits(plane, area, settings, robust=robust)
    if limits.high <= limits.low:
        return _prepared(plane, low, high, "min-max")
    frame_share, notes = 0.0, limits.notes
    if area is not None:
        frame = area.frame(plane.shape)
        frame_share = float(frame.mean())
        filled = _with_frame_filled(plane, frame, limits, middle)
        if filled is not plane:
            notes = (f"{frame_share:.0%} of the image is a frame of one intensity, which is left out", *notes)
        plane = filled
    basis: Basis = "percentile" if limits.are_percentiles else "adapted"
    return _prepared(plane, limits.low, limits.high, basis, frame_share=frame_share, notes=notes)


def equalize(plane: Num[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y x"]:
    """CLAHE of the whole image with SAMCell's constants, after one min-max rescaling to 8 bit."""
    low, high = float(plane.min()), float(plane.max())
    eight_bit = np.zeros(plane.shape, np.uint8)
    if high > low:
        factor = 255.0 / (high - low)
        for rows in _row_blocks(plane):
            eight_bit[rows] = np.rint((plane[rows].astype(np.float64) - low) * factor)
    equalized: UInt8[np.ndarray, "y x"] = cv2.createCLAHE(CLAHE_CLIP_LIMIT, CLAHE_GRID).apply(eight_bit)
    return equalized


def _prepared(
    plane: Num[np.ndarray, "y x"],
    low_value: float,
    high_value: float,
    basis: Basis,
    *,
    frame_share: float = 0.0,
    notes: tuple[str, ...] = (),
) -> PreparedPlane:
    keeps_dtype = plane.dtype in (np.uint8, np.uint16)
    if basis == "constant":
        scale, offset = 0.0, BACKGROUND_INPUT
    elif keeps_dtype:
        scale = 1.0 / (NETWORK_STD * (high_value - low_value))
        offset = BACKGROUND_INPUT - low_value * scale
    else:
        scale, offset = 1.0 / NETWORK_STD, BACKGROUND_INPUT
    affine = AffineNormalization(
        scale, offset, NETWORK_LOW, NETWORK_HIGH, low_value, high_value, basis, frame_share, notes
    )
    return PreparedPlane(plane if keeps_dtype else _unit_values(plane, low_value, high_value), affine)


def _limits(
    plane: Num[np.ndarray, "y x"], area: PictureArea | None, settings: Normalization, *, robust: bool
) -> tuple[Limits, float]:
    """The two limits of the picture's pixels, and their median."""
    values = intensities(plane if area is None else area.pixels(plane))
    percents = {"low_percentile": settings.low_percentile, "high_percentile": settings.high_percentile}
    if not robust:
        return percentile_limits(values, **percents), values.median
    box = plane if area is None else plane[area.rows, area.columns]
    return robust_limits(values, sampled_rows(box), **percents), values.median


def _with_frame_filled(
    plane: Num[np.ndarray, "y x"], frame: Bool[np.ndarray, "y x"], limits: Limits, middle: float
) -> Num[np.ndarray, "y x"]:
    """The plane with its frame at the picture's median, where that is far outside the limits; else the plane itself."""
    beyond = FRAME_BEYOND * (limits.high - limits.low)
    far = frame & ((plane < limits.low - beyond) | (plane > limits.high + beyond))
    if not far.any():
        return plane
    plane = plane.copy()
    plane[far] = round(middle) if np.issubdtype(plane.dtype, np.integer) else middle
    return plane


def _unit_values(plane: Num[np.ndarray, "y x"], low: float, high: float) -> Float32[np.ndarray, "y x"]:
    values = np.zeros(plane.shape, np.float32)
    if high == low:
        return values
    # v beyond these bounds is clipped by the network's range anyway
    v_low, v_high = (bound * NETWORK_STD + NETWORK_MEAN for bound in (NETWORK_LOW, NETWORK_HIGH))
    for rows in _row_blocks(plane):
        block = (plane[rows].astype(np.float64) - low) / (high - low)
        values[rows] = np.clip(block, v_low, v_high)
    return values


def _refuse_non_finite(plane: Shaped[np.ndarray, "y x"]) -> None:
    if np.issubdtype(plane.dtype, np.integer) or plane.dtype == np.bool_:
        return
    if not np.issubdtype(plane.dtype, np.floating):
        raise ValueError(f"the image has dtype {plane.dtype}; expected integers or real floats")
    num_nan = num_infinite = 0
    for rows in _row_blocks(plane):
        num_nan += int(np.isnan(plane[rows]).sum())
        num_infinite += int(np.isinf(plane[rows]).sum())
    if num_nan or num_infinite:
        raise ValueError(
            f"the image holds {num_nan} NaN and {num_infinite} infinite of {counted(plane.size, 'pixel')}; "
            "fill them (for example with the background's value) before segmenting"
        )


def _row_blocks(plane: Shaped[np.ndarray, "y x"]) -> Iterator[slice]:
    step = max(1, _BLOCK_PIXELS // max(1, plane.shape[1]))
    for start in range(0, plane.shape[0], step):
        yield slice(start, start + step)
