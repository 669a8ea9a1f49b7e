"""The operators of `torch_ops` for tensors on a GPU: memory from torch's allocator, work on torch's current stream.

Imported by `torch_ops`, which defines the operators; `_cuda` is there only in builds with nvcc.
"""

import math
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from dinocell_kernels import tiles as _tiles
from dinocell_kernels.open_components import flood_open
from dinocell_kernels.watershed import require_thresholds

try:
    from dinocell_kernels import _cuda as _built
except ImportError:
    _cuda: ModuleType | None = None
else:
    _cuda = _built

PIXELS = (torch.uint8, torch.uint16, torch.float32)
LABELS = (torch.uint16, torch.int32, torch.int64)
TILES = (torch.float32, torch.bfloat16)


def require_kernels(tensor: Shaped[Tensor, "..."]) -> None:
    """Raises ValueError for a tensor on a device that this build has no kernels for."""
    kind = tensor.device.type
    if kind == "cpu" or (kind == "cuda" and _cuda is not None):
        return
    reason = (
        "was built without CUDA; rebuild it where nvcc is," if kind == "cuda" else "knows cpu and cuda only; move it"
    )
    raise ValueError(f"got a tensor on {tensor.device}, but dinocell-kernels {reason} or pass tensor.cpu()")


def distance_map(labels: Tensor, normalize: bool, border_is_background: bool, num_labels: int | None) -> Tensor:
    labels = _of_type(labels, LABELS, "labels")
    num_labels = _largest(labels) if num_labels is None else num_labels
    height, width = labels.shape
    out = torch.empty((height, width), dtype=torch.float32, device=labels.device)
    runs = torch.empty((height, width), dtype=torch.int16, device=labels.device)
    table = torch.empty(num_labels + 1 if normalize else 0, dtype=torch.int32, device=labels.device)
    with torch.cuda.device(labels.device):
        _kernel("distance_map", labels.dtype)(
            labels.data_ptr(),
            height,
            width,
            num_labels,
            border_is_background,
            out.data_ptr(),
            runs.data_ptr(),
            table.data_ptr() if normalize else 0,
            _stream(labels),
        )
    return out


def connected_components(mask: Tensor, connectivity: int) -> tuple[Tensor, Tensor]:
    height, width = mask.shape
    foreground = (mask != 0).to(torch.uint8).contiguous()
    labels = torch.empty((height, width), dtype=torch.int32, device=mask.device)
    count = torch.zeros((), dtype=torch.int32, device=mask.device)
    scratch = _scratch("connected_components_scratch", mask, height, width)
    with torch.cuda.device(mask.device):
        _kernel("connected_components")(
            foreground.data_ptr(),
            height,
            width,
            connectivity,
            labels.data_ptr(),
            scratch.data_ptr(),
            count.data_ptr(),
            _stream(mask),
        )
    return labels, count.to(torch.int64)


def watershed(distance_map: Tensor, peak: float, fill: float, prominence: float | None) -> Tensor:
    heights = _heights(distance_map)
    require_thresholds(peak, fill)
    if prominence is not None and not 0 <= prominence < math.inf:
        raise ValueError(f"prominence is {prominence}; it is a height of the map: choose 0 (every maximum) or more")
    height, width = heights.shape
    labels = torch.empty((height, width), dtype=torch.int32, device=heights.device)
    status = torch.zeros(3, dtype=torch.int32, device=heights.device)
    scratch = _scratch("watershed_scratch", heights, height, width, prominence is not None, dtype=torch.int64)
    with torch.cuda.device(heights.device):
        _kernel("watershed")(
            heights.data_ptr(),
            height,
            width,
            peak,
            fill,
            -1.0 if prominence is None else prominence,
            labels.data_ptr(),
            scratch.data_ptr(),
            status.data_ptr(),
            _stream(heights),
        )
    _, num_open, nan = status.tolist()  # waits for the device
    if nan:
        raise ValueError("the distance map holds NaN")
    if num_open:
        pixels = (labels.view(-1) < 0).nonzero()[:, 0]
        listed = (heights.view(-1)[pixels], labels.view(-1)[pixels], pixels)
        flooded = flood_open(*(values.cpu().numpy() for values in listed), width=width)
        labels.view(-1)[pixels] = torch.from_numpy(flooded).to(labels.device)
    return labels


def _heights(distance_map: Tensor) -> Tensor:
    """The map as float32; float16 and bfloat16 are widened exactly."""
    _of_type(distance_map, (torch.float32, torch.float16, torch.bfloat16), "distance_map")
    return distance_map.detach().to(torch.float32).contiguous()


def relabel(labels: Tensor, num_labels: int | None) -> tuple[Tensor, Tensor]:
    return _relabelled("relabel", labels, num_labels)


def remove_small(labels: Tensor, min_size: int, num_labels: int | None) -> tuple[Tensor, Tensor]:
    return _relabelled("remove_small", labels, num_labels, min_size)


def _relabelled(name: str, labels: Tensor, num_labels: int | None, *arguments: int) -> tuple[Tensor, Tensor]:
    labels = _of_type(labels, LABELS, "labels")
    num_labels = _largest(labels) if num_labels is None else num_labels
    result = torch.empty(labels.shape, dtype=torch.int32, device=labels.device)
    count = torch.zeros((), dtype=torch.int32, device=labels.device)
    scratch = _scratch("relabel_scratch", labels, labels.numel(), num_labels)
    with torch.cuda.device(labels.device):
        _kernel(name, labels.dtype)(
            labels.data_ptr(),
            labels.numel(),
            num_labels,
            *arguments,
            result.data_ptr(),
            scratch.data_ptr(),
            count.data_ptr(),
            _stream(labels),
        )
    return result, count.to(torch.int64)


def label_overlap(truth: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    truth, predicted = _same_labels(truth, predicted)
    capacity = 1 << 14
    while True:
        keys, pixels, fits = _count_pairs(truth, predicted, capacity)
        if fits:
            break
        capacity *= 4
    keys, order = keys.sort()
    half = 1 << 31
    return (keys >> 32), (keys & (2 * half - 1)) - half, pixels[order]


def _count_pairs(truth: Tensor, predicted: Tensor, capacity: int) -> tuple[Tensor, Tensor, bool]:
    """Pairs as signed keys that sort as they do, unsorted, and their pixels; whether the table was large enough."""
    keys = torch.empty(capacity + 1, dtype=torch.int64, device=truth.device)
    pixels = torch.empty_like(keys)
    status = torch.empty(2, dtype=torch.int32, device=truth.device)
    scratch = _scratch("label_overlap_scratch", truth, capacity)
    with torch.cuda.device(truth.device):
        _kernel("label_overlap", truth.dtype)(
            truth.data_ptr(),
            predicted.data_ptr(),
            truth.numel(),
            capacity,
            keys.data_ptr(),
            pixels.data_ptr(),
            scratch.data_ptr(),
            status.data_ptr(),
            _stream(truth),
        )
    count, overflowed = status.tolist()  # waits for the device
    return keys[:count] ^ torch.iinfo(torch.int64).min, pixels[:count], not overflowed


def _same_labels(truth: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one of the kernel's types; labels beyond 32 bits are refused, which takes a look at those of 64."""
    truth, predicted = _of_type(truth, LABELS, "truth"), _of_type(predicted, LABELS, "predicted")
    for name, labels in (("truth", truth), ("predicted", predicted)):
        if labels.dtype == torch.int64 and labels.numel():
            low, high = (int(bound) for bound in labels.aminmax())
            limits = torch.iinfo(torch.int32)
            if low < limits.min or high > limits.max:
                raise ValueError(
                    f"{name} reaches from {low} to {high}; on a GPU labels are within 32 bits: renumber them with "
                    "relabel, or pass tensor.cpu()"
                )
    if truth.dtype == predicted.dtype:
        return truth, predicted
    return truth.to(torch.int64), predicted.to(torch.int64)


class SinkhornMass:
    """exp(logits / temperature - its sample's maximum), [sample prototype], as sums and products that never store it.

    Logits are float32 or bfloat16 on a GPU; every method reads them once and gives float32.
    """

    def __init__(self, logits: Tensor, temperature: float) -> None:
        self._logits = _of_type(logits, TILES, "logits")
        self._temperature = temperature
        self.sample_max = self._new(0)
        self._run("sample_max", self.sample_max)

    def of_prototypes(self, v: Tensor) -> Tensor:
        """v @ mass."""
        mass = self._new(1)
        scratch = torch.empty(_kernel("sinkhorn_scratch")(*self._logits.shape), device=mass.device)
        self._run("prototype_mass", self.sample_max, v.contiguous(), mass, scratch)
        return mass

    def of_samples(self, u: Tensor) -> Tensor:
        """mass @ u."""
        mass = self._new(0)
        self._run("sample_mass", self.sample_max, u.contiguous(), mass)
        return mass

    def scaled(self, u: Tensor, v: Tensor) -> Tensor:
        """diag(v) mass diag(u)."""
        targets = torch.empty(self._logits.shape, dtype=torch.float32, device=self._logits.device)
        self._run("targets", self.sample_max, u.contiguous(), v.contiguous(), targets)
        return targets

    def _new(self, axis: int) -> Tensor:
        return torch.empty(self._logits.shape[axis], dtype=torch.float32, device=self._logits.device)

    def _run(self, name: str, *arrays: Tensor) -> None:
        pointers = (array.data_ptr() for array in arrays)
        kernel = _kernel("sinkhorn_" + name, self._logits.dtype)
        with torch.cuda.device(self._logits.device):
            kernel(self._logits.data_ptr(), *self._logits.shape, self._temperature, *pointers, _stream(self._logits))


def has_sinkhorn(logits: Shaped[Tensor, "..."]) -> bool:
    """Whether `SinkhornMass` takes these logits here."""
    return logits.is_cuda and _cuda is not None and logits.dtype in TILES


def gather_tiles(
    image: Tensor, ys: list[int], xs: list[int], tile: int, scale: Tensor, offset: Tensor, low: float, high: float
) -> Tensor:
    image = _of_type(image, PIXELS, "image")
    channels, height, width = image.shape
    factor, shift = (values.to(image.device, torch.float32).contiguous() for values in (scale, offset))
    out = torch.empty((len(ys), len(xs), channels, tile, tile), dtype=torch.float32, device=image.device)
    with torch.cuda.device(image.device):
        _kernel("gather_tiles", image.dtype, torch.float32)(
            image.data_ptr(),
            channels,
            height,
            width,
            ys,
            xs,
            tile,
            factor.data_ptr(),
            shift.data_ptr(),
            low,
            high,
            out.data_ptr(),
            _stream(image),
        )
    return out


def blend_tiles(
    tiles: Tensor, ys: list[int], xs: list[int], overlap: int, row_begin: int, row_end: int, width: int
) -> Tensor:
    tiles = _of_type(tiles, TILES, "tiles")
    tile = tiles.shape[2]
    _weights(ys, xs, tile, overlap, row_begin, row_end, width)  # refuses rows and columns under no tile
    out = torch.empty((row_end - row_begin, width), dtype=torch.float32, device=tiles.device)
    with torch.cuda.device(tiles.device):
        _kernel("blend_tiles", tiles.dtype)(
            tiles.data_ptr(), ys, xs, tile, overlap, row_begin, row_end, width, out.data_ptr(), _stream(tiles)
        )
    return out


def spread_tiles(
    image: Tensor, ys: list[int], xs: list[int], tile: int, overlap: int, row_begin: int, row_end: int, width: int
) -> Tensor:
    """The transpose of blend_tiles, for its gradient: each tile's pixel gets its weight times the image's pixel."""
    rows, columns = _weights(ys, xs, tile, overlap, row_begin, row_end, width)
    rows_on_device = torch.from_numpy(rows).to(image.device)
    columns_on_device = torch.from_numpy(columns).to(image.device)
    spread = image.new_zeros((len(ys), len(xs), tile, tile))
    for i, y in enumerate(ys):
        top, bottom = max(y, row_begin), min(y + tile, row_end)
        for j, x in enumerate(xs):
            left, right = max(x, 0), min(x + tile, width)
            if top < bottom and left < right:
                part = image[top - row_begin : bottom - row_begin, left:right]
                weight = rows_on_device[i, top - y : bottom - y, None] * columns_on_device[j, left - x : right - x]
                spread[i, j, top - y : bottom - y, left - x : right - x] = weight * part
    return spread


def _weights(
    ys: list[int], xs: list[int], tile: int, overlap: int, row_begin: int, row_end: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    if not 0 <= overlap <= tile // 2:
        raise ValueError(f"overlap is {overlap}, expected 0 to {tile // 2}, half of tile {tile}")
    starts = (np.asarray(values, np.int64) for values in (ys, xs))
    rows, columns = starts
    return (
        _tiles.blend_weights(rows, tile=tile, overlap=overlap, begin=row_begin, end=row_end, axis="row"),
        _tiles.blend_weights(columns, tile=tile, overlap=overlap, begin=0, end=width, axis="column"),
    )


def _of_type(tensor: Tensor, allowed: tuple[torch.dtype, ...], name: str) -> Tensor:
    if tensor.dtype not in allowed:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise ValueError(f"{name} is {tensor.dtype}; on a GPU it must be {names}: convert with {name}.to(...)")
    return tensor.detach().contiguous()


def _largest(labels: Tensor) -> int:
    """The largest label, at least 0; waits for the device."""
    return max(0, int(labels.to(torch.int64).max())) if labels.numel() else 0


def _scratch(name: str, like: Tensor, *sizes: int, dtype: torch.dtype = torch.int32) -> Tensor:
    if like.numel() >= 2**31:
        raise ValueError(f"got {like.numel()} pixels; a GPU call takes fewer than 2^31: process the image in parts")
    return torch.empty(_kernel(name)(*sizes), dtype=dtype, device=like.device)


def _kernel(name: str, *dtypes: torch.dtype):  # type: ignore[no-untyped-def]  # a function of the compiled module
    return getattr(_cuda, "_".join([name, *(str(dtype).removeprefix("torch.") for dtype in dtypes)]))


def _stream(tensor: Tensor) -> int:
    return torch.cuda.current_stream(tensor.device).cuda_stream
