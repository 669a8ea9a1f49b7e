"""The watershed of distance maps on a GPU: a part that is queued, and a part that waits for it."""

import torch
from torch import Tensor

from dinocell_kernels.open_components import flood_open
from dinocell_kernels.torch_cuda.device import HEIGHTS, image_sizes, kernel_of, new, of_type, queue
from dinocell_kernels.watershed import require_prominence, require_thresholds


def watershed(distance_map: Tensor, peak: float, fill: float, prominence: float | None = None) -> Tensor:
    """Waits for the device."""
    return settle_watershed(distance_map, *queue_watershed(distance_map, peak, fill, prominence))


def queue_watershed(
    distance_map: Tensor, peak: float, fill: float, prominence: float | None = None
) -> tuple[Tensor, Tensor]:
    heights = of_type(distance_map, HEIGHTS, "distance_map").to(torch.float32)
    require_thresholds(peak, fill)
    if prominence is not None:
        require_prominence(prominence)
    images, height, width = image_sizes(heights, "distance_map")
    labels = new(heights, heights.shape, torch.int32)
    status = new(heights, (3, *heights.shape[:-2]), torch.int32)
    scratch = new(
        heights, (kernel_of("watershed_scratch")(images, height, width, prominence is not None),), torch.int64
    )
    queue(
        heights,
        kernel_of("watershed"),
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
