"""Kernels for cell images: distance maps, components, watershed, tiles, labels. NumPy in, NumPy out."""

from dinocell_kernels._native import build_info
from dinocell_kernels.distance_map import distance_map

__all__ = ["build_info", "distance_map"]
