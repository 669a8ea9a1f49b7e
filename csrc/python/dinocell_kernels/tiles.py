"""Overlapping tiles of an image, and one image from overlapping tiles."""

import numpy as np
from jaxtyping import Float32, Int64, Num, Shaped, UInt16

from dinocell_kernels import _native
from dinocell_kernels.arguments import native_order, result_array, thread_count

_RESULT_TYPES: dict[str, np.dtype] = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(np.uint16)}


def gather_tiles(
    image: Num[np.ndarray, "c y x"],
    ys: Int64[np.ndarray, "ny"],
    xs: Int64[np.ndarray, "nx"],
    *,
    tile: int,
    scale: Float32[np.ndarray, "c"],
    offset: Float32[np.ndarray, "c"],
    low: float,
    high: float,
    dtype: str = "float32",
    out: Float32[np.ndarray, "ny nx c tile tile"] | UInt16[np.ndarray, "ny nx c tile tile"] | None = None,
    num_threads: int | None = None,
) -> Float32[np.ndarray, "ny nx c tile tile"] | UInt16[np.ndarray, "ny nx c tile tile"]:
    """Cut tiles and bring them to the network's range: `clip(pixel * scale + offset, low, high)`.

    Tile (i, j) starts at row `ys[i]`, column `xs[j]`, which may lie outside the image. There, pixels are
    mirrored about the border pixel (numpy's "reflect") as often as needed, and an axis of one pixel repeats
    it. `image` is uint8, uint16 or float32; arithmetic is float32, the same bits on every CPU. NaN stays NaN.

    `dtype` "bfloat16" rounds each value to the nearest bfloat16 (ties to even) and returns its 16 bits as uint16, as
    NumPy has no bfloat16: `torch.from_numpy(bits).view(torch.bfloat16)` uses them without a copy, and
    `(bits.astype(numpy.uint32) << 16).view(numpy.float32)` widens them.

    `out` receives the result if given; a large result is written fastest if `out` begins at a multiple of 64
    bytes, as new results do. `num_threads=None` uses one thread below half a megapixel of output, otherwise
    every core. Raises ValueError for other types, images without pixels, `low > high` and arrays that do not
    fit together.
    """
    if dtype not in _RESULT_TYPES:
        raise ValueError(f"dtype is {dtype!r}; tiles can be {' or '.join(_RESULT_TYPES)}")
    if image.ndim != 3 or 0 in image.shape[1:]:
        raise ValueError(
            f"image must be [c y x] with at least one pixel, got shape {image.shape}; add an axis with image[None]"
        )
    if image.dtype.kind + str(image.dtype.itemsize) not in ("u1", "u2", "f4"):
        raise ValueError(
            f"image must be uint8, uint16 or float32, got {image.dtype}; convert with image.astype(numpy.float32)"
        )
    if not low <= high:
        raise ValueError(f"low is {low} and high is {high}; low must not exceed high")
    if tile < 1:
        raise ValueError(f"tile is a number of pixels and must be at least 1, got {tile}")
    channels = image.shape[0]
    for name, values in (("scale", scale), ("offset", offset)):
        if values.shape != (channels,):
            raise ValueError(
                f"{name} has shape {values.shape}, but the image has {channels} channels; give one value each"
            )
    rows, columns = _starts(ys, name="ys"), _starts(xs, name="xs")
    result = result_array(out, (rows.size, columns.size, channels, tile, tile), image, dtype=_RESULT_TYPES[dtype])
    _native.gather_tiles(
        np.ascontiguousarray(native_order(image)),
        rows,
        columns,
        np.ascontiguousarray(scale, dtype=np.float32),
        np.ascontiguousarray(offset, dtype=np.float32),
        float(low),
        float(high),
        result,
        thread_count(num_threads),
    )
    return result


def blend_tiles(
    tiles: Float32[np.ndarray, "ny nx tile tile"],
    ys: Int64[np.ndarray, "ny"],
    xs: Int64[np.ndarray, "nx"],
    *,
    overlap: int,
    rows: tuple[int, int],
    width: int,
    out: Float32[np.ndarray, "rows width"] | None = None,
    num_threads: int | None = None,
) -> Float32[np.ndarray, "rows width"]:
    """Rows `rows[0]` to `rows[1] - 1` of the image that the tiles cover, as the weighted mean where tiles overlap.

    Along each axis the weight of a tile's pixel i is `0.5 * (1 - cos(pi * (i + 0.5) / overlap))` for i <
    `overlap`, mirrored at the far side, and 1 between; `overlap=0` weighs all pixels alike. A pixel under one tile
    keeps its value. To stream, pass only the tile rows that touch `rows`: the result has the same bits as
    from all tiles at once. Parts of tiles outside the rows or the width are ignored. Raises ValueError if no tile
    covers a row or column, or if `overlap` exceeds half a tile.
    """
    if tiles.ndim != 4 or tiles.shape[2] != tiles.shape[3] or tiles.dtype != np.float32:
        raise ValueError(f"tiles must be float32 [ny nx t t], got {tiles.dtype} {tiles.shape}; convert or reshape them")
    if tiles.shape[:2] != (len(ys), len(xs)):
        raise ValueError(
            f"tiles are {tiles.shape[0]} x {tiles.shape[1]}, but there are {len(ys)} ys and {len(xs)} xs; "
            "give one start for each row and column of tiles"
        )
    require_overlap(overlap, tile=tiles.shape[2])
    if rows[0] > rows[1] or width < 0:
        raise ValueError(
            f"rows {rows} and width {width} are not an image; rows are (first, last + 1), width is in pixels"
        )
    result = result_array(out, (rows[1] - rows[0], width), tiles, dtype=np.dtype(np.float32))
    _native.blend_tiles(
        np.ascontiguousarray(tiles),
        _starts(ys, name="ys"),
        _starts(xs, name="xs"),
        int(overlap),
        int(rows[0]),
        result,
        thread_count(num_threads),
    )
    return result


def blend_weights(
    starts: Int64[np.ndarray, "n"], *, tile: int, overlap: int, begin: int, end: int, axis: str
) -> Float32[np.ndarray, "n tile"]:
    """Weights of `blend_tiles` along one axis, divided by their sum at each position of [begin, end)."""
    require_overlap(overlap, tile=tile)
    return _native.blend_weights(_starts(starts, name=f"{axis} starts"), tile, overlap, begin, end, axis)


def require_overlap(overlap: int, *, tile: int) -> None:
    """Refuse ramps that are longer than half a tile."""
    if not 0 <= overlap <= tile // 2:
        raise ValueError(f"overlap is {overlap}, but the ramps of a {tile}-pixel tile take 0 to {tile // 2} pixels")


def _starts(starts: Shaped[np.ndarray, "n"], *, name: str) -> Int64[np.ndarray, "n"]:
    array = np.asarray(starts)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name} must be a 1-D array of integers, got {array.dtype} with shape {array.shape}")
    return np.ascontiguousarray(array, dtype=np.int64)
