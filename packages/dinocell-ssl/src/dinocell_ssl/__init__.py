"""Self-supervised pretraining of the DINOCell backbone on multi-channel microscopy."""

import lazy_loader

# on first use, as __init__.pyi says: the commands' help must not wait for torch
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
