"""Microscope images and labels from files, dataset folders, and simulated fields."""

import lazy_loader

# on first use, as __init__.pyi says: the commands' help must not wait for NumPy and SciPy
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
