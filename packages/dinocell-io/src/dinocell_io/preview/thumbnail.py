"""A small picture of an image, to look at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from dinocell_io.formats.open_image import open_image
from dinocell_io.images.lazy_image import LazyImage
from dinocell_io.preview.describe import shown_plane
from dinocell_io.stores.store import Store
from dinocell_io.system.atomic import atomic_path

_BAND_PX = 1 << 24
_GAP_PX = 2
_COLUMNS = 4


def write_thumbnail(
    file: str | Path,
    uri: str | Path,
    *,
    side: int = 512,
    scene: str | int | None = None,
    z: int | None = None,
    t: int | None = None,
    store: Store | None = None,
) -> None:
    """Write a PNG whose longer side is at most `side` pixels: RGB as it is, else a grey picture of each channel.

    Channels are stretched from percentile 1 to 99.8 of what is shown, and lie side by side, four in a row, with white
    between them, in the order of the file. 8-bit RGB is not stretched. The plane of a stack is that of
    `describe_image`. Pixels are means of the smallest level that is large enough, or of the image.
    """
    if side < 1 or Path(file).suffix.lower() != ".png":
        raise ValueError(f"{file}, side {side}: expected a .png and at least 1 pixel")
    image = open_image(uri, scene=scene, store=store)
    shown_z, shown_t = shown_plane(image, z, t)
    level = _level_for(image, side)
    planes = [_reduced(image, channel, shown_z, shown_t, level, side) for channel in range(len(image.channels))]
    if image.is_rgb and image.dtype == np.uint8:
        picture = np.stack([np.rint(plane).astype(np.uint8) for plane in planes], axis=-1)
    elif image.is_rgb:
        picture = np.stack(_stretched(planes, together=True), axis=-1)
    else:
        picture = _side_by_side(_stretched(planes, together=False))
    import imagecodecs

    with atomic_path(file) as temporary:
        temporary.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(picture)))


def _level_for(image: LazyImage, side: int) -> int:
    large_enough = [n for n, level in enumerate(image.levels) if max(level.height, level.width) >= side]
    return large_enough[-1] if large_enough else 0


def _reduced(
    image: LazyImage, channel: int, z: int | None, t: int | None, level: int, side: int
) -> Float32[np.ndarray, "y x"]:
    """Means of blocks of equal pixels; NaN and infinities count as 0."""
    size = image.levels[level]
    factor = -(-max(size.height, size.width) // side)
    step = max(1, _BAND_PX // (size.width * factor)) * factor
    if size.height * size.width <= 4 * _BAND_PX:
        step = size.height
    parts = []
    for top in range(0, size.height, step):
        rows = slice(top, min(top + step, size.height))
        band = image.read((rows, slice(0, size.width)), channels=[channel], z=z, t=t, level=level)[0]
        parts.append(_block_means(band, factor))
    return np.concatenate(parts)


def _block_means(band: Shaped[np.ndarray, "y x"], factor: int) -> Float32[np.ndarray, "small_y small_x"]:
    finite = np.nan_to_num(band.astype(np.float32), posinf=0.0, neginf=0.0)
    rows = np.arange(0, finite.shape[0], factor)
    columns = np.arange(0, finite.shape[1], factor)
    sums = np.add.reduceat(np.add.reduceat(finite, rows, axis=0), columns, axis=1)
    heights = np.diff(np.append(rows, finite.shape[0])).astype(np.float32)
    widths = np.diff(np.append(columns, finite.shape[1])).astype(np.float32)
    return sums / np.outer(heights, widths)


def _stretched(planes: Sequence[Float32[np.ndarray, "y x"]], *, together: bool) -> list[UInt8[np.ndarray, "y x"]]:
    stretched = []
    for plane in planes:
        low, high = np.percentile(np.stack(planes) if together else plane, (1, 99.8))
        span = max(float(high - low), 1e-12)
        stretched.append(np.rint(np.clip((plane - low) / span, 0, 1) * 255).astype(np.uint8))
    return stretched


def _side_by_side(planes: Sequence[UInt8[np.ndarray, "y x"]]) -> UInt8[np.ndarray, "picture_y picture_x"]:
    height, width = planes[0].shape
    columns = min(len(planes), _COLUMNS)
    rows = -(-len(planes) // columns)
    shape = (rows * (height + _GAP_PX) - _GAP_PX, columns * (width + _GAP_PX) - _GAP_PX)
    picture = np.full(shape, 255, np.uint8)
    for number, plane in enumerate(planes):
        top, left = number // columns * (height + _GAP_PX), number % columns * (width + _GAP_PX)
        picture[top : top + height, left : left + width] = plane
    return picture
