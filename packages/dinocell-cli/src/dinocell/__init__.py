"""The dinocell command and the public names of the DINOCell packages."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dinocell_core import DINOCell, create_dinocell_model, load_model, save_model
    from dinocell_seg import DINOCellPipeline

__all__ = ["DINOCell", "DINOCellPipeline", "create_dinocell_model", "load_model", "save_model"]

_HOMES = {
    "DINOCell": "dinocell_core",
    "DINOCellPipeline": "dinocell_seg",
    "create_dinocell_model": "dinocell_core",
    "load_model": "dinocell_core",
    "save_model": "dinocell_core",
}


def __getattr__(name: str) -> Any:
    # on first use: `dinocell --help` must not wait for torch
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
