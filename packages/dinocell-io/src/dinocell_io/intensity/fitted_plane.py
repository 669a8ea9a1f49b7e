"""The rule of one image: v = (pixel - low) / (high - low), with two intensities fitted to the whole picture.

The network sees (v - 0.5) / 0.25, clipped to [-4, 6].
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Num, Shaped

from dinocell_io.intensity.limits import (
    Limits,
    intensities,
    overexposed_note,
    percentile_limits,
    robust_limits,
    sampled_rows,
)
from dinocell_io.intensity.picture_area import PictureArea, picture_area
from dinocell_io.intensity.wide_integers import from_origin
from dinocell_io.plural import counted

NETWORK_MEAN = 0.5
NETWORK_STD = 0.25
NETWORK_LOW = -4.0
NETWORK_HIGH = 6.0

FRAME_BEYOND = 0.25  # of v, outside 0..1, from where a frame would look like an object or a hole

_BLOCK_PIXELS = 1 << 22

IntensityBasis = Literal["percentile", "adapted", "min-max", "constant"]


@dataclass(frozen=True, eq=False)
class FittedPlane:
    """An image and the two intensities that become v = 0 and v = 1; they are equal in a constant image.

    `pixels` are the image's own, but for a frame far outside the picture's range, which becomes the picture's median,
    since its edge would look like a cell's. `basis` says where the intensities came from: "percentile"; "adapted" where
    a percentile was moved; "min-max" where both coincide in an image that is not constant; "constant". `frame_share` is
    the share of pixels that is no picture. `notes` say in words what a user should know about the contrast. Integers
    beyond 2**53, which floats do not hold exactly, are counted from `origin`, in `pixels`, `low` and `high`.
    """

    pixels: Num[np.ndarray, "y x"]
    low: float
    high: float
    basis: IntensityBasis
    frame_share: float = 0.0
    notes: tuple[str, ...] = ()
    origin: int = 0


def fit_intensities(
    plane: Shaped[np.ndarray, "y x"], *, low_percentile: float = 1.0, high_percentile: float = 99.8, robust: bool = True
) -> FittedPlane:
    """Fit the two intensities of one image; `robust` as in `robust_limits`, and without a frame.

    Raises ValueError for an image without pixels, a masked array, NaN or infinite pixels, and a range that overflows.
    """
    refuse_masked(plane)
    if plane.size == 0:
        raise ValueError(f"the image has shape {plane.shape} and no pixels; check the file or the crop")
    refuse_non_finite(plane)
    if plane.dtype == np.bool_:
        plane = plane.view(np.uint8)
    counted_from_origin, origin = from_origin(plane)
    fitted = _fit(counted_from_origin, low_percentile=low_percentile, high_percentile=high_percentile, robust=robust)
    if origin == 0:
        return fitted
    notes = (*fitted.notes, f"intensities are counted from {origin}") if fitted.notes else ()
    return replace(fitted, origin=origin, notes=notes)


def _fit(plane: Num[np.ndarray, "y x"], *, low_percentile: float, high_percentile: float, robust: bool) -> FittedPlane:
    low, high = float(plane.min()), float(plane.max())
    if low == high:
        return FittedPlane(plane, low, high, "constant")
    if not math.isfinite(high - low):
        raise ValueError(f"intensities from {low:g} to {high:g} overflow a float64; rescale the image first")
    area = picture_area(plane) if robust else None
    values = intensities(plane if area is None else area.pixels(plane))
    largest_possible = float(np.iinfo(plane.dtype).max) if plane.dtype.kind in "iu" else math.inf
    overexposed = overexposed_note(values, largest_possible=largest_possible)
    limits = percentile_limits(values, low_percentile=low_percentile, high_percentile=high_percentile)
    if robust:
        rows = sampled_rows(plane if area is None else plane[area.rows, area.columns])
        limits = robust_limits(values, rows, low_percentile=low_percentile, high_percentile=high_percentile)
    if overexposed:
        limits = replace(limits, notes=(*limits.notes, overexposed))
    if limits.high <= limits.low:
        return FittedPlane(plane, low, high, "min-max", notes=(overexposed,) if overexposed else ())
    basis: IntensityBasis = "percentile" if limits.are_percentiles else "adapted"
    if area is None:
        return FittedPlane(plane, limits.low, limits.high, basis, notes=limits.notes)
    return _without_frame(plane, area, limits, basis, values.median)


def unit_values(plane: Num[np.ndarray, "*shape"], low: float, high: float) -> Float32[np.ndarray, "*shape"]:
    """v of pixels, as far as the network's range goes; computed in float64 and rounded once, so that a small signal on
    a large offset keeps its digits. All 0 where `low` and `high` are equal.
    """
    values = np.zeros(plane.shape, np.float32)
    if high == low:
        return values
    # v beyond these bounds is clipped by the network's range anyway
    v_low, v_high = (bound * NETWORK_STD + NETWORK_MEAN for bound in (NETWORK_LOW, NETWORK_HIGH))
    for rows in row_blocks(plane):
        block = (plane[rows].astype(np.float64) - low) / (high - low)
        values[rows] = np.clip(block, v_low, v_high)
    return values


def refuse_non_finite(plane: Shaped[np.ndarray, "y x"]) -> None:
    """Raise ValueError, with their number, for pixels that are NaN or infinite, and for pixels that are no numbers."""
    if np.issubdtype(plane.dtype, np.integer) or plane.dtype == np.bool_:
        return
    if not np.issubdtype(plane.dtype, np.floating):
        raise ValueError(f"the image has dtype {plane.dtype}; expected integers or real floats")
    num_nan = num_infinite = 0
    for rows in row_blocks(plane):
        num_nan += int(np.isnan(plane[rows]).sum())
        num_infinite += int(np.isinf(plane[rows]).sum())
    if num_nan or num_infinite:
        raise ValueError(
            f"the image holds {num_nan} NaN and {num_infinite} infinite of {counted(plane.size, 'pixel')}; "
            "fill them (for example with the background's value) before segmenting"
        )


def refuse_masked(pixels: Shaped[np.ndarray, "..."]) -> None:
    """Raise ValueError for a masked array: what lies under its mask would count in one place and not in another."""
    if isinstance(pixels, np.ma.MaskedArray):
        raise ValueError(
            f"got a masked array, of which {counted(int(np.ma.count_masked(pixels)), 'pixel')} of {pixels.size} "
            f"{'is' if np.ma.count_masked(pixels) == 1 else 'are'} masked; expected a plain array: give "
            "image.filled(value), with the background's value, or image.data for the pixels under the mask too"
        )


def row_blocks(plane: Shaped[np.ndarray, "..."]) -> Iterator[slice]:
    """A few rows at a time, so that what is computed of them stays small."""
    step = max(1, _BLOCK_PIXELS // max(1, plane[:1].size))
    for start in range(0, len(plane), step):
        yield slice(start, start + step)


def _without_frame(
    plane: Num[np.ndarray, "y x"], area: PictureArea, limits: Limits, basis: IntensityBasis, middle: float
) -> FittedPlane:
    frame = area.frame(plane.shape)
    frame_share, notes = float(frame.mean()), limits.notes
    filled = _with_frame_filled(plane, frame, limits, middle)
    if filled is not plane:
        notes = (f"{frame_share:.0%} of the image is a frame of one intensity, which is left out", *notes)
    return FittedPlane(filled, limits.low, limits.high, basis, frame_share, notes)


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
