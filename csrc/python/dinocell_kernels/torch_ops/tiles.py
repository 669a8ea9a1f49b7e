"""Tiles as PyTorch operators."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer, Num
from torch import Tensor

from dinocell_kernels import tiles as _tiles
from dinocell_kernels import torch_cuda
from dinocell_kernels.torch_cuda.device import TILES
from dinocell_kernels.torch_ops.batches import as_array, of_each

# First rows or columns of tiles.
Starts = Sequence[int] | Integer[np.ndarray, "_"] | Integer[Tensor, "_"]

# The compiler calls a fake with symbols for sizes that may vary.
Size = int | torch.SymInt


def gather_tiles(
    image: Num[Tensor, "*batch c y x"],
    ys: Starts,
    xs: Starts,
    *,
    tile: int,
    scale: Float32[Tensor, "*#batch c"],
    offset: Float32[Tensor, "*#batch c"],
    low: float,
    high: float,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*batch ny nx c tile tile"]:
    """As `dinocell_kernels.gather_tiles`; `dtype` is torch.float32 or torch.bfloat16.

    `scale` and `offset` hold values for all images together or for each image. On a GPU, starts have to ascend, and the
    call waits for the device unless `scale` and `offset` are on it.
    """
    torch_cuda.require_kernels(image)
    return torch.ops.dinocell.gather_tiles(image, _integers(ys), _integers(xs), tile, scale, offset, low, high, dtype)


def blend_tiles(
    tiles: Float[Tensor, "*batch ny nx tile tile"],
    ys: Starts,
    xs: Starts,
    *,
    overlap: int,
    rows: tuple[int, int],
    width: int,
) -> Float32[Tensor, "*batch rows width"]:
    """As `dinocell_kernels.blend_tiles`; differentiable with respect to the tiles, which are float32 or bfloat16.

    On a GPU, starts have to ascend.
    """
    torch_cuda.require_kernels(tiles)
    return torch.ops.dinocell.blend_tiles(tiles, _integers(ys), _integers(xs), overlap, rows[0], rows[1], width)


def _integers(starts: Starts) -> list[int]:
    return [int(start) for start in starts]


def _starts(starts: list[int]) -> np.ndarray:
    return np.asarray(starts, dtype=np.int64)


@torch.library.custom_op("dinocell::gather_tiles", mutates_args=(), device_types="cpu")
def _gather_tiles_op(
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
    if dtype not in TILES:
        raise ValueError(f"tiles cannot be {dtype}; choose torch.float32 or torch.bfloat16")
    images = image.detach().numpy()
    batch = images.shape[:-3]
    by_image = [np.broadcast_to(values.detach().numpy(), (*batch, values.shape[-1])) for values in (scale, offset)]
    shape = (*batch, len(ys), len(xs), *images.shape[-3:-2], tile, tile)
    out = np.empty(shape, np.float32 if dtype == torch.float32 else np.uint16) if batch else None
    for at in np.ndindex(batch):
        tiles = _tiles.gather_tiles(
            images[at],
            _starts(ys),
            _starts(xs),
            tile=tile,
            scale=by_image[0][at],
            offset=by_image[1][at],
            low=low,
            high=high,
            dtype="float32" if dtype == torch.float32 else "bfloat16",
            out=None if out is None else out[at],
        )
    return torch.from_numpy(tiles if out is None else out).view(dtype)


@_gather_tiles_op.register_fake
def _(
    image: Tensor,
    ys: list[Size],
    xs: list[Size],
    tile: Size,
    scale: Tensor,
    offset: Tensor,
    low: float,
    high: float,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    return image.new_empty((*image.shape[:-3], len(ys), len(xs), image.shape[-3], tile, tile), dtype=dtype)


@torch.library.custom_op("dinocell::blend_tiles", mutates_args=(), device_types="cpu")
def _blend_tiles_op(
    tiles: Tensor, ys: list[int], xs: list[int], overlap: int, row_begin: int, row_end: int, width: int
) -> Tensor:
    def blended(image: np.ndarray) -> np.ndarray:
        rows = (row_begin, row_end)
        return _tiles.blend_tiles(image, _starts(ys), _starts(xs), overlap=overlap, rows=rows, width=width)

    return of_each(blended, as_array(tiles), axes=4)


@_blend_tiles_op.register_fake
def _(
    tiles: Tensor, ys: list[Size], xs: list[Size], overlap: Size, row_begin: Size, row_end: Size, width: Size
) -> Tensor:
    return tiles.new_empty((*tiles.shape[:-4], row_end - row_begin, width), dtype=torch.float32)


@torch.library.custom_op("dinocell::spread_tiles", mutates_args=(), device_types="cpu")
def _spread_tiles_op(
    image: Tensor,
    ys: list[int],
    xs: list[int],
    tile: int,
    overlap: int,
    row_begin: int,
    row_end: int,
    width: int,
) -> Tensor:
    """The transpose of blend_tiles: a tile's pixel gets its weight times the image's pixel, 0 outside."""
    rows = _tiles.blend_weights(_starts(ys), tile=tile, overlap=overlap, begin=row_begin, end=row_end, axis="row")
    columns = _tiles.blend_weights(_starts(xs), tile=tile, overlap=overlap, begin=0, end=width, axis="column")
    pixels = image.detach().numpy()
    spread = np.zeros((*pixels.shape[:-2], len(ys), len(xs), tile, tile), np.float32)
    for i, y in enumerate(ys):
        top, bottom = max(y, row_begin), min(y + tile, row_end)
        for j, x in enumerate(xs):
            left, right = max(x, 0), min(x + tile, width)
            if top >= bottom or left >= right:
                continue
            inside = (slice(top - y, bottom - y), slice(left - x, right - x))
            weight = columns[j, inside[1]] * rows[i, inside[0], None]
            part = pixels[..., top - row_begin : bottom - row_begin, left:right]
            spread[..., i, j, inside[0], inside[1]] = weight * part
    return torch.from_numpy(spread)


@_spread_tiles_op.register_fake
def _(
    image: Tensor,
    ys: list[Size],
    xs: list[Size],
    tile: Size,
    overlap: Size,
    row_begin: Size,
    row_end: Size,
    width: Size,
) -> Tensor:
    return image.new_empty((*image.shape[:-2], len(ys), len(xs), tile, tile))


def _blend_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
    tiles, ys, xs, overlap, row_begin, row_end, width = inputs
    ctx.arguments = (ys, xs, tiles.shape[-1], overlap, row_begin, row_end, width)  # type: ignore[attr-defined]
    ctx.dtype = tiles.dtype  # type: ignore[attr-defined]


def _blend_backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple:
    spread = torch.ops.dinocell.spread_tiles(gradient, *ctx.arguments)  # type: ignore[attr-defined]
    return spread.to(ctx.dtype), None, None, None, None, None, None  # type: ignore[attr-defined]


_blend_tiles_op.register_autograd(_blend_backward, setup_context=_blend_context)

_gather_tiles_op.register_kernel("cuda")(torch_cuda.gather_tiles)
_blend_tiles_op.register_kernel("cuda")(torch_cuda.blend_tiles)
_spread_tiles_op.register_kernel("cuda")(torch_cuda.spread_tiles)
