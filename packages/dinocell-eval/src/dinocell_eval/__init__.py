"""Exact and fast evaluation of cell segmentation: SEG, DET, OP_CSB, AP and more, pooled and per image."""

import lazy_loader

# on first use, as __init__.pyi says: the commands' help must not wait for NumPy and SciPy
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
