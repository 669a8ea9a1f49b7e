"""The operators of `torch_ops` for tensors on a GPU: memory from torch's allocator, work on torch's current stream.

Imported by `torch_ops`, which defines the operators and their arguments; `_cuda` exists only in builds with nvcc.
Leading axes number the images of a batch, which one call processes together. A function that waits for the device says
so in its docstring.

Arguments have the defaults of the operators' schemas, because torch leaves out arguments that equal their default.
"""

from dinocell_kernels.torch_cuda.device import has_kernels, require_kernels, why_not
from dinocell_kernels.torch_cuda.labels import (
    connected_components,
    distance_map,
    label_overlap,
    relabel,
    remove_small,
)
from dinocell_kernels.torch_cuda.sinkhorn import SinkhornMass, has_sinkhorn
from dinocell_kernels.torch_cuda.tiles import blend_tiles, gather_tiles, spread_tiles
from dinocell_kernels.torch_cuda.watershed import queue_watershed, settle_watershed, watershed

__all__ = [
    "SinkhornMass",
    "blend_tiles",
    "connected_components",
    "distance_map",
    "gather_tiles",
    "has_kernels",
    "has_sinkhorn",
    "label_overlap",
    "queue_watershed",
    "relabel",
    "remove_small",
    "require_kernels",
    "settle_watershed",
    "spread_tiles",
    "watershed",
    "why_not",
]
