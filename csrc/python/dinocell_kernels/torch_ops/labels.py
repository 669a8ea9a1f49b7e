"""Distance maps, components and label arithmetic as PyTorch operators."""

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64, Integer, Shaped
from torch import Tensor

from dinocell_kernels import connected_components as _connected_components
from dinocell_kernels import distance_map as _distance_map
from dinocell_kernels import label_overlap as _count_overlap
from dinocell_kernels import relabel as _relabel_labels
from dinocell_kernels import remove_small as _remove_small_labels
from dinocell_kernels import torch_cuda
from dinocell_kernels.torch_ops.batches import MAY_WAIT, fake_labels, labels_and_counts, of_each


def distance_map(
    labels: Integer[Tensor, "*batch y x"],
    *,
    normalize: bool = True,
    border_is_background: bool = False,
    num_labels: int | None = None,
) -> Float32[Tensor, "*batch y x"]:
    """As `dinocell_kernels.distance_map`.

    On a GPU, labels are uint16, int32 or int64, sides at most 65,534 and diagonals below 65,536 pixels, and negative
    labels become NaN. `num_labels` is the largest label there. Without it the call waits for the device to find the
    largest, unless `normalize` is false; with it, larger labels become NaN.
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

    On a GPU, labels are uint16, int32 or int64 from 0 to `num_labels`, and others become 0. Without `num_labels` the
    call waits for the device to find the largest.
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

    Tensors of any shape are one image. On a GPU, labels are uint16, int32 or int64 within 32 bits, and the call waits
    for the device to count the pairs.
    """
    torch_cuda.require_kernels(truth)
    if truth.shape != predicted.shape or truth.device != predicted.device:
        raise ValueError(
            f"truth is {tuple(truth.shape)} on {truth.device} and predicted {tuple(predicted.shape)} on "
            f"{predicted.device}; both must label the same pixels on one device"
        )
    return torch.ops.dinocell.label_overlap(truth, predicted)


@torch.library.custom_op("dinocell::distance_map", mutates_args=(), device_types="cpu", tags=MAY_WAIT)
def _distance_map_op(
    labels: Tensor, normalize: bool, border_is_background: bool, num_labels: int | None = None
) -> Tensor:
    def distances(image: np.ndarray) -> np.ndarray:
        return _distance_map(image, normalize=normalize, border_is_background=border_is_background)

    return of_each(distances, labels.numpy(), axes=2)


@_distance_map_op.register_fake
def _(labels: Tensor, normalize: bool, border_is_background: bool, num_labels: int | None = None) -> Tensor:
    return labels.new_empty(labels.shape, dtype=torch.float32)


@torch.library.custom_op("dinocell::connected_components", mutates_args=(), device_types="cpu")
def _connected_components_op(mask: Tensor, connectivity: int) -> tuple[Tensor, Tensor]:
    return labels_and_counts(lambda image: _connected_components(image, connectivity=connectivity), mask)


@_connected_components_op.register_fake
def _(mask: Tensor, connectivity: int) -> tuple[Tensor, Tensor]:
    return fake_labels(mask)


@torch.library.custom_op("dinocell::relabel", mutates_args=(), device_types="cpu", tags=MAY_WAIT)
def _relabel_op(labels: Tensor, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    return labels_and_counts(_relabel_labels, labels)


@_relabel_op.register_fake
def _(labels: Tensor, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    return fake_labels(labels)


@torch.library.custom_op("dinocell::remove_small", mutates_args=(), device_types="cpu", tags=MAY_WAIT)
def _remove_small_op(labels: Tensor, min_size: int, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    return labels_and_counts(lambda image: _remove_small_labels(image, min_size=min_size), labels)


@_remove_small_op.register_fake
def _(labels: Tensor, min_size: int, num_labels: int | None = None) -> tuple[Tensor, Tensor]:
    return fake_labels(labels)


@torch.library.custom_op("dinocell::label_overlap", mutates_args=(), device_types="cpu", tags=MAY_WAIT)
def _label_overlap_op(truth: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    overlap = _count_overlap(truth.numpy(), predicted.numpy())
    return torch.from_numpy(overlap.truth), torch.from_numpy(overlap.predicted), torch.from_numpy(overlap.pixels)


@_label_overlap_op.register_fake
def _(truth: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    num_pairs = torch.library.get_ctx().new_dynamic_size()
    return tuple(truth.new_empty((num_pairs,), dtype=torch.int64) for _ in range(3))  # type: ignore[return-value]


_connected_components_op.register_kernel("cuda")(torch_cuda.connected_components)
_distance_map_op.register_kernel("cuda")(torch_cuda.distance_map)
_label_overlap_op.register_kernel("cuda")(torch_cuda.label_overlap)
_relabel_op.register_kernel("cuda")(torch_cuda.relabel)
_remove_small_op.register_kernel("cuda")(torch_cuda.remove_small)
