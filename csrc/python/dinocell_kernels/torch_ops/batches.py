"""What the operators share: functions of one image for a batch of them on the CPU, and a tag."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

MAY_WAIT = (torch.Tag.cudagraph_unsafe,)  # torch.compile does not capture operators that may wait for the device


def as_array(tensor: Tensor) -> np.ndarray:
    """The tensor's memory; bfloat16, which NumPy lacks, is widened."""
    exact = tensor.detach()
    return (exact.float() if exact.dtype == torch.bfloat16 else exact).numpy()


def of_each(function: Callable[[np.ndarray], np.ndarray], images: np.ndarray, *, axes: int) -> Tensor:
    """Apply `function` to each image of a batch; an image is the last `axes` axes."""
    if images.ndim <= axes:
        return torch.from_numpy(function(images))
    batch = images.shape[:-axes]
    results = [function(images[at]) for at in np.ndindex(batch)]
    like = results[0] if results else function(np.zeros(images.shape[-axes:], images.dtype))
    return torch.from_numpy(np.array(results, like.dtype).reshape(*batch, *like.shape))


def labels_and_counts(
    function: Callable[[np.ndarray], tuple[np.ndarray, int]], images: Tensor
) -> tuple[Tensor, Tensor]:
    """Labels of each image of a batch, and their numbers."""
    counts: list[int] = []

    def labels_of(image: np.ndarray) -> np.ndarray:
        labels, count = function(image)
        counts.append(count)
        return labels

    labels, batch = of_each(labels_of, images.numpy(), axes=2), images.shape[:-2]
    return labels, torch.tensor(counts[: batch.numel()], dtype=torch.int64).reshape(batch)


def fake_labels(images: Tensor) -> tuple[Tensor, Tensor]:
    return images.new_empty(images.shape, dtype=torch.int32), images.new_empty(images.shape[:-2], dtype=torch.int64)
