"""The kernels as PyTorch operators: `torch.ops.dinocell.<name>`, usable under torch.compile.

They run where their tensor is, on the CPU or (`torch_cuda`) on a GPU. Leading axes number the images of a batch: the
result is that of each image by itself. CPU tensors share memory with the NumPy faces, which do all checks. Functions
here take and return tensors; starts of tiles are plain integers, so that shapes stay known to the compiler.

On a GPU work is queued on the current stream. What is said below to wait for the device can not be captured in a CUDA
graph; all else can.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32, Int64, Integer, Num, Shaped
from torch import Tensor

from dinocell_kernels import connected_components as _connected_components
from dinocell_kernels import distance_map as _distance_map
from dinocell_kernels import label_overlap as _count_overlap
from dinocell_kernels import marker_watershed as _marker_watershed
from dinocell_kernels import prominent_maxima as _prominent_maxima
from dinocell_kernels import relabel as _relabel_labels
from dinocell_kernels import remove_small as _remove_small_labels
from dinocell_kernels import tiles as _tiles
from dinocell_kernels import torch_cuda
from dinocell_kernels import watershed as _watershed

# First rows or columns of tiles.
Starts = Sequence[int] | Integer[np.ndarray, "_"] | Integer[Tensor, "_"]

# The compiler calls a fake with symbols where sizes may vary.
Size = int | torch.SymInt

__all__ = [
    "blend_tiles",
    "connected_components",
    "distance_map",
    "gather_tiles",
    "label_overlap",
    "queue_watershed",
    "relabel",
    "remove_small",
    "settle_watershed",
    "watershed",
]


def distance_map(
    labels: Integer[Tensor, "*batch y x"],
    *,
    normalize: bool = True,
    border_is_background: bool = False,
    num_labels: int | None = None,
) -> Float32[Tensor, "*batch y x"]:
    """As `dinocell_kernels.distance_map`.

    On a GPU labels are uint16, int32 or int64, sides at most 65,534 and diagonals below 65,536 pixels, and negative
    labels become NaN. `num_labels`, the largest label, is used there; without it the call waits for the device to find
    it, unless `normalize` is false. Larger labels become NaN.
    """
    torch_cuda.require_kernels(labels)
    return torch.ops.dinocell.distance_map(labels, normalize, border_is_background, num_labels)


def connected_components(
    mask: Shaped[Tensor, "*batch y x"], *, connectivity: int = 1
) -> tuple[Int32[Tensor, "*batch y x"], Int64[Tensor, "*batch"]]:
    """As `dinocell_kernels.connected_components`, but the count is a tensor beside the labels."""
    torch_cuda.require_kernels(mask)
    return torch.ops.dinocell.connected_components(mask, connectivity)


def relabel(
    labels: Integer[Tensor, "*batch y x"], *, num_labels: int | None = None
) -> tuple[Int32[Tensor, "*batch y x"], Int64[Tensor, "*batch"]]:
    """As `dinocell_kernels.relabel`, but the count is a tensor beside the labels.

    On a GPU labels are uint16, int32 or int64 from 0 to `num_labels`, and others become 0; without it the call waits
    for the device to find the largest.
    """
    torch_cuda.require_kernels(labels)
    return torch.ops.dinocell.relabel(labels, num_labels)


def remove_small(
    labels: Integer[Tensor, "*batch y x"], *, min_size: int, num_labels: int | None = None
) -> tuple[Int32[Tensor, "*batch y x"], Int64[Tensor, "*batch"]]:
    """As `dinocell_kernels.remove_small`, but the count is a tensor beside the labels; `num_labels` as in `relabel`."""
    torch_cuda.require_kernels(labels)
    return torch.ops.dinocell.remove_small(labels, min_size, num_labels)


def label_overlap(
    truth: Integer[Tensor, "*pixel"], predicted: Integer[Tensor, "*same"]
) -> tuple[Int64[Tensor, " pair"], Int64[Tensor, " pair"], Int64[Tensor, " pair"]]:
    """The columns `truth`, `predicted` and `pixels` of `dinocell_kernels.label_overlap`, as tensors beside the labels.

    Pixels of any shape are one image. On a GPU labels are uint16, int32 or int64 within 32 bits, and the call waits for
    the device to count the pairs.
    """
    torch_cuda.require_kernels(truth)
    if truth.shape != predicted.shape or truth.device != predicted.device:
        raise ValueError(
            f"truth is {tuple(truth.shape)} on {truth.device} and predicted {tuple(predicted.shape)} on "
            f"{predicted.device}; both must label the same pixels on one device"
        )
    return torch.ops.dinocell.label_overlap(truth, predicted)


def watershed(
    distance_map: Float[Tensor, "*batch y x"],
    *,
    peak: float = 0.47,
    fill: float = 0.09,
    prominence: float | None = None,
) -> Int32[Tensor, "*batch y x"]:
    """As `dinocell_kernels.watershed`; with `prominence`, markers are those of `prominent_maxima`. bfloat16 is widened.

    On a GPU maps are float32 or narrower, labels are those of the CPU, and the call waits for the device. Components
    whose labels hang on equal heights, most of them in maps of 8 or 16 bits and few in float32, are copied to the CPU,
    flooded there and written back.
    """
    torch_cuda.require_kernels(distance_map)
    return torch.ops.dinocell.watershed(distance_map, peak, fill, prominence)


def queue_watershed(
    distance_map: Float[Tensor, "*batch y x"],
    *,
    peak: float = 0.47,
    fill: float = 0.09,
    prominence: float | None = None,
) -> tuple[Int32[Tensor, "*batch y x"], Int32[Tensor, "3 *batch"]]:
    """The part of `watershed` that does not wait for the device: labels so far, and their status, left there.

    Status is, for each image, the number of markers, of components left open, and whether the map holds NaN. Where both
    of the last are 0, labels are those of `watershed`; else `settle_watershed` makes them so. Open pixels hold codes
    below 0. On the CPU nothing is left open, and NaN is refused at once.
    """
    torch_cuda.require_kernels(distance_map)
    return torch.ops.dinocell.queue_watershed(distance_map, peak, fill, prominence)


def settle_watershed(
    distance_map: Float[Tensor, "*batch y x"],
    labels: Int32[Tensor, "*batch y x"],
    status: Int32[Tensor, "3 *batch"],
) -> Int32[Tensor, "*batch y x"]:
    """Labels of `watershed` from what `queue_watershed` made of the same map; waits for the device.

    Returns `labels` themselves where nothing was left open. Raises ValueError if the map holds NaN.
    """
    return torch_cuda.settle_watershed(distance_map, labels, status)


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
    """As `dinocell_kernels.gather_tiles`, or with `dtype` torch.bfloat16 as `gather_tiles_bfloat16`.

    `scale` and `offset` are those of all images or of each. On a GPU starts ascend, and the call waits for the device
    unless the two lie there.
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

    On a GPU starts ascend.
    """
    torch_cuda.require_kernels(tiles)
    return torch.ops.dinocell.blend_tiles(tiles, _integers(ys), _integers(xs), overlap, rows[0], rows[1], width)


def _integers(starts: Starts) -> list[int]:
    return [int(start) for start in starts]


def _starts(starts: list[int]) -> np.ndarray:
    return np.asarray(starts, dtype=np.int64)


def _array(tensor: Tensor) -> np.ndarray:
    """The tensor's memory; bfloat16, which NumPy lacks, is widened."""
    exact = tensor.detach()
    return (exact.float() if exact.dtype == torch.bfloat16 else exact).numpy()


def _of_each(function: Callable[[np.ndarray], np.ndarray], images: np.ndarray, *, axes: int) -> Tensor:
    """`function` of each image of a batch, an image being the last `axes` axes."""
    if images.ndim <= axes:
        return torch.from_numpy(function(images))
    batch = images.shape[:-axes]
    results = [function(images[at]) for at in np.ndindex(batch)]
    like = results[0] if results else function(np.zeros(images.shape[-axes:], images.dtype))
    return torch.from_numpy(np.array(results, like.dtype).reshape(*batch, *like.shape))


def _counted(function: Callable[[np.ndarray], tuple[np.ndarray, int]], images: Tensor) -> tuple[Tensor, Tensor]:
    """Labels of each image of a batch, and how many."""
    counts: list[int] = []

    def labels_of(image: np.ndarray) -> np.ndarray:
        labels, count = function(image)
        counts.append(count)
        return labels

    labels, batch = _of_each(labels_of, images.numpy(), axes=2), images.shape[:-2]
    return labels, torch.tensor(counts[: batch.numel()], dtype=torch.int64).reshape(batch)


@torch.library.custom_op("dinocell::distance_map", mutates_args=(), device_types="cpu")
def _distance_map_op(
    labels: Tensor, normalize: bool, border_is_background: bool, num_labels: int | None = None
) -> Tensor:
    def distances(image: np.ndarray) -> np.ndarray:
        return _distance_map(image, normalize=normalize, border_is_background=border_is_background)

    return _of_each(distances, labels.numpy(), axes=2)


@_distance_map_op.register_fake
def _(labels: Tensor, normalize: bool, border_is_background: bool, num_labels: int | None = None) -> Tensor:
    return labels.new_empty(labels.shape, dtype=torch.float32)


def _fake_labels(images: Tensor) -> tuple[Tensor, Tensor]:
    return images.new_empty(images.shape, dtype=torch.int32), images.new_empty(images.shape[:-2], dtype=torch.int64)


@torch.library.custom_op("dinocell::connected_components", mutates_args=(), device_types="cpu")
def _connected_components_op(mask: Tensor, connectivity: int) -> tuple[Tensor, Tensor]:
    return _counted(lambda image: _connected_components(image, connectivity=connectivity), mask)


@_connected_components_op.register_fake
def _(mask: Tensor, connectivity: int) -> tuple[Tensor, Tensor]:
    return _fake_labels(mask)


@torch.library.custom_op("dinocell::relabel", mutates_args=(), device_types="cpu")
def _relabel_op(labels: Tensor, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    return _counted(_relabel_labels, labels)


@_relabel_op.register_fake
def _(labels: Tensor, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    return _fake_labels(labels)


@torch.library.custom_op("dinocell::remove_small", mutates_args=(), device_types="cpu")
def _remove_small_op(labels: Tensor, min_size: int, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    return _counted(lambda image: _remove_small_labels(image, min_size=min_size), labels)


@_remove_small_op.register_fake
def _(labels: Tensor, min_size: int, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    return _fake_labels(labels)


@torch.library.custom_op(
    "dinocell::label_overlap", mutates_args=(), device_types="cpu", tags=(torch.Tag.cudagraph_unsafe,)
)
def _label_overlap_op(truth: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    overlap = _count_overlap(truth.numpy(), predicted.numpy())
    return torch.from_numpy(overlap.truth), torch.from_numpy(overlap.predicted), torch.from_numpy(overlap.pixels)


@_label_overlap_op.register_fake
def _(truth: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    num_pairs = torch.library.get_ctx().new_dynamic_size()
    return tuple(truth.new_empty((num_pairs,), dtype=torch.int64) for _ in range(3))  # type: ignore[return-value]


@torch.library.custom_op("dinocell::watershed", mutates_args=(), device_types="cpu", tags=(torch.Tag.cudagraph_unsafe,))
def _watershed_op(distance_map: Tensor, peak: float, fill: float, prominence: float | None = None) -> Tensor:
    def labels_of(heights: np.ndarray) -> np.ndarray:
        if prominence is None:
            return _watershed(heights, peak=peak, fill=fill)
        heights = heights.astype(np.promote_types(heights.dtype, np.float32), copy=False)
        markers, _ = _prominent_maxima(heights, peak=peak, fill=fill, prominence=prominence)
        return _marker_watershed(-heights, markers, mask=heights > heights.dtype.type(fill))

    return _of_each(labels_of, _array(distance_map), axes=2)


@_watershed_op.register_fake
def _(distance_map: Tensor, peak: float, fill: float, prominence: float | None = None) -> Tensor:
    return distance_map.new_empty(distance_map.shape, dtype=torch.int32)


@torch.library.custom_op("dinocell::queue_watershed", mutates_args=(), device_types="cpu")
def _queue_watershed_op(
    distance_map: Tensor, peak: float, fill: float, prominence: float | None = None
) -> tuple[Tensor, Tensor]:
    labels = torch.ops.dinocell.watershed(distance_map, peak, fill, prominence)
    status = torch.zeros((3, *labels.shape[:-2]), dtype=torch.int32)
    if labels.numel():
        status[0] = labels.amax(dim=(-2, -1))
    return labels, status


@_queue_watershed_op.register_fake
def _(distance_map: Tensor, peak: float, fill: float, prominence: float | None = None) -> tuple[Tensor, Tensor]:
    shape = distance_map.shape
    labels = distance_map.new_empty(shape, dtype=torch.int32)
    return labels, distance_map.new_empty((3, *shape[:-2]), dtype=torch.int32)


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
    if dtype not in torch_cuda.TILES:
        raise ValueError(f"tiles can not be {dtype}; choose torch.float32 or torch.bfloat16")
    gather = _tiles.gather_tiles if dtype == torch.float32 else _tiles.gather_tiles_bfloat16
    images = image.detach().numpy()
    batch = images.shape[:-3]
    by_image = [np.broadcast_to(values.detach().numpy(), (*batch, values.shape[-1])) for values in (scale, offset)]
    shape = (*batch, len(ys), len(xs), *images.shape[-3:-2], tile, tile)
    out = np.empty(shape, np.float32 if dtype == torch.float32 else np.uint16) if batch else None
    for at in np.ndindex(batch):
        tiles = gather(
            images[at],
            _starts(ys),
            _starts(xs),
            tile=tile,
            scale=by_image[0][at],
            offset=by_image[1][at],
            low=low,
            high=high,
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

    return _of_each(blended, _array(tiles), axes=4)


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

for _op, _on_gpu in (
    (_connected_components_op, torch_cuda.connected_components),
    (_distance_map_op, torch_cuda.distance_map),
    (_gather_tiles_op, torch_cuda.gather_tiles),
    (_label_overlap_op, torch_cuda.label_overlap),
    (_blend_tiles_op, torch_cuda.blend_tiles),
    (_queue_watershed_op, torch_cuda.queue_watershed),
    (_relabel_op, torch_cuda.relabel),
    (_remove_small_op, torch_cuda.remove_small),
    (_spread_tiles_op, torch_cuda.spread_tiles),
    (_watershed_op, torch_cuda.watershed),
):
    _op.register_kernel("cuda")(_on_gpu)
