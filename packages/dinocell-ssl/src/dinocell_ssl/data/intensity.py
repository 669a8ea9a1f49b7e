"""Intensities of a field: v = (pixel - p_low) / (p_high - p_low) per channel, percentiles of the complete field.

The network sees (v - 0.5) / 0.25, clipped to [-4, 6]: the input that `dinocell train` and `dinocell segment` give
to the same backbone later. This is the default rule of `dinocell_seg.normalize`, which a sibling package cannot import.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Num

LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.8
NETWORK_MEAN, NETWORK_STD = 0.5, 0.25
NETWORK_LOW, NETWORK_HIGH = -4.0, 6.0
NORMALIZATION = {"method": "percentile", "low_percentile": LOW_PERCENTILE, "high_percentile": HIGH_PERCENTILE}
EMPTY_CHANNEL = (0 - NETWORK_MEAN) / NETWORK_STD  # what the network sees of v = 0: a dropped or constant channel

_MAX_HISTOGRAM_BINS = 1 << 16


@dataclass(frozen=True, eq=False)
class ScaledField:
    """Pixels as the file holds them, and per channel the two intensities that become v = 0 and v = 1."""

    pixels: Num[np.ndarray, "channel y x"]
    low: Float32[np.ndarray, " channel"]
    high: Float32[np.ndarray, " channel"]

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes

    def values(self, channel: int, y: slice, x: slice) -> Float32[np.ndarray, "height width"]:
        """v of one channel of a region; the region alone becomes float. A constant channel is 0."""
        low, high = self.low[channel], self.high[channel]
        region = self.pixels[channel, y, x].astype(np.float32)
        region -= low
        if high > low:
            region /= high - low
        return region


def scaled_field(pixels: Num[np.ndarray, "channel y x"], *, drop_constant: bool) -> ScaledField:
    """A field with its percentiles: 1 and 99.8, or minimum and maximum where these coincide.

    With `drop_constant` channels of one single value (a stain that is missing, a shutter that stayed closed) are
    left out.
    Raises ValueError if a pixel is NaN or infinite, or if every channel is constant.
    """
    if not np.issubdtype(pixels.dtype, np.integer) and not np.isfinite(pixels).all():
        raise ValueError(f"{int((~np.isfinite(pixels)).sum())} of {pixels.size} pixels are NaN or infinite")
    limits = np.array([_limits(channel) for channel in pixels], np.float32)
    varies = limits[:, 1] > limits[:, 0]
    if not varies.any():
        raise ValueError("the field is blank: all pixels of every channel are equal")
    if drop_constant and not varies.all():
        pixels, limits = pixels[varies], limits[varies]
    return ScaledField(pixels, limits[:, 0], limits[:, 1])


def network_input(v: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """(v - 0.5) / 0.25, clipped to [-4, 6]; changes `v` in place."""
    v -= np.float32(NETWORK_MEAN)
    v /= np.float32(NETWORK_STD)
    return np.clip(v, np.float32(NETWORK_LOW), np.float32(NETWORK_HIGH), out=v)


def _limits(plane: Num[np.ndarray, "y x"]) -> tuple[float, float]:
    smallest, largest = float(plane.min()), float(plane.max())
    if smallest == largest:
        return smallest, largest
    low, high = _percentiles(plane, smallest, largest)
    return (low, high) if high > low else (smallest, largest)


def _percentiles(plane: Num[np.ndarray, "y x"], smallest: float, largest: float) -> tuple[float, float]:
    if np.issubdtype(plane.dtype, np.integer) and largest - smallest < _MAX_HISTOGRAM_BINS:
        ends = np.cumsum(np.bincount((plane.astype(np.int64) - int(smallest)).ravel()))
        return smallest + _ranked(ends, LOW_PERCENTILE), smallest + _ranked(ends, HIGH_PERCENTILE)
    low, high = np.percentile(plane, (LOW_PERCENTILE, HIGH_PERCENTILE))
    return float(low), float(high)


def _ranked(ends: np.ndarray, percent: float) -> float:
    """Percentile with linear interpolation, as np.percentile, of values whose cumulated counts are `ends`."""
    last = int(ends[-1]) - 1
    rank = percent / 100 * last
    below = int(rank)
    value, following = np.searchsorted(ends, [below, min(below + 1, last)], side="right")
    return float(value) + float(following - value) * (rank - below)
