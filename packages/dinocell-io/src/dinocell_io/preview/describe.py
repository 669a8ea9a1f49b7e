"""What is in an image file, in numbers a person checks before a run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Num, Shaped

from dinocell_io.formats.open_image import open_image
from dinocell_io.images.lazy_image import LazyImage, Level
from dinocell_io.stores.store import Store

NUM_BINS = 24
_MEASURED_PX = 1 << 26
_BAND_PX = 1 << 24


@dataclass(frozen=True)
class ChannelInfo:
    """One channel's range; percentiles 1 and 99.8 are the default normalisation's.

    All over finite pixels, None if there are none; `num_not_finite` counts NaN and infinities. `histogram` holds
    the counts of 24 equal bins from percentile 1 to 99.8; what lies outside counts in the first and the last.
    """

    name: str
    minimum: float | None
    percentile_1: float | None
    median: float | None
    percentile_99_8: float | None
    maximum: float | None
    num_not_finite: int
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class ImageInfo:
    """What the file says, and the intensities of one of its planes.

    `axes`, `shape`, `levels`, `scenes` and `notes` are those of LazyImage. `z` and `t` are the plane that was
    measured, None where the image has no such axis (unnamed pages count as z), `measured_level` the resolution.
    """

    uri: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    is_rgb: bool
    pixel_size_um: float | None
    levels: tuple[Level, ...]
    scene: str | None
    scenes: tuple[str, ...]
    channels: tuple[ChannelInfo, ...]
    z: int | None
    t: int | None
    measured_level: int
    notes: tuple[str, ...] = ()


def describe_image(
    uri: str | Path,
    *,
    scene: str | int | None = None,
    z: int | None = None,
    t: int | None = None,
    store: Store | None = None,
) -> ImageInfo:
    """Describe an image and measure one plane of it; errors are those of `open_image`.

    Without a choice the middle z and the first t are measured. An image of more than 67 megapixels is measured on
    its largest level below that, where it has one; otherwise whole.
    """
    image = open_image(uri, scene=scene, store=store)
    plane_z, plane_t = shown_plane(image, z, t)
    level = level_below(image, _MEASURED_PX)
    channels = tuple(
        _channel(name, _bands(image, index, plane_z, plane_t, level)) for index, name in enumerate(image.channels)
    )
    return ImageInfo(
        uri=image.uri,
        axes=image.axes,
        shape=image.shape,
        dtype=image.dtype.name,
        is_rgb=image.is_rgb,
        pixel_size_um=image.pixel_size_um,
        levels=image.levels,
        scene=image.scene,
        scenes=image.scenes,
        channels=channels,
        z=plane_z,
        t=plane_t,
        measured_level=level,
        notes=image.notes,
    )


def shown_plane(image: LazyImage, z: int | None, t: int | None) -> tuple[int | None, int | None]:
    """The plane that stands for a stack: the middle z (or unnamed page) and the first t, unless chosen."""
    if "i" in image.axes:
        return (image.size_of("i") // 2 if z is None and t is None else z, t)
    if "z" in image.axes and z is None:
        z = image.size_of("z") // 2
    return z, 0 if "t" in image.axes and t is None else t


def level_below(image: LazyImage, num_px: int) -> int:
    """The finest level of at most `num_px` pixels, or the coarsest."""
    fitting = [number for number, level in enumerate(image.levels) if level.height * level.width <= num_px]
    return fitting[0] if fitting else len(image.levels) - 1


def _bands(
    image: LazyImage, channel: int, z: int | None, t: int | None, level: int
) -> Iterator[Shaped[np.ndarray, "y x"]]:
    size = image.levels[level]
    step = max(1, _BAND_PX // size.width)
    if size.height * size.width <= _MEASURED_PX:
        step = size.height  # one read: formats that decode whole decode once
    for top in range(0, size.height, step):
        rows = slice(top, min(top + step, size.height))
        yield image.read((rows, slice(0, size.width)), channels=[channel], z=z, t=t, level=level)[0]


def _channel(name: str, bands: Iterator[Shaped[np.ndarray, "y x"]]) -> ChannelInfo:
    values, counts, num_not_finite = _distinct(bands)
    if values.size == 0:
        return ChannelInfo(name, None, None, None, None, None, num_not_finite, (0,) * NUM_BINS)
    up_to = np.cumsum(counts)
    low, middle, high = (_percentile(values, up_to, share) for share in (1.0, 50.0, 99.8))
    histogram = _histogram(values.astype(np.float64), counts, low, high)
    return ChannelInfo(
        name,
        float(values[0]),
        low,
        middle,
        high,
        float(values[-1]),
        num_not_finite,
        histogram,
    )


def _histogram(
    values: Float64[np.ndarray, " value"], counts: Num[np.ndarray, " value"], low: float, high: float
) -> tuple[int, ...]:
    """Counts of equal bins from `low` to `high`, all in the first if they are equal.

    The position in units of bins is counted: next to numbers as large as 1e17 the edges of bins would be one number.
    """
    scale = 1 / 64  # an exact one, by which no difference or product of finite numbers overflows
    width = high * scale - low * scale or 1.0
    position = (np.clip(values, low, high) * scale - low * scale) * NUM_BINS / width
    histogram, _ = np.histogram(np.minimum(position, NUM_BINS), NUM_BINS, range=(0, NUM_BINS), weights=counts)
    return tuple(int(count) for count in histogram)


def _distinct(
    bands: Iterator[Shaped[np.ndarray, "y x"]],
) -> tuple[Num[np.ndarray, " value"], Num[np.ndarray, " value"], int]:
    """The finite values in ascending order, how often each occurs, and how many pixels are not finite."""
    table: Num[np.ndarray, " value"] | None = None
    first = 0
    others: list[Shaped[np.ndarray, " pixel"]] = []
    for band in bands:
        if band.dtype.kind in "ui" and band.dtype.itemsize <= 2:
            # 8 and 16 bits: a table of all values, whatever the size of the image
            first = int(np.iinfo(band.dtype).min)
            counted = np.bincount(band.ravel().astype(np.int32) - first, minlength=1 << (8 * band.dtype.itemsize))
            table = counted if table is None else table + counted
        else:
            others.append(band.ravel())
    if table is not None:
        present = np.flatnonzero(table)
        return present + first, table[present], 0
    pixels = np.concatenate(others)
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    values, counts = np.unique(finite, return_counts=True)
    return values, counts, pixels.size - finite.size


def _percentile(values: Num[np.ndarray, " value"], up_to: Num[np.ndarray, " value"], share: float) -> float:
    """As numpy.percentile over the pixels: linear between the two nearest ranks."""
    rank = (int(up_to[-1]) - 1) * share / 100
    below = float(values[np.searchsorted(up_to, int(rank), side="right")])
    above = float(values[np.searchsorted(up_to, min(int(rank) + 1, int(up_to[-1]) - 1), side="right")])
    return below + (above - below) * (rank - int(rank))
