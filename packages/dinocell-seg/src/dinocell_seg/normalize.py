"""One normalisation for training and inference, fitted once per image and never per tile.

v = (pixel - p_low) / (p_high - p_low) with percentiles of the whole image; the network sees (v - 0.5) / 0.25,
clipped to [-4, 6]. Two tiles that share a pixel therefore see the same number, whatever else they contain.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32, Num, Shaped, UInt8
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dinocell_io.counted import counted

NETWORK_MEAN = 0.5
NETWORK_STD = 0.25
NETWORK_LOW = -4.0
NETWORK_HIGH = 6.0
BACKGROUND_INPUT = -NETWORK_MEAN / NETWORK_STD  # what v = 0 becomes

CLAHE_CLIP_LIMIT = 1.0  # SAMCell's constants
CLAHE_GRID = (8, 8)

_MAX_HISTOGRAM_BINS = 1 << 20
_MAX_EXACT_FLOAT_PIXELS = 1 << 24
_BLOCK_PIXELS = 1 << 22


class Normalization(BaseModel):
    """How an image's intensities become the network's input; saved with every model and every result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["percentile", "clahe"] = "percentile"
    low_percentile: float = Field(default=1.0, ge=0, le=100)
    high_percentile: float = Field(default=99.8, ge=0, le=100)

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
    CLAHE: of the equalised 8-bit image). `basis` says where they came from: "percentile"; "min-max" when both
    percentiles coincide in an image that is not constant (a few bright cells on an empty field); "constant"
    when every pixel is the same, and then every v is 0.
    """

    scale: float
    offset: float
    low: float
    high: float
    low_value: float
    high_value: float
    basis: Literal["percentile", "min-max", "constant"]

    def as_dict(self) -> dict[str, float | str]:
        return asdict(self)


@dataclass(frozen=True)
class PreparedPlane:
    """Pixels in a dtype the tile kernel reads (uint8, uint16, float32), and the affine map that fits them."""

    pixels: Shaped[np.ndarray, "y x"]
    affine: AffineNormalization


def normalize(plane: Shaped[np.ndarray, "y x"], settings: Normalization | None = None) -> Float32[np.ndarray, "y x"]:
    """Network input for one whole grey image.

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

    uint8 and uint16 pixels stay as they are (no copy). Every other dtype becomes v itself, computed in
    float64 and rounded once to float32, so that a small signal on a large offset keeps its digits; scale
    and offset are then those of v. Percentiles are exact for integers and for floats up to 16 Mpx; larger
    float images are subsampled on a regular grid of at most 16 Mpx. Raises ValueError for an empty image
    and for NaN or infinite pixels.
    """
    settings = settings or Normalization()
    if plane.size == 0:
        raise ValueError(f"the image has shape {plane.shape} and no pixels; check the file or the crop")
    _refuse_non_finite(plane)
    if plane.dtype == np.bool_:
        plane = plane.view(np.uint8)
    if settings.method == "clahe":
        plane = equalize(plane)
    low_value, high_value, basis = _limits(plane, settings)
    if plane.dtype in (np.uint8, np.uint16):
        return PreparedPlane(plane, _affine(low_value, high_value, basis, of_v=False))
    return PreparedPlane(_unit_values(plane, low_value, high_value), _affine(low_value, high_value, basis, of_v=True))


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


def _affine(
    low_value: float, high_value: float, basis: Literal["percentile", "min-max", "constant"], *, of_v: bool
) -> AffineNormalization:
    if basis == "constant":
        scale, offset = 0.0, BACKGROUND_INPUT
    elif of_v:
        scale, offset = 1.0 / NETWORK_STD, BACKGROUND_INPUT
    else:
        scale = 1.0 / (NETWORK_STD * (high_value - low_value))
        offset = BACKGROUND_INPUT - low_value * scale
    return AffineNormalization(scale, offset, NETWORK_LOW, NETWORK_HIGH, low_value, high_value, basis)


def _limits(
    plane: Num[np.ndarray, "y x"], settings: Normalization
) -> tuple[float, float, Literal["percentile", "min-max", "constant"]]:
    low, high = float(plane.min()), float(plane.max())
    if low == high:
        return low, high, "constant"
    if not math.isfinite(high - low):
        raise ValueError(f"intensities from {low:g} to {high:g} overflow a float64; rescale the image first")
    p_low, p_high = _percentiles(plane, (settings.low_percentile, settings.high_percentile))
    if p_high > p_low:
        return p_low, p_high, "percentile"
    return low, high, "min-max"


def _percentiles(plane: Num[np.ndarray, "y x"], percents: tuple[float, float]) -> tuple[float, float]:
    """Linear-interpolation percentiles, as np.percentile."""
    if np.issubdtype(plane.dtype, np.integer):
        base = int(plane.min())
        num_bins = int(plane.max()) - base + 1
        if num_bins <= _MAX_HISTOGRAM_BINS:
            counts = np.zeros(num_bins, np.int64)
            for rows in _row_blocks(plane):
                shifted = plane[rows].astype(np.int64).ravel() - base
                counts += np.bincount(shifted, minlength=num_bins)
            low, high = (_histogram_percentile(counts, percent) + base for percent in percents)
            return low, high
    elif plane.size > _MAX_EXACT_FLOAT_PIXELS:
        stride = math.ceil(math.sqrt(plane.size / _MAX_EXACT_FLOAT_PIXELS))
        plane = plane[::stride, ::stride]
    low, high = np.percentile(plane.astype(np.float64), percents)
    return float(low), float(high)


def _histogram_percentile(counts: np.ndarray, percent: float) -> float:
    ends = np.cumsum(counts)
    rank = percent / 100.0 * (int(ends[-1]) - 1)
    below = math.floor(rank)
    value, following = np.searchsorted(ends, [below, min(below + 1, int(ends[-1]) - 1)], side="right")
    return float(value) + (float(following) - float(value)) * (rank - below)


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
