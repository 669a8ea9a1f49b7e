"""The kernels as PyTorch operators: `torch.ops.dinocell.<name>`, usable under torch.compile.

They run where their tensor is, on the CPU or (`torch_cuda`) on a GPU. Leading axes number the images of a batch: the
result is that of each image by itself. CPU tensors share memory with the NumPy faces, which do all checks. Functions
here take and return tensors; starts of tiles are plain integers, so that shapes stay known to the compiler.

On a GPU work is queued on the current stream. What is said below to wait for the device can not be captured in a CUDA
graph; all else can.
"""

from dinocell_kernels.torch_ops.labels import (
    connected_components,
    distance_map,
    label_overlap,
    relabel,
    remove_small,
)
from dinocell_kernels.torch_ops.tiles import blend_tiles, gather_tiles
from dinocell_kernels.torch_ops.watershed import queue_watershed, settle_watershed, watershed

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
