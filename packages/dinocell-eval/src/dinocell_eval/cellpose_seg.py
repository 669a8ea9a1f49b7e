"""Labels in the `_seg.npy` files of Cellpose, read without letting their pickle run anything.

Such a file is a pickled dictionary, and unpickling can call any function. This reader knows the few constructors that
arrays, numbers and paths need, and refuses a file that names any other.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

_REFUSED = "save the masks as <name>_cp_masks.tif instead (Cellpose: --save_tif, or File > Save masks as PNG/tif)"


def read_cellpose_seg(path: str | Path) -> Integer[np.ndarray, "y x"]:
    """The `masks` of a Cellpose `_seg.npy` file as they are stored.

    Raises ValueError for a file that is no such dictionary, that holds anything but arrays, plain values and paths, or
    whose masks are not a plane of whole numbers. Nothing the file names is ever imported or called but NumPy's
    constructors of arrays, dtypes and scalars.
    """
    with Path(path).open("rb") as file:
        content = _read_object(file, path)
    if not isinstance(content, dict) or "masks" not in content:
        raise ValueError(f"{path} holds no dictionary with masks, expected what Cellpose saves; {_REFUSED}")
    masks = np.asarray(content["masks"])
    while masks.ndim > 2 and masks.shape[0] == 1:
        masks = masks[0]
    if masks.dtype.kind not in "ui" or masks.ndim != 2:
        raise ValueError(
            f"{path}: its masks are {masks.dtype} of shape {masks.shape}, expected one plane [y x] of integers"
        )
    return masks


def _read_object(file: Any, path: str | Path) -> object:
    """The object in a npy file of one pickled object."""
    try:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
    except ValueError as error:
        raise ValueError(f"{path} is no npy file ({error}); {_REFUSED}") from error
    if not dtype.hasobject or shape != ():
        raise ValueError(
            f"{path} holds an array {dtype} of shape {shape}, expected the dictionary that Cellpose saves; "
            "rename a plain label array to <name>.npy"
        )
    try:
        array = _Unpickler(file).load()
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: {error}; {_REFUSED}") from error
    except (EOFError, IndexError, KeyError, AttributeError, TypeError, ValueError, MemoryError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); {_REFUSED}") from error
    return array.item() if isinstance(array, np.ndarray) and array.shape == () else array


def _reconstruct(kind: type, shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """An empty array, which the pickle fills; no other class than ndarray."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f"it makes an array of type {kind!r}")
    return np.ndarray.__new__(np.ndarray, shape, np.dtype("b"))


def _scalar(dtype: np.dtype, data: object = None) -> object:
    """A NumPy number from its bytes; objects in disguise are refused."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(data, bytes):
        raise pickle.UnpicklingError("it holds a NumPy scalar that is no number")
    return np.frombuffer(data, dtype, count=1)[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How old protocols write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding}")
    return text.encode("latin1")


def _path(*parts: str) -> str:
    return "/".join(str(part) for part in parts)


_CONSTRUCTORS: dict[tuple[str, str], object] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{
        ("pathlib", name): _path
        for name in ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    },
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that finds nothing but the constructors above."""

    def find_class(self, module: str, name: str) -> Any:
        found = _CONSTRUCTORS.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"its pickle asks for {module}.{name}, which could run code and is refused")
        return found
