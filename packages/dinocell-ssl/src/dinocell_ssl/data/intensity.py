"""Intensities of a field: v = (pixel - low) / (high - low) per channel, with two intensities of the complete field.

The rule is that of `dinocell_io.fit_intensities` with its default values: what `dinocell train` and `dinocell segment`
give to the same backbone later. The network sees (v - 0.5) / 0.25, clipped to [-4, 6].
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Num

from dinocell_io import NETWORK_HIGH, NETWORK_LOW, NETWORK_MEAN, NETWORK_STD, fit_intensities

LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.8
NORMALIZATION = {
    "method": "percentile",
    "low_percentile": LOW_PERCENTILE,
    "high_percentile": HIGH_PERCENTILE,
    "robust": True,
}
EMPTY_CHANNEL = (0 - NETWORK_MEAN) / NETWORK_STD  # what the network sees of v = 0: a dropped or constant channel


@dataclass(frozen=True, eq=False)
class ScaledField:
    """Pixels as the file holds them, and per channel the two intensities that become v = 0 and v = 1.

    A frame far outside a channel's range is filled with the channel's median.
    """

    pixels: Num[np.ndarray, "channel y x"]
    low: Float[np.ndarray, " channel"]
    high: Float[np.ndarray, " channel"]

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes

    def values(self, channel: int, y: slice, x: slice) -> Float32[np.ndarray, "height width"]:
        """v of one channel of a region; the region alone becomes float. A constant channel is 0."""
        low, high = self.low[channel], self.high[channel]
        region = self.pixels[channel, y, x]
        scale = high - low if high > low else 1.0
        if region.dtype in (np.uint8, np.uint16):
            return (region.astype(np.float32) - np.float32(low)) / np.float32(scale)
        # float32 would lose the digits of a small signal on a large offset
        return ((region.astype(np.float64) - low) / scale).astype(np.float32)


def scaled_field(pixels: Num[np.ndarray, "channel y x"], *, drop_constant: bool) -> ScaledField:
    """A field with the two intensities of each channel.

    With `drop_constant` channels of one single value (a stain that is missing, a shutter that stayed closed) are
    left out.
    Raises ValueError if a pixel is NaN or infinite, or if every channel is constant.
    """
    if not np.issubdtype(pixels.dtype, np.integer) and not np.isfinite(pixels).all():
        raise ValueError(f"{int((~np.isfinite(pixels)).sum())} of {pixels.size} pixels are NaN or infinite")
    fitted = [
        fit_intensities(channel, low_percentile=LOW_PERCENTILE, high_percentile=HIGH_PERCENTILE) for channel in pixels
    ]
    kept = [one for one in fitted if one.high > one.low]
    if not kept:
        raise ValueError("the field is blank: all pixels of every channel are equal")
    if not drop_constant:
        kept = fitted
    if len(kept) < len(pixels) or any(one.frame_share > 0 or one.origin for one in kept):
        pixels = np.stack([one.pixels for one in kept])
    low, high = (np.array(ends, np.float64) for ends in zip(*((one.low, one.high) for one in kept), strict=True))
    return ScaledField(pixels, low, high)


def network_input(v: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """(v - 0.5) / 0.25, clipped to [-4, 6]; changes `v` in place."""
    v -= np.float32(NETWORK_MEAN)
    v /= np.float32(NETWORK_STD)
    return np.clip(v, np.float32(NETWORK_LOW), np.float32(NETWORK_HIGH), out=v)
