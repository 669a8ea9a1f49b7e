"""Tiles on a GPU."""

import contextlib

import numpy as np
import torch
from torch import Tensor

from dinocell_kernels import tiles as _tiles
from dinocell_kernels.torch_cuda.device import PIXELS, TILES, image_sizes, kernel_of, new, of_type, queue


def gather_tiles(
    image: Tensor,
    ys: list[int],
    xs: list[int],
    tile: int,
    scale: Tensor,
    offset: Tensor,
    low: float,
    high: float,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Waits for the device if scale and offset are not on it."""
    image = of_type(image, PIXELS, "image")
    if image.ndim < 3 or 0 in image.shape[-2:]:
        raise ValueError(f"image must be [c y x] with at least one pixel, got shape {tuple(image.shape)}")
    if not low <= high or tile < 1:
        raise ValueError(f"got low {low}, high {high} and tile {tile}; low must not exceed high, tile is at least 1")
    if dtype not in TILES:
        raise ValueError(f"tiles cannot be {dtype}; choose torch.float32 or torch.bfloat16")
    images, height, width = image_sizes(image, "image", axes=3)
    channels = image.shape[-3]
    factor, shift = (_by_channel(values, image, name) for values, name in ((scale, "scale"), (offset, "offset")))
    out = new(image, (*image.shape[:-3], len(ys), len(xs), channels, tile, tile), dtype)
    queue(
        image,
        kernel_of("gather_tiles", image.dtype, dtype),
        *(image, images, channels, height, width, ys, xs, tile, factor, shift, low, high, out),
    )
    return out


def _by_channel(values: Tensor, image: Tensor, name: str) -> Tensor:
    """One value for each channel of each image, from values for each image or for several images together."""
    shape = image.shape[:-2]
    if values.shape[-1:] == shape[-1:]:
        with contextlib.suppress(RuntimeError):  # the error below says what is wrong
            return values.detach().to(image.device, torch.float32).expand(shape).contiguous()
    raise ValueError(
        f"{name} has shape {tuple(values.shape)}, but the images have {tuple(shape)} channels; give one value each"
    )


def blend_tiles(
    tiles: Tensor, ys: list[int], xs: list[int], overlap: int, row_begin: int, row_end: int, width: int
) -> Tensor:
    tiles = of_type(tiles, TILES, "tiles")
    if tiles.ndim < 4 or tiles.shape[-1] != tiles.shape[-2] or tiles.shape[-4:-2] != (len(ys), len(xs)):
        raise ValueError(
            f"tiles have shape {tuple(tiles.shape)}, expected [{len(ys)} {len(xs)} t t] for {len(ys)} ys and "
            f"{len(xs)} xs: one start for each row and column of square tiles"
        )
    images, tile, _ = image_sizes(tiles, "tiles", axes=4)
    _require_covered(ys, xs, tile, overlap, row_begin, row_end, width)
    out = new(tiles, (*tiles.shape[:-4], row_end - row_begin, width), torch.float32)
    queue(
        tiles,
        kernel_of("blend_tiles", tiles.dtype),
        *(tiles, images, ys, xs, tile, overlap, row_begin, row_end, width, out),
    )
    return out


def spread_tiles(
    image: Tensor, ys: list[int], xs: list[int], tile: int, overlap: int, row_begin: int, row_end: int, width: int
) -> Tensor:
    image = of_type(image, (torch.float32,), "image")
    images, *shape = image_sizes(image, "image")
    if shape != [row_end - row_begin, width]:
        raise ValueError(
            f"image has shape {tuple(image.shape)}, expected rows {row_begin} to {row_end} of {width} pixels"
        )
    _require_covered(ys, xs, tile, overlap, row_begin, row_end, width)
    out = new(image, (*image.shape[:-2], len(ys), len(xs), tile, tile), torch.float32)
    queue(image, kernel_of("spread_tiles"), image, images, ys, xs, tile, overlap, row_begin, row_end, width, out)
    return out


def _require_covered(
    ys: list[int], xs: list[int], tile: int, overlap: int, row_begin: int, row_end: int, width: int
) -> None:
    """Raises ValueError for rows or columns that no tile covers, and for impossible sizes of the image or the ramps."""
    if row_begin > row_end or width < 0:
        raise ValueError(f"rows {(row_begin, row_end)} and width {width} are not an image; rows are (first, last + 1)")
    for starts, begin, end, axis in ((ys, row_begin, row_end, "row"), (xs, 0, width, "column")):
        array = np.asarray(starts, np.int64)
        _tiles.blend_weights(array, tile=tile, overlap=overlap, begin=begin, end=end, axis=axis)
