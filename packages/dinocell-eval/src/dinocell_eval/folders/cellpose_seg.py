"""Labels in the `_seg.npy` files of Cellpose, read without letting their pickle run code.

Such a file is a pickled dictionary, and unpickling can call any function. This reader knows the few constructors that
arrays, numbers and paths need, and refuses a file that names any other. Arrays and types are rebuilt here from their
bytes, because NumPy's own constructors trust what a pickle says about the memory of an array.
"""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

_REFUSED = "save the masks as <name>_cp_masks.tif instead (Cellpose: --save_tif, or File > Save masks as PNG/tif)"


def read_cellpose_seg(path: str | Path) -> Integer[np.ndarray, "y x"]:
    """The `masks` of a Cellpose `_seg.npy` file as they are stored.

    Raises ValueError for a file that is not such a dictionary, that holds anything other than arrays, plain values and
    paths, or whose masks are not a plane of whole numbers. Nothing that the file names is ever imported or called.
    """
    with Path(path).open("rb") as file:
        content = _read_object(file, path)
    if not isinstance(content, dict) or "masks" not in content:
        raise ValueError(f"{path} does not hold a dictionary with masks, as Cellpose saves it; {_REFUSED}")
    stored = content["masks"]
    masks = np.asarray(stored.numbers if isinstance(stored, _Array) else stored)
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
        raise ValueError(f"{path} is not an npy file ({error}); {_REFUSED}") from error
    if not dtype.hasobject or shape != ():
        raise ValueError(
            f"{path} holds an array {dtype} of shape {shape}, expected the dictionary that Cellpose saves; "
            "rename a plain label array to <name>.npy"
        )
    try:
        array = _Unpickler(file).load()
        if not isinstance(array, _Array) or len(array.objects) != 1:
            raise pickle.UnpicklingError("it does not hold a single object")
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: {error}; {_REFUSED}") from error
    except (EOFError, LookupError, AttributeError, TypeError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); {_REFUSED}") from error
    return array.objects[0]


class _Type:
    """A dtype of plain numbers or text, or of objects, from its name and byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    @property
    def holds_objects(self) -> bool:
        return self.code in ("O", "O8", "O4")

    def dtype(self) -> np.dtype:
        if not isinstance(self.code, str) or not re.fullmatch(r"[biufcSU]\d+", self.code):
            raise pickle.UnpicklingError(f"it holds an array of type {self.code!r}")
        return np.dtype(("" if self.order == "|" else self.order) + self.code)


class _Array:
    """An array: its numbers, or its list of objects."""

    __slots__ = ("numbers", "objects")

    def __init__(self) -> None:
        self.numbers: Any = None
        self.objects: list[Any] = []

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        if not isinstance(kind, _Type):
            raise pickle.UnpicklingError("it holds an array without a type")
        if kind.holds_objects:
            if not isinstance(content, list):
                raise pickle.UnpicklingError("it holds an array of objects from bytes")
            self.objects = content
        else:
            self.numbers = np.frombuffer(content, kind.dtype()).reshape(shape, order="F" if fortran else "C")


class _Constructor:
    """A function that a pickle may call but not change."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function

    def __call__(self, *arguments: object) -> object:
        return self.function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes a constructor")


def _no_call(*_: object) -> object:
    raise pickle.UnpicklingError("it makes an array without its contents")


def _reconstruct(kind: object, *_: object) -> _Array:
    """An empty array, which the pickle fills; only of the class ndarray."""
    if kind is not _NDARRAY:
        raise pickle.UnpicklingError(f"it makes an array of type {kind!r}")
    return _Array()


def _scalar(kind: object, content: object = None) -> object:
    """A NumPy number from its bytes; objects in disguise are refused."""
    if not isinstance(kind, _Type) or kind.holds_objects or not isinstance(content, bytes):
        raise pickle.UnpicklingError("it holds a NumPy scalar that is not a number")
    return np.frombuffer(content, kind.dtype(), count=1)[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How old protocols write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding}")
    return text.encode("latin1")


def _path(*parts: object) -> str:
    return "/".join(str(part) for part in parts)


_NDARRAY = _Constructor(_no_call)
_CONSTRUCTORS = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Constructor(_Type),
    ("_codecs", "encode"): _Constructor(_encode),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Constructor(_reconstruct) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Constructor(_scalar) for core in ("core", "_core")},
    **{
        (module, name): _Constructor(_path)
        for module in ("pathlib", "pathlib._local")  # the second is what Python 3.13 writes
        for name in ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    },
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that finds only the constructors above."""

    def find_class(self, module: str, name: str) -> Any:
        found = _CONSTRUCTORS.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"its pickle asks for {module}.{name}, which could run code and is refused")
        return found
