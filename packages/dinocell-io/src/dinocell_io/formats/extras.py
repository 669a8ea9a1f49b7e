"""Libraries that are installed by choice, and what to say where they are not."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from dinocell_io.stores.stored_file import StoredFile
from dinocell_io.system.image_file_error import ImageFileError


def required(module: str, *, extra: str, file: StoredFile) -> ModuleType:
    """The module, or ValueError with the command that installs it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ImageFileError(
            f"{file.uri} is read by the library {module}, which is not installed; install it with "
            f"pip install 'dinocell-io[{extra}]', or convert the file to OME-Zarr or OME-TIFF"
        ) from error


def path_on_this_machine(file: StoredFile) -> Path:
    """The path that such a library opens; ValueError for a file in a store, which it cannot."""
    if file.path is None:
        raise ImageFileError(
            f"{file.uri} is in a store, and its format is read from this machine only; copy it here first"
        )
    return file.path
