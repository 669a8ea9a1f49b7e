"""The kernels as PyTorch operators: `torch.ops.dinocell.<name>`, usable under torch.compile.

They run on the device of their tensor, the CPU or (`torch_cuda`) a GPU. Leading axes number the images of a batch: the
result is that of each image by itself. CPU tensors share memory with the NumPy functions, which do all checks.
Functions here take and return tensors; starts of tiles are plain integers, so that the compiler knows the shapes.

On a GPU work is queued on the current stream. Functions that wait for the device cannot be captured in a CUDA graph;
all others can.
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
