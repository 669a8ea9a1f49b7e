"""Where the work around the network is done: on the network's device if it has kernels, otherwise on the CPU."""

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from dinocell_kernels import torch_cuda

BYTES_A_PIXEL = 56  # of an image, its map and labels, and what the watershed needs


def kernel_device(device: str | torch.device, *, num_pixels: int) -> torch.device:
    """`device` itself if it is a GPU that the kernels of dinocell-kernels run on, else the CPU.

    The CPU as well for an image that would take more than half of the GPU's memory, or has 2^31 pixels: then tiles
    alone go to the GPU.
    """
    wanted = torch.device(device)
    if wanted.type != "cuda" or not torch_cuda.has_kernels(wanted):
        return torch.device("cpu")
    memory = torch.cuda.get_device_properties(wanted).total_memory
    fits = num_pixels < 2**31 and 2 * BYTES_A_PIXEL * num_pixels <= memory
    return wanted if fits else torch.device("cpu")


def as_tensor(array: Shaped[np.ndarray, "..."], device: torch.device) -> Shaped[Tensor, "..."]:
    """The array on a device; on the CPU it shares the array's memory, of which only read-only ones are copied."""
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)
