"""Checks of the arguments that several kernels take."""

import math

import numpy as np
from jaxtyping import Integer, Shaped

_WIDER = {"u1": "u2", "i1": "i4", "i2": "i4", "u4": "i8", "u8": "i8"}


def kernel_labels(labels: Shaped[np.ndarray, "..."], *, name: str = "labels") -> Integer[np.ndarray, "..."]:
    """`labels` in row-major uint16, int32 or int64, the types the kernels are compiled for.

    Other integers are widened, never narrowed; a copy is made only if type or memory order differ.
    """
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold integers, got {labels.dtype}; convert with {name}.astype(numpy.int32)")
    if labels.dtype == np.uint64 and labels.size and int(labels.max()) > np.iinfo(np.int64).max:
        raise ValueError(
            f"{name} hold {int(labels.max())}, but labels must be below 2**63; renumber them first, "
            "for example with numpy.unique(..., return_inverse=True)"
        )
    kind = labels.dtype.kind + str(labels.dtype.itemsize)
    return np.ascontiguousarray(labels, dtype=np.dtype(_WIDER.get(kind, kind)))


def require_2d(array: Shaped[np.ndarray, "..."], *, name: str) -> None:
    """Refuse arrays that are not [y x]."""
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be 2-D [y x], got shape {array.shape}; pass one plane at a time, for example {name}[0]"
        )


def require_connectivity(connectivity: int) -> None:
    """Refuse values other than 1 and 2."""
    if connectivity not in (1, 2):
        raise ValueError(f"connectivity must be 1 (four neighbours) or 2 (eight neighbours), got {connectivity}")


def thread_count(num_threads: int | None) -> int:
    """The number of threads to pass to a kernel; 0 lets the kernel choose."""
    if num_threads is None:
        return 0
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, got {num_threads}; pass None to let the image's size decide")
    return int(num_threads)


def native_order(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """`array` in this machine's byte order (files are often big-endian)."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def result_array(
    out: Shaped[np.ndarray, "..."] | None,
    shape: tuple[int, ...],
    source: Shaped[np.ndarray, "..."],
    *,
    dtype: np.dtype,
) -> Shaped[np.ndarray, "..."]:
    """`out` if it can take the result, or a new array that begins at a cache line.

    Large results are written past the caches, which takes half as long again where two rows share a cache line.
    """
    if out is None:
        size = math.prod(shape) * dtype.itemsize
        memory = np.empty(size + 64, np.uint8)
        begin = -memory.__array_interface__["data"][0] % 64
        return memory[begin : begin + size].view(dtype).reshape(shape)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(
            f"out must be a writeable row-major {dtype} array of shape {shape}, got {out.dtype} {out.shape}; "
            f"make it with numpy.empty({shape}, numpy.{dtype})"
        )
    if np.may_share_memory(out, source):
        raise ValueError("out shares memory with the input; pass a separate array for the result")
    return out
