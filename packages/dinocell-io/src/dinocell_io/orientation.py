"""Orientation: how a camera says which way is up, in the EXIF of PNG and JPEG and in TIFF's tag of the same number."""

from dataclasses import replace

import numpy as np
from jaxtyping import Shaped

from .lazy_image import LazyImage, Level


def upright(pixels: Shaped[np.ndarray, "a b sample"], orientation: int) -> Shaped[np.ndarray, "y x sample"]:
    """A view of the pixels turned as the tag 0x0112 (274) says; 1 and unknown values leave them.

    The tag's value names where the stored row 0 and column 0 are in the upright picture
    (EXIF 2.32, section 4.6.4): 2, 4 mirrored, 3 turned by 180 degrees, 5 to 8 with y and x swapped.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def upright_image(image: LazyImage, orientation: int) -> LazyImage:
    """The image turned as `upright` turns its pixels; a region of it reads the region of the stored pixels it is."""
    if orientation not in range(2, 9):
        return image
    swapped, down, across = orientation in (5, 6, 7, 8), orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    levels = tuple(Level(level.width, level.height, level.downsample) if swapped else level for level in image.levels)

    def read_planes(
        channels: tuple[int, ...], z: int, t: int, level: int, rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "channel y x"]:
        if down:
            rows = slice(levels[level].height - rows.stop, levels[level].height - rows.start)
        if across:
            columns = slice(levels[level].width - columns.stop, levels[level].width - columns.start)
        if swapped:
            rows, columns = columns, rows
        stored = image.read_planes(channels, z, t, level, rows, columns)
        return np.ascontiguousarray(np.moveaxis(upright(np.moveaxis(stored, 0, 2), orientation), 2, 0))

    shape = (*image.shape[:-2], levels[0].height, levels[0].width)
    return replace(image, shape=shape, levels=levels, read_planes=read_planes)
