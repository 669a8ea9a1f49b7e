"""An image of any size through a network that sees one tile at a time.

Tiles start every `tile - overlap` pixels; the last one of each axis is moved back to end with the image,
and an image smaller than a tile is mirrored up to one. Where tiles overlap, their outputs are averaged with
cosine weights, row of tiles by row of tiles, so that memory holds the whole distance map but only a few
rows of tiles.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped
from torch import Tensor

from dinocell_kernels.torch_ops import blend_tiles, gather_tiles
from dinocell_seg.devices import as_tensor, kernel_device
from dinocell_seg.normalize import AffineNormalization

TRAINED_TILE = 256  # for model files that do not state theirs
ATTENTION_TILE = 672  # side at which attention costs as much as all else
ACCEPTED_COST = 1.2

Network = Callable[[Tensor], Tensor]  # tiles [b c y x], normalised -> distance maps [b 1 y x]


def fitted_tile(shape: tuple[int, int], *, overlap: int, trained: int = TRAINED_TILE, multiple: int = 16) -> int:
    """Side of the tiles for an image of this shape: that of the fewest tiles that cost little more than the cheapest.

    Looks at every multiple of `multiple` from `trained`, the side of the training crops, to 2.25 times it, as far as
    the image holds it. A tile's cost is its pixels times 1 + (side / 672)^2, as attention grows with the square of the
    tokens (measured for the tiny backbone at patch 16); a fifth more than the cheapest is accepted for fewer seams.
    """
    largest = max(trained, min(trained * 9 // 4, -(-min(shape) // multiple) * multiple))
    count = {tile: num_tiles(shape, tile=tile, overlap=overlap) for tile in range(trained, largest + 1, multiple)}
    cost = {tile: count[tile] * tile**2 * (1 + (tile / ATTENTION_TILE) ** 2) for tile in count}
    accepted = [tile for tile in count if cost[tile] <= ACCEPTED_COST * min(cost.values())]
    return min(accepted, key=lambda tile: (count[tile], tile))


def tile_starts(length: int, *, tile: int, overlap: int) -> Int64[np.ndarray, " n"]:
    """Where tiles start along an axis of `length` pixels; the last one ends with the axis."""
    if length < 1:
        raise ValueError(f"an axis of {length} pixels has no tiles; check the image's shape")
    if not 0 <= overlap <= tile // 2:
        raise ValueError(f"overlap {overlap} is outside 0..{tile // 2}, half of tile {tile}")
    if length <= tile:
        return np.zeros(1, np.int64)
    starts = np.arange(0, length - tile, tile - overlap, dtype=np.int64)
    return np.append(starts, length - tile)


def num_tiles(shape: tuple[int, int], *, tile: int, overlap: int) -> int:
    """Number of tiles an image of this shape is cut into."""
    return int(np.prod([len(tile_starts(length, tile=tile, overlap=overlap)) for length in shape]))


def predict_tiled(
    pixels: Shaped[np.ndarray, "y x"],
    network: Network,
    *,
    affine: AffineNormalization,
    tile: int = TRAINED_TILE,
    overlap: int = 64,
    in_channels: int = 1,
    batch_size: int = 4,
    device: str | torch.device = "cpu",
) -> Float32[np.ndarray, "y x"]:
    """The network's output for a complete image.

    `pixels` are uint8, uint16 or float32 as `prepare` returns them, and `affine` the map that belongs to
    them. A grey image is repeated for a network of several input channels. When a GPU runs out of memory
    the batch is halved, down to one tile. Raises ValueError if overlap is more than half of tile.
    """
    result: Float32[np.ndarray, "y x"] = (
        predict_tiled_on_device(
            pixels,
            network,
            affine=affine,
            tile=tile,
            overlap=overlap,
            in_channels=in_channels,
            batch_size=batch_size,
            device=device,
        )
        .cpu()
        .numpy()
    )
    return result


def predict_tiled_on_device(
    pixels: Shaped[np.ndarray, "y x"],
    network: Network,
    *,
    affine: AffineNormalization,
    tile: int = TRAINED_TILE,
    overlap: int = 64,
    in_channels: int = 1,
    batch_size: int = 4,
    device: str | torch.device = "cpu",
) -> Float32[Tensor, "y x"]:
    """As `predict_tiled`, but the output stays where it was blended.

    On a GPU with kernels and room (`kernel_device`) the image is copied there once, and cut and blended there.
    """
    height, width = pixels.shape
    ys = tile_starts(height, tile=tile, overlap=overlap)
    xs = tile_starts(width, tile=tile, overlap=overlap)
    beside = kernel_device(device, num_pixels=pixels.size)
    image = as_tensor(np.ascontiguousarray(pixels), beside)[None]
    scale, offset = torch.tensor([[affine.scale], [affine.offset]], dtype=torch.float32, device=beside)
    rows_at_once = max(1, batch_size // len(xs))
    distance_map = torch.empty((height, width), device=beside)
    held = torch.empty((0, len(xs), tile, tile), device=beside)  # rows whose lower part is still to be blended
    held_from = done = 0
    for first in range(0, len(ys), rows_at_once):
        last = min(first + rows_at_once, len(ys))
        gathered = gather_tiles(
            image,
            ys[first:last].tolist(),
            xs.tolist(),
            tile=tile,
            scale=scale,
            offset=offset,
            low=affine.low,
            high=affine.high,
        )
        predicted, batch_size = _run(network, gathered, in_channels, batch_size, device)
        held = torch.cat([held, predicted])
        complete = int(ys[last]) if last < len(ys) else height
        distance_map[done:complete] = blend_tiles(
            held, ys[held_from:last].tolist(), xs.tolist(), overlap=overlap, rows=(done, complete), width=width
        )
        done = complete
        finished = int(np.searchsorted(ys[held_from:last] + tile, done, side="right"))
        held, held_from = held[finished:], held_from + finished
    return distance_map


def _run(
    network: Network,
    gathered: Float32[Tensor, "ny nx 1 t t"],
    in_channels: int,
    batch_size: int,
    device: str | torch.device,
) -> tuple[Float32[Tensor, "ny nx t t"], int]:
    """The network over all tiles of some rows, and the batch size that fitted."""
    num_rows, num_columns, _, tile, _ = gathered.shape
    tiles = gathered.reshape(-1, 1, tile, tile)
    predicted = torch.empty((len(tiles), tile, tile), device=gathered.device)
    start = 0
    while start < len(tiles):
        batch = tiles[start : start + batch_size]
        try:
            with torch.inference_mode():
                output = network(batch.to(device).expand(-1, in_channels, -1, -1)).float()
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise
            batch_size = max(1, batch_size // 2)
            continue
        if output.shape != (len(batch), 1, tile, tile):
            raise ValueError(
                f"the network returned shape {tuple(output.shape)} for {len(batch)} tiles of {tile} x "
                f"{tile}; expected ({len(batch)}, 1, {tile}, {tile})"
            )
        predicted[start : start + len(batch)] = output[:, 0]
        start += len(batch)
    return predicted.reshape(num_rows, num_columns, tile, tile), batch_size
