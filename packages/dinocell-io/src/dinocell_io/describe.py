"""What is in an image file, in numbers a person checks before a run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from .image import read_image


@dataclass(frozen=True)
class ChannelInfo:
    """One channel's range; percentiles 1 and 99.8 are the default normalisation's.

    All over finite pixels, None if there are none; `num_not_finite` counts NaN and infinities.
    """

    name: str
    minimum: float | None
    percentile_1: float | None
    median: float | None
    percentile_99_8: float | None
    maximum: float | None
    num_not_finite: int


@dataclass(frozen=True)
class ImageInfo:
    """Shape [channel y x], dtype, pixel size and the channels of an image."""

    uri: str
    shape: tuple[int, int, int]
    dtype: str
    is_rgb: bool
    pixel_size_um: float | None
    channels: tuple[ChannelInfo, ...]


def describe_image(uri: str | Path) -> ImageInfo:
    """Read the whole image and describe it; errors are those of `read_image`."""
    image = read_image(uri)
    count, height, width = image.pixels.shape
    channels = tuple(_channel(n, plane) for n, plane in zip(image.channels, image.pixels, strict=True))
    return ImageInfo(
        image.uri,
        (count, height, width),
        image.pixels.dtype.name,
        image.is_rgb,
        image.pixel_size_um,
        channels,
    )


def _channel(name: str, plane: Shaped[np.ndarray, "y x"]) -> ChannelInfo:
    finite = plane[np.isfinite(plane)] if plane.dtype.kind == "f" else plane
    if finite.size == 0:
        return ChannelInfo(name, None, None, None, None, None, plane.size)
    low, middle, high = np.percentile(finite, (1, 50, 99.8)).tolist()
    return ChannelInfo(name, float(finite.min()), low, middle, high, float(finite.max()), plane.size - finite.size)
