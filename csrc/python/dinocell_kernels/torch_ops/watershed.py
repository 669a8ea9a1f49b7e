"""The watershed of distance maps as PyTorch operators."""

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from dinocell_kernels import torch_cuda
from dinocell_kernels import watershed as _watershed
from dinocell_kernels.torch_ops.batches import MAY_WAIT, as_array, of_each
from dinocell_kernels.watershed import FILL, PEAK


def watershed(
    distance_map: Float[Tensor, "*batch y x"],
    *,
    peak: float = PEAK,
    fill: float = FILL,
    prominence: float | None = None,
) -> Int32[Tensor, "*batch y x"]:
    """As `dinocell_kernels.watershed`; bfloat16 is widened.

    On a GPU, maps are float32 or narrower, labels are those of the CPU, and the call waits for the device. Components
    whose labels depend on ties (most of them in maps of 8 or 16 bits, few in float32) are copied to the CPU, flooded
    there and written back.
    """
    torch_cuda.require_kernels(distance_map)
    return torch.ops.dinocell.watershed(distance_map, peak, fill, prominence)


def queue_watershed(
    distance_map: Float[Tensor, "*batch y x"],
    *,
    peak: float = PEAK,
    fill: float = FILL,
    prominence: float | None = None,
) -> tuple[Int32[Tensor, "*batch y x"], Int32[Tensor, "3 *batch"]]:
    """The part of `watershed` that does not wait for the device: labels so far and their status, left on the device.

    The status is, for each image, the number of markers, the number of components left open, and whether the map holds
    NaN. If the last two are 0, labels are those of `watershed`; otherwise `settle_watershed` completes them. Open
    pixels hold codes below 0. On the CPU nothing is left open, and NaN is refused at once.
    """
    torch_cuda.require_kernels(distance_map)
    return torch.ops.dinocell.queue_watershed(distance_map, peak, fill, prominence)


def settle_watershed(
    distance_map: Float[Tensor, "*batch y x"],
    labels: Int32[Tensor, "*batch y x"],
    status: Int32[Tensor, "3 *batch"],
) -> Int32[Tensor, "*batch y x"]:
    """Labels of `watershed` from the result of `queue_watershed` for the same map; waits for the device.

    Returns `labels` itself if nothing was left open. Raises ValueError if the map holds NaN.
    """
    return torch_cuda.settle_watershed(distance_map, labels, status)


@torch.library.custom_op("dinocell::watershed", mutates_args=(), device_types="cpu", tags=MAY_WAIT)
def _watershed_op(distance_map: Tensor, peak: float, fill: float, prominence: float | None = None) -> Tensor:
    return of_each(
        lambda heights: _watershed(heights, peak=peak, fill=fill, prominence=prominence), as_array(distance_map), axes=2
    )


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


_queue_watershed_op.register_kernel("cuda")(torch_cuda.queue_watershed)
_watershed_op.register_kernel("cuda")(torch_cuda.watershed)
