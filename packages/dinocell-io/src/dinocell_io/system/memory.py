"""Arrays that the machine can hold: what a damaged or hostile header claims is checked before it is allocated."""

import numpy as np
from jaxtyping import Shaped

from dinocell_io.system.image_file_error import ImageFileError
from dinocell_io.system.machine_limits import total_memory_bytes

# deflate packs at most 1032 to 1, LZW less than 1500; only run lengths of zstd, JPEG XL and their like do better
_MAX_RATIO = {"deflate": 1100, "lzw": 1500, "any": 1 << 20}


def empty_planes(uri: str, shape: tuple[int, ...], dtype: np.dtype) -> Shaped[np.ndarray, "..."]:
    """An uninitialised array, or ValueError if it is larger than the memory of this machine or container."""
    check_memory(uri, int(np.prod(shape, dtype=object)) * dtype.itemsize)
    return np.empty(shape, dtype)


def check_memory(uri: str, num_bytes: int) -> None:
    """Raise ValueError if `num_bytes` are more than the memory of this machine or container."""
    available = total_memory_bytes()
    if num_bytes > available:
        raise ImageFileError(
            f"{uri} needs {num_bytes / 1e9:.1f} GB as an array and this process may use {available / 1e9:.1f} GB of "
            "memory; read regions of it with open_image(...).read(region), or a smaller level"
        )


def check_ratio(uri: str, *, stored: int, claimed: int, packed: str = "any") -> None:
    """Raise ValueError if `stored` bytes cannot hold `claimed` bytes of pixels, however they are packed."""
    if claimed > stored * _MAX_RATIO[packed] + (1 << 16):
        raise ImageFileError(
            f"{uri} says it holds {claimed} bytes of pixels in {stored} bytes, which no file of its format can; "
            "it is damaged, copy or export it again"
        )
