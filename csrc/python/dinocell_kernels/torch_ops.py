"""The kernels as PyTorch operators: `torch.ops.dinocell.<name>`, usable under torch.compile.

They run where their tensor is, on the CPU or (`torch_cuda`) on a GPU.
Only these two modules import torch. CPU tensors share memory with the NumPy faces, which do all checks. Functions
here take and return tensors; starts of tiles are plain integers, so that shapes stay known to the compiler.
"""

from collections.abc import Sequence

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
    "relabel",
    "remove_small",
    "watershed",
]


def distance_map(
    labels: Integer[Tensor, "y x"],
    *,
    normalize: bool = True,
    border_is_background: bool = False,
    num_labels: int | None = None,
) -> Float32[Tensor, "y x"]:
    """As `dinocell_kernels.distance_map`.

    On a GPU labels are uint16, int32 or int64, sides at most 65,534, and negative labels become NaN. `num_labels`, the
    largest label, is used there; without it the call waits for the device to find it. Larger labels become NaN.
    """
    torch_cuda.require_kernels(labels)
    return torch.ops.dinocell.distance_map(labels, normalize, border_is_background, num_labels)


def connected_components(mask: Shaped[Tensor, "y x"], *, connectivity: int = 1) -> tuple[Int32[Tensor, "y x"], int]:
    """As `dinocell_kernels.connected_components`; on a GPU the call waits for the device to count."""
    torch_cuda.require_kernels(mask)
    labels, count = torch.ops.dinocell.connected_components(mask, connectivity)
    return labels, int(count)


def relabel(labels: Integer[Tensor, "*pixel"], *, num_labels: int | None = None) -> tuple[Int32[Tensor, "*pixel"], int]:
    """As `dinocell_kernels.relabel`; on a GPU with labels 0 to `num_labels`, as `distance_map`, others become 0."""
    torch_cuda.require_kernels(labels)
    result, count = torch.ops.dinocell.relabel(labels, num_labels)
    return result, int(count)


def remove_small(
    labels: Integer[Tensor, "*pixel"], *, min_size: int, num_labels: int | None = None
) -> tuple[Int32[Tensor, "*pixel"], int]:
    """As `dinocell_kernels.remove_small`; on a GPU with labels 0 to `num_labels`, as `relabel`."""
    torch_cuda.require_kernels(labels)
    result, count = torch.ops.dinocell.remove_small(labels, min_size, num_labels)
    return result, int(count)


def label_overlap(
    truth: Integer[Tensor, "*pixel"], predicted: Integer[Tensor, "*same"]
) -> tuple[Int64[Tensor, " pair"], Int64[Tensor, " pair"], Int64[Tensor, " pair"]]:
    """The columns `truth`, `predicted` and `pixels` of `dinocell_kernels.label_overlap`, as tensors beside the labels.

    On a GPU labels are uint16, int32 or int64 within 32 bits, and the call waits for the device to count the pairs.
    """
    torch_cuda.require_kernels(truth)
    if truth.shape != predicted.shape or truth.device != predicted.device:
        raise ValueError(
            f"truth is {tuple(truth.shape)} on {truth.device} and predicted {tuple(predicted.shape)} on "
            f"{predicted.device}; both must label the same pixels on one device"
        )
    return torch.ops.dinocell.label_overlap(truth, predicted)


def watershed(
    distance_map: Float[Tensor, "y x"], *, peak: float = 0.47, fill: float = 0.09, prominence: float | None = None
) -> Int32[Tensor, "y x"]:
    """As `dinocell_kernels.watershed`; with `prominence`, markers are those of `prominent_maxima`. bfloat16 is widened.

    On a GPU maps are float32 or narrower, labels are those of the CPU, and the call waits for the device. Components
    whose labels hang on equal heights, most of them in maps of 8 or 16 bits and few in float32, are copied to the CPU,
    flooded there and written back.
    """
    torch_cuda.require_kernels(distance_map)
    return torch.ops.dinocell.watershed(distance_map, peak, fill, prominence)


def gather_tiles(
    image: Num[Tensor, "c y x"],
    ys: Starts,
    xs: Starts,
    *,
    tile: int,
    scale: Float32[Tensor, "c"],
    offset: Float32[Tensor, "c"],
    low: float,
    high: float,
) -> Float32[Tensor, "ny nx c tile tile"]:
    """As `dinocell_kernels.gather_tiles`; on a GPU starts ascend."""
    torch_cuda.require_kernels(image)
    return torch.ops.dinocell.gather_tiles(image, _integers(ys), _integers(xs), tile, scale, offset, low, high)


def blend_tiles(
    tiles: Float32[Tensor, "ny nx tile tile"],
    ys: Starts,
    xs: Starts,
    *,
    overlap: int,
    rows: tuple[int, int],
    width: int,
) -> Float32[Tensor, "rows width"]:
    """As `dinocell_kernels.blend_tiles`; differentiable with respect to the tiles. On a GPU starts ascend."""
    torch_cuda.require_kernels(tiles)
    return torch.ops.dinocell.blend_tiles(tiles, _integers(ys), _integers(xs), overlap, rows[0], rows[1], width)


def _integers(starts: Starts) -> list[int]:
    return [int(start) for start in starts]


def _starts(starts: list[int]) -> np.ndarray:
    return np.asarray(starts, dtype=np.int64)


@torch.library.custom_op("dinocell::distance_map", mutates_args=(), device_types="cpu")
def _distance_map_op(
    labels: Tensor, normalize: bool, border_is_background: bool, num_labels: int | None = None
) -> Tensor:
    distances = _distance_map(labels.numpy(), normalize=normalize, border_is_background=border_is_background)
    return torch.from_numpy(distances)


@_distance_map_op.register_fake
def _(labels: Tensor, normalize: bool, border_is_background: bool, num_labels: int | None = None) -> Tensor:
    return labels.new_empty(labels.shape, dtype=torch.float32)


@torch.library.custom_op("dinocell::connected_components", mutates_args=(), device_types="cpu")
def _connected_components_op(mask: Tensor, connectivity: int) -> tuple[Tensor, Tensor]:
    labels, count = _connected_components(mask.numpy(), connectivity=connectivity)
    return torch.from_numpy(labels), torch.tensor(count)


@_connected_components_op.register_fake
def _(mask: Tensor, connectivity: int) -> tuple[Tensor, Tensor]:
    return mask.new_empty(mask.shape, dtype=torch.int32), mask.new_empty((), dtype=torch.int64)


@torch.library.custom_op("dinocell::relabel", mutates_args=(), device_types="cpu")
def _relabel_op(labels: Tensor, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    result, count = _relabel_labels(labels.numpy())
    return torch.from_numpy(result), torch.tensor(count)


@_relabel_op.register_fake
def _(labels: Tensor, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    return labels.new_empty(labels.shape, dtype=torch.int32), labels.new_empty((), dtype=torch.int64)


@torch.library.custom_op("dinocell::remove_small", mutates_args=(), device_types="cpu")
def _remove_small_op(labels: Tensor, min_size: int, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    result, count = _remove_small_labels(labels.numpy(), min_size=min_size)
    return torch.from_numpy(result), torch.tensor(count)


@_remove_small_op.register_fake
def _(labels: Tensor, min_size: int, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    return labels.new_empty(labels.shape, dtype=torch.int32), labels.new_empty((), dtype=torch.int64)


@torch.library.custom_op("dinocell::label_overlap", mutates_args=(), device_types="cpu")
def _label_overlap_op(truth: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    overlap = _count_overlap(truth.numpy(), predicted.numpy())
    return torch.from_numpy(overlap.truth), torch.from_numpy(overlap.predicted), torch.from_numpy(overlap.pixels)


@_label_overlap_op.register_fake
def _(truth: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    num_pairs = torch.library.get_ctx().new_dynamic_size()
    return tuple(truth.new_empty((num_pairs,), dtype=torch.int64) for _ in range(3))  # type: ignore[return-value]


@torch.library.custom_op("dinocell::watershed", mutates_args=(), device_types="cpu")
def _watershed_op(distance_map: Tensor, peak: float, fill: float, prominence: float | None = None) -> Tensor:
    exact = distance_map.detach()
    heights = (exact.float() if exact.dtype == torch.bfloat16 else exact).numpy()
    if prominence is None:
        return torch.from_numpy(_watershed(heights, peak=peak, fill=fill))
    markers, _ = _prominent_maxima(heights, peak=peak, fill=fill, prominence=prominence)
    return torch.from_numpy(_marker_watershed(-heights, markers, mask=heights > heights.dtype.type(fill)))


@_watershed_op.register_fake
def _(distance_map: Tensor, peak: float, fill: float, prominence: float | None = None) -> Tensor:
    return distance_map.new_empty(distance_map.shape, dtype=torch.int32)


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
) -> Tensor:
    gathered = _tiles.gather_tiles(
        image.detach().numpy(),
        _starts(ys),
        _starts(xs),
        tile=tile,
        scale=scale.detach().numpy(),
        offset=offset.detach().numpy(),
        low=low,
        high=high,
    )
    return torch.from_numpy(gathered)


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
) -> Tensor:
    return image.new_empty((len(ys), len(xs), image.shape[0], tile, tile), dtype=torch.float32)


@torch.library.custom_op("dinocell::blend_tiles", mutates_args=(), device_types="cpu")
def _blend_tiles_op(
    tiles: Tensor, ys: list[int], xs: list[int], overlap: int, row_begin: int, row_end: int, width: int
) -> Tensor:
    blended = _tiles.blend_tiles(
        tiles.detach().numpy(),
        _starts(ys),
        _starts(xs),
        overlap=overlap,
        rows=(row_begin, row_end),
        width=width,
    )
    return torch.from_numpy(blended)


@_blend_tiles_op.register_fake
def _(
    tiles: Tensor, ys: list[Size], xs: list[Size], overlap: Size, row_begin: Size, row_end: Size, width: Size
) -> Tensor:
    return tiles.new_empty((row_end - row_begin, width))


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
    spread = np.zeros((len(ys), len(xs), tile, tile), np.float32)
    for i, y in enumerate(ys):
        top, bottom = max(y, row_begin), min(y + tile, row_end)
        for j, x in enumerate(xs):
            left, right = max(x, 0), min(x + tile, width)
            if top >= bottom or left >= right:
                continue
            inside = (slice(top - y, bottom - y), slice(left - x, right - x))
            weight = columns[j, inside[1]] * rows[i, inside[0], None]
            spread[i, j][inside] = weight * pixels[top - row_begin : bottom - row_begin, left:right]
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
    return image.new_empty((len(ys), len(xs), tile, tile))


def _blend_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
    tiles, ys, xs, overlap, row_begin, row_end, width = inputs
    ctx.arguments = (ys, xs, tiles.shape[2], overlap, row_begin, row_end, width)  # type: ignore[attr-defined]


def _blend_backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple:
    spread = torch.ops.dinocell.spread_tiles(gradient, *ctx.arguments)  # type: ignore[attr-defined]
    return spread, None, None, None, None, None, None


_blend_tiles_op.register_autograd(_blend_backward, setup_context=_blend_context)

for _op, _on_gpu in (
    (_connected_components_op, torch_cuda.connected_components),
    (_distance_map_op, torch_cuda.distance_map),
    (_gather_tiles_op, torch_cuda.gather_tiles),
    (_label_overlap_op, torch_cuda.label_overlap),
    (_blend_tiles_op, torch_cuda.blend_tiles),
    (_relabel_op, torch_cuda.relabel),
    (_remove_small_op, torch_cuda.remove_small),
    (_spread_tiles_op, torch_cuda.spread_tiles),
    (_watershed_op, torch_cuda.watershed),
):
    _op.register_kernel("cuda")(_on_gpu)
