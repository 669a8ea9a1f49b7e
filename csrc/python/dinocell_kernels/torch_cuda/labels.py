"""Distance maps, components and label arithmetic on a GPU."""

import torch
from torch import Tensor

from dinocell_kernels.arguments import require_connectivity
from dinocell_kernels.torch_cuda.device import LABELS, image_sizes, kernel_of, new, of_type, queue, table_size


def distance_map(labels: Tensor, normalize: bool, border_is_background: bool, num_labels: int | None = None) -> Tensor:
    """Waits for the device if num_labels is None and maps are normalised."""
    labels = of_type(labels, LABELS, "labels")
    images, height, width = image_sizes(labels, "labels")
    size = table_size(labels, num_labels) if normalize else 1
    table = new(labels, (images * size,), torch.int32)
    out, runs = new(labels, labels.shape, torch.float32), new(labels, labels.shape, torch.int16)
    queue(
        labels,
        kernel_of("distance_map", labels.dtype),
        *(labels, images, height, width, size - 1, border_is_background, out, runs, table if normalize else 0),
    )
    return out


def connected_components(mask: Tensor, connectivity: int) -> tuple[Tensor, Tensor]:
    require_connectivity(connectivity)
    if mask.dtype.is_floating_point or mask.dtype.is_complex:
        raise ValueError(f"mask must hold booleans or integers, got {mask.dtype}; threshold it, for example mask > 0")
    foreground = mask.to(torch.bool).contiguous()
    images, height, width = image_sizes(mask, "mask")
    labels, counts = new(mask, mask.shape, torch.int32), new(mask, mask.shape[:-2], torch.int32)
    scratch = new(mask, (kernel_of("connected_components_scratch")(images, height, width),), torch.int32)
    queue(
        mask,
        kernel_of("connected_components"),
        *(foreground, images, height, width, connectivity, labels, scratch, counts),
    )
    return labels, counts.to(torch.int64)


def relabel(labels: Tensor, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    """Waits for the device if num_labels is None."""
    return _relabelled("relabel", labels, num_labels)


def remove_small(labels: Tensor, min_size: int, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    """Waits for the device if num_labels is None."""
    if min_size < 0:
        raise ValueError(f"min_size is a number of pixels and must not be negative, got {min_size}")
    return _relabelled("remove_small", labels, num_labels, min_size)


def _relabelled(name: str, labels: Tensor, num_labels: int | None, *arguments: int) -> tuple[Tensor, Tensor]:
    labels = of_type(labels, LABELS, "labels")
    images, height, width = image_sizes(labels, "labels")
    largest = table_size(labels, num_labels) - 1
    result, counts = new(labels, labels.shape, torch.int32), new(labels, labels.shape[:-2], torch.int32)
    scratch = new(labels, (kernel_of("relabel_scratch")(images, height * width, largest),), torch.int32)
    queue(
        labels,
        kernel_of(name, labels.dtype),
        *(labels, images, height * width, largest, *arguments, result, scratch, counts),
    )
    return result, counts.to(torch.int64)


def label_overlap(truth: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Waits for the device to count the pairs, and once more for each table that was too small."""
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
    """Pairs as signed keys with the same order, unsorted, and their pixels; whether the table was large enough."""
    if truth.numel() >= 2**31:
        raise ValueError(f"got {truth.numel()} pixels; a GPU call takes fewer than 2^31: process the image in parts")
    keys, pixels = (new(truth, (capacity + 1,), torch.int64) for _ in range(2))
    status = new(truth, (2,), torch.int32)
    scratch = new(truth, (kernel_of("label_overlap_scratch")(capacity),), torch.int32)
    queue(
        truth,
        kernel_of("label_overlap", truth.dtype),
        *(truth, predicted, truth.numel(), capacity, keys, pixels, scratch, status),
    )
    count, overflowed = status.tolist()
    return keys[:count] ^ torch.iinfo(torch.int64).min, pixels[:count], not overflowed


def _same_labels(truth: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one of the kernel's types; labels beyond 32 bits are refused, so 64-bit labels are read to check them."""
    truth, predicted = of_type(truth, LABELS, "truth"), of_type(predicted, LABELS, "predicted")
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
