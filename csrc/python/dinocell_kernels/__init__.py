"""Kernels for cell images: distance maps, components, watershed, tiles, labels. NumPy in, NumPy out."""

from dinocell_kernels.build_info import build_info
from dinocell_kernels.connected_components import connected_components
from dinocell_kernels.distance_map import distance_map
from dinocell_kernels.label_overlap import Overlap, label_overlap
from dinocell_kernels.prominent_maxima import prominent_maxima
from dinocell_kernels.relabel import relabel, remove_small
from dinocell_kernels.tiles import blend_tiles, gather_tiles
from dinocell_kernels.watershed import heap_watershed, marker_watershed, watershed

__all__ = [
    "Overlap",
    "blend_tiles",
    "build_info",
    "connected_components",
    "distance_map",
    "gather_tiles",
    "heap_watershed",
    "label_overlap",
    "marker_watershed",
    "prominent_maxima",
    "relabel",
    "remove_small",
    "watershed",
]
