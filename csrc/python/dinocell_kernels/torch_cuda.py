"""The operators of `torch_ops` for tensors on a GPU: memory from torch's allocator, work on torch's current stream.

Imported by `torch_ops`, which defines the operators and says what they take; `_cuda` is there only in builds with nvcc.
Leading axes number the images of a batch, which one call works on at once. Nothing here waits for the device but what
says so.
"""

import math
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from dinocell_kernels import tiles as _tiles
from dinocell_kernels.arguments import require_connectivity
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
HEIGHTS = (torch.float32, torch.float16, torch.bfloat16)


def has_kernels() -> bool:
    """Whether dinocell-kernels was built with CUDA."""
    return _cuda is not None


def require_kernels(tensor: Shaped[Tensor, "..."]) -> None:
    """Raises ValueError for a tensor on a device that this build has no kernels for."""
    kind = tensor.device.type
    if kind == "cpu" or (kind == "cuda" and has_kernels()):
        return
    reason = (
        "was built without CUDA; rebuild it where nvcc is," if kind == "cuda" else "knows cpu and cuda only; move it"
    )
    raise ValueError(f"got a tensor on {tensor.device}, but dinocell-kernels {reason} or pass tensor.cpu()")


def distance_map(labels: Tensor, normalize: bool, border_is_background: bool, num_labels: int | None) -> Tensor:
    """Waits for the device if num_labels is None and maps are normalised."""
    labels = _of_type(labels, LABELS, "labels")
    images, height, width = _images(labels, "labels")
    size = _table_size(labels, num_labels) if normalize else 1
    table = _new(labels, (images * size,), torch.int32)
    out, runs = _new(labels, labels.shape, torch.float32), _new(labels, labels.shape, torch.int16)
    _run(
        labels,
        _kernel("distance_map", labels.dtype),
        *(labels, images, height, width, size - 1, border_is_background, out, runs, table if normalize else 0),
    )
    return out


def connected_components(mask: Tensor, connectivity: int) -> tuple[Tensor, Tensor]:
    require_connectivity(connectivity)
    if mask.dtype.is_floating_point or mask.dtype.is_complex:
        raise ValueError(f"mask must hold booleans or integers, got {mask.dtype}; threshold it, for example mask > 0")
    foreground = mask.to(torch.bool).contiguous()
    images, height, width = _images(mask, "mask")
    labels, counts = _new(mask, mask.shape, torch.int32), _new(mask, mask.shape[:-2], torch.int32)
    scratch = _new(mask, (_kernel("connected_components_scratch")(images, height, width),), torch.int32)
    _run(
        mask,
        _kernel("connected_components"),
        *(foreground, images, height, width, connectivity, labels, scratch, counts),
    )
    return labels, counts.to(torch.int64)


def relabel(labels: Tensor, num_labels: int | None) -> tuple[Tensor, Tensor]:
    """Waits for the device if num_labels is None."""
    return _relabelled("relabel", labels, num_labels)


def remove_small(labels: Tensor, min_size: int, num_labels: int | None) -> tuple[Tensor, Tensor]:
    """Waits for the device if num_labels is None."""
    if min_size < 0:
        raise ValueError(f"min_size is a number of pixels and must not be negative, got {min_size}")
    return _relabelled("remove_small", labels, num_labels, min_size)


def _relabelled(name: str, labels: Tensor, num_labels: int | None, *arguments: int) -> tuple[Tensor, Tensor]:
    labels = _of_type(labels, LABELS, "labels")
    images, height, width = _images(labels, "labels")
    largest = _table_size(labels, num_labels) - 1
    result, counts = _new(labels, labels.shape, torch.int32), _new(labels, labels.shape[:-2], torch.int32)
    scratch = _new(labels, (_kernel("relabel_scratch")(images, height * width, largest),), torch.int32)
    _run(
        labels,
        _kernel(name, labels.dtype),
        *(labels, images, height * width, largest, *arguments, result, scratch, counts),
    )
    return result, counts.to(torch.int64)


def label_overlap(truth: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Waits for the device to count the pairs, once more for each table that was too small."""
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
    if truth.numel() >= 2**31:
        raise ValueError(f"got {truth.numel()} pixels; a GPU call takes fewer than 2^31: process the image in parts")
    keys, pixels = (_new(truth, (capacity + 1,), torch.int64) for _ in range(2))
    status = _new(truth, (2,), torch.int32)
    scratch = _new(truth, (_kernel("label_overlap_scratch")(capacity),), torch.int32)
    _run(
        truth,
        _kernel("label_overlap", truth.dtype),
        *(truth, predicted, truth.numel(), capacity, keys, pixels, scratch, status),
    )
    count, overflowed = status.tolist()
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


def watershed(distance_map: Tensor, peak: float, fill: float, prominence: float | None) -> Tensor:
    """Waits for the device."""
    return settle_watershed(distance_map, *queue_watershed(distance_map, peak, fill, prominence))


def queue_watershed(distance_map: Tensor, peak: float, fill: float, prominence: float | None) -> tuple[Tensor, Tensor]:
    heights = _of_type(distance_map, HEIGHTS, "distance_map").to(torch.float32)
    require_thresholds(peak, fill)
    if prominence is not None and not 0 <= prominence < math.inf:
        raise ValueError(f"prominence is {prominence}; it is a height of the map: choose 0 (every maximum) or more")
    images, height, width = _images(heights, "distance_map")
    labels = _new(heights, heights.shape, torch.int32)
    status = _new(heights, (3, *heights.shape[:-2]), torch.int32)
    scratch = _new(heights, (_kernel("watershed_scratch")(images, height, width, prominence is not None),), torch.int64)
    _run(
        heights,
        _kernel("watershed"),
        *(heights, images, height, width, peak, fill, -1.0 if prominence is None else prominence),
        *(labels, scratch, status),
    )
    return labels, status


def settle_watershed(distance_map: Tensor, labels: Tensor, status: Tensor) -> Tensor:
    """Waits for the device."""
    _, num_open, nan = status.reshape(3, -1).tolist()
    if any(nan):
        raise ValueError("the distance map holds NaN")
    if not any(num_open):
        return labels
    settled = labels.contiguous().clone()
    maps, codes = distance_map.detach().reshape(len(num_open), -1), settled.view(len(num_open), -1)
    for image, is_open in enumerate(num_open):
        if is_open:
            _flood_open(maps[image], codes[image], width=labels.shape[-1])
    return settled


def _flood_open(heights: Tensor, codes: Tensor, *, width: int) -> None:
    """Replaces the codes of one image's open components by labels."""
    pixels = (codes < 0).nonzero()[:, 0]
    listed = (heights[pixels].to(torch.float32), codes[pixels], pixels)
    flooded = flood_open(*(values.cpu().numpy() for values in listed), width=width)
    codes[pixels] = torch.from_numpy(flooded).to(codes.device)


class SinkhornMass:
    """exp(logits / temperature - its sample's maximum), [sample prototype], as sums and products that never store it.

    Logits are float32 or bfloat16 on a GPU; every method reads them once and gives float32.
    """

    def __init__(self, logits: Tensor, temperature: float) -> None:
        if logits.ndim != 2:
            raise ValueError(f"logits must be [sample prototype], got shape {tuple(logits.shape)}")
        self._logits = _of_type(logits, TILES, "logits")
        self._temperature = temperature
        self.sample_max = _new(self._logits, logits.shape[:1], torch.float32)
        self._run("sample_max", self.sample_max)

    def of_prototypes(self, v: Tensor) -> Tensor:
        """v @ mass."""
        mass = _new(self._logits, self._logits.shape[1:], torch.float32)
        scratch = _new(self._logits, (_kernel("sinkhorn_scratch")(*self._logits.shape),), torch.float32)
        self._run("prototype_mass", self.sample_max, self._factors(v, "v", 0), mass, scratch)
        return mass

    def of_samples(self, u: Tensor) -> Tensor:
        """mass @ u."""
        mass = _new(self._logits, self._logits.shape[:1], torch.float32)
        self._run("sample_mass", self.sample_max, self._factors(u, "u", 1), mass)
        return mass

    def scaled(self, u: Tensor, v: Tensor) -> Tensor:
        """diag(v) mass diag(u)."""
        targets = _new(self._logits, self._logits.shape, torch.float32)
        self._run("targets", self.sample_max, self._factors(u, "u", 1), self._factors(v, "v", 0), targets)
        return targets

    def _factors(self, factors: Tensor, name: str, axis: int) -> Tensor:
        expected = (self._logits.shape[axis],)
        if factors.shape != expected or factors.device != self._logits.device:
            raise ValueError(
                f"{name} is {tuple(factors.shape)} on {factors.device}, expected {expected} on {self._logits.device}"
            )
        return _of_type(factors, (torch.float32,), name)

    def _run(self, name: str, *arrays: Tensor) -> None:
        kernel = _kernel("sinkhorn_" + name, self._logits.dtype)
        _run(self._logits, kernel, self._logits, *self._logits.shape, self._temperature, *arrays)


def has_sinkhorn(logits: Shaped[Tensor, "..."]) -> bool:
    """Whether `SinkhornMass` takes these logits here."""
    return logits.is_cuda and has_kernels() and logits.dtype in TILES


def gather_tiles(
    image: Tensor,
    ys: list[int],
    xs: list[int],
    tile: int,
    scale: Tensor,
    offset: Tensor,
    low: float,
    high: float,
    dtype: torch.dtype,
) -> Tensor:
    """Waits for the device if scale and offset are not there."""
    image = _of_type(image, PIXELS, "image")
    if image.ndim < 3 or 0 in image.shape[-2:]:
        raise ValueError(f"image must be [c y x] with at least one pixel, got shape {tuple(image.shape)}")
    if not low <= high or tile < 1:
        raise ValueError(f"got low {low}, high {high} and tile {tile}; low must not exceed high, tile is at least 1")
    if dtype not in TILES:
        raise ValueError(f"tiles can not be {dtype}; choose torch.float32 or torch.bfloat16")
    images, height, width = _images(image, "image", axes=3)
    channels = image.shape[-3]
    factor, shift = (_by_channel(values, image, name) for values, name in ((scale, "scale"), (offset, "offset")))
    out = _new(image, (*image.shape[:-3], len(ys), len(xs), channels, tile, tile), dtype)
    _run(
        image,
        _kernel("gather_tiles", image.dtype, dtype),
        *(image, images, channels, height, width, ys, xs, tile, factor, shift, low, high, out),
    )
    return out


def _by_channel(values: Tensor, image: Tensor, name: str) -> Tensor:
    """One value for each channel of each image, from one for each channel of all or of each image."""
    shape = image.shape[:-2]
    if values.shape not in (shape, shape[-1:]):
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}, but the image has {shape[-1]} channels; give one value each"
        )
    return values.detach().to(image.device, torch.float32).expand(shape).contiguous()


def blend_tiles(
    tiles: Tensor, ys: list[int], xs: list[int], overlap: int, row_begin: int, row_end: int, width: int
) -> Tensor:
    tiles = _of_type(tiles, TILES, "tiles")
    if tiles.ndim < 4 or tiles.shape[-1] != tiles.shape[-2] or tiles.shape[-4:-2] != (len(ys), len(xs)):
        raise ValueError(
            f"tiles have shape {tuple(tiles.shape)}, expected [{len(ys)} {len(xs)} t t] for {len(ys)} ys and "
            f"{len(xs)} xs: one start for each row and column of square tiles"
        )
    images, tile, _ = _images(tiles, "tiles", axes=4)
    _require_covered(ys, xs, tile, overlap, row_begin, row_end, width)
    out = _new(tiles, (*tiles.shape[:-4], row_end - row_begin, width), torch.float32)
    _run(
        tiles,
        _kernel("blend_tiles", tiles.dtype),
        *(tiles, images, ys, xs, tile, overlap, row_begin, row_end, width, out),
    )
    return out


def spread_tiles(
    image: Tensor, ys: list[int], xs: list[int], tile: int, overlap: int, row_begin: int, row_end: int, width: int
) -> Tensor:
    image = _of_type(image, (torch.float32,), "image")
    images, *shape = _images(image, "image")
    if shape != [row_end - row_begin, width]:
        raise ValueError(
            f"image has shape {tuple(image.shape)}, expected rows {row_begin} to {row_end} of {width} pixels"
        )
    _require_covered(ys, xs, tile, overlap, row_begin, row_end, width)
    out = _new(image, (*image.shape[:-2], len(ys), len(xs), tile, tile), torch.float32)
    _run(image, _kernel("spread_tiles"), image, images, ys, xs, tile, overlap, row_begin, row_end, width, out)
    return out


def _require_covered(
    ys: list[int], xs: list[int], tile: int, overlap: int, row_begin: int, row_end: int, width: int
) -> None:
    """Raises ValueError for rows and columns under no tile, and what is no image or no ramp."""
    if row_begin > row_end or width < 0:
        raise ValueError(f"rows {(row_begin, row_end)} and width {width} are no image; rows are (first, last + 1)")
    for starts, begin, end, axis in ((ys, row_begin, row_end, "row"), (xs, 0, width, "column")):
        array = np.asarray(starts, np.int64)
        _tiles.blend_weights(array, tile=tile, overlap=overlap, begin=begin, end=end, axis=axis)


def _of_type(tensor: Tensor, allowed: tuple[torch.dtype, ...], name: str) -> Tensor:
    if tensor.dtype not in allowed:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise ValueError(f"{name} is {tensor.dtype}; on a GPU it must be {names}: convert with {name}.to(...)")
    return tensor.detach().contiguous()


def _images(tensor: Tensor, name: str, *, axes: int = 2) -> tuple[int, int, int]:
    """How many images of the last `axes` axes there are, and the lengths of the last two."""
    if tensor.ndim < axes:
        raise ValueError(f"{name} must have {axes} axes or, for a batch, more; got shape {tuple(tensor.shape)}")
    return math.prod(tensor.shape[:-axes]), tensor.shape[-2], tensor.shape[-1]


def _table_size(labels: Tensor, num_labels: int | None) -> int:
    """Entries of a table of the labels of one image; waits for the device to find the largest label if not given."""
    if num_labels is None:
        num_labels = max(0, int(labels.to(torch.int64).max())) if labels.numel() else 0
    images = math.prod(labels.shape[:-2])
    if num_labels < 0 or images * (num_labels + 1) >= 2**31:
        raise ValueError(
            f"labels of {images} images reach {num_labels}; on a GPU there is a table of all labels from 0 to the "
            "largest, of fewer than 2^31 in all: renumber them from 1 on, or pass tensor.cpu()"
        )
    return num_labels + 1


def _new(like: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=like.device)


def _kernel(name: str, *dtypes: torch.dtype):  # type: ignore[no-untyped-def]  # a function of the compiled module
    return getattr(_cuda, "_".join([name, *(str(dtype).removeprefix("torch.") for dtype in dtypes)]))


def _run(on: Tensor, kernel, *arguments) -> None:  # type: ignore[no-untyped-def]  # a function of the compiled module
    """Queues a kernel on the current stream of a tensor's device; tensors are passed as their addresses."""
    with torch.cuda.device(on.device):
        kernel(*(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments), _stream(on))


def _stream(tensor: Tensor) -> int:
    return torch.cuda.current_stream(tensor.device).cuda_stream
