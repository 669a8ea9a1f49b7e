"""Arrays saved by NumPy: one plane, or channels, without any word on what they are."""

import io
import math
import tokenize

import numpy as np
from jaxtyping import Shaped
from numpy.lib import format as npy_format

from dinocell_io.images.damage import DAMAGE
from dinocell_io.images.image import numbered_channels
from dinocell_io.images.lazy_image import LazyImage
from dinocell_io.images.scenes import chosen_scene
from dinocell_io.images.stack_image import stack_image
from dinocell_io.stores.store import StoreError
from dinocell_io.stores.stored_file import StoredFile
from dinocell_io.system.image_file_error import ImageFileError
from dinocell_io.system.memory import check_memory

_HEADER_BYTES = 1 << 16
_MAP_FROM_BYTES = 1 << 26
MAX_PLANES_AS_CHANNELS = 16


def open_npy_image(file: StoredFile, scene: str | int | None = None) -> LazyImage:
    """An array [y x], or [channel y x] of at most 16 channels; see `open_image`.

    An npy file names no axes, so what could be read in two ways is refused: [y x 3] colour (move its axis to the
    front), more than 16 planes, four axes. Reads only the rows of a region. Pickled arrays are never loaded: they
    could run code.
    """
    chosen_scene(file.uri, ("array",), scene)
    shape, dtype, offset, fortran = read_npy_header(file)
    if fortran and len(shape) > 1:
        raise ImageFileError(
            f"{file.uri} is stored in Fortran order; save it with numpy.save(file, numpy.ascontiguousarray(a))"
        )
    if dtype.kind not in "buif" or len(shape) not in (2, 3) or 0 in shape:
        raise ImageFileError(f"{file.uri} holds {dtype} of shape {shape}; expected numbers as [y x] or [channel y x]")
    channels, height, width = shape if len(shape) == 3 else (1, *shape)
    if channels > MAX_PLANES_AS_CHANNELS:
        raise ImageFileError(
            f"{file.uri} has the shape {shape}, which does not say what its axes are; expected [y x] or [channel y x] "
            f"with at most {MAX_PLANES_AS_CHANNELS} channels. Save one plane per file, move colours to the front "
            "(numpy.moveaxis(a, -1, 0)), or write an OME-TIFF"
        )

    def read_planes(
        chosen: tuple[int, ...], z: int, t: int, level: int, rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "channel y x"]:
        row_bytes = width * dtype.itemsize
        total = len(chosen) * (rows.stop - rows.start) * row_bytes
        if file.path is not None and total >= _MAP_FROM_BYTES:
            mapped = np.memmap(file.path, dtype=dtype, mode="c", offset=offset, shape=(channels, height, width))
            part = mapped[list(chosen) if len(chosen) < channels else slice(None), rows, columns]
            if chosen == tuple(range(channels)) and part.flags.c_contiguous and dtype.isnative:
                return part
            return np.ascontiguousarray(mapped[list(chosen), rows, columns], dtype.newbyteorder("="))
        check_memory(file.uri, total)
        planes = []
        for channel in chosen:
            start = offset + (channel * height + rows.start) * row_bytes
            content = file.read(start, start + (rows.stop - rows.start) * row_bytes)
            planes.append(np.frombuffer(content, dtype).reshape(-1, width)[:, columns])
        return np.stack(planes).astype(dtype.newbyteorder("="), copy=False)

    sizes = {"c": channels, "y": height, "x": width}
    return stack_image(file.uri, sizes, dtype=dtype, channels=numbered_channels(channels), read_planes=read_planes)


def read_npy_header(file: StoredFile) -> tuple[tuple[int, ...], np.dtype, int, bool]:
    """Shape, dtype, where the numbers begin, and whether they are in Fortran order; ValueError for other files."""
    try:
        start = io.BytesIO(file.read(0, min(file.size, _HEADER_BYTES)))
        version = npy_format.read_magic(start)
        read_header = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
        if version not in read_header:
            raise ValueError(f"version {version[0]}.{version[1]} of the format holds no plain numbers")
        shape, fortran, dtype = read_header[version](start)
        if dtype.hasobject:
            raise ValueError("it is pickled, and a pickle could run code")
        end = start.tell() + math.prod(shape) * dtype.itemsize
        if min(shape, default=1) < 0 or end > file.size:
            raise ValueError(f"its numbers reach to byte {end} of {file.size}")
    except (*DAMAGE, tokenize.TokenError) as error:  # NumPy parses the header as Python
        if isinstance(error, StoreError):
            raise
        raise ImageFileError(
            f"{file.uri} cannot be read as a plain npy array ({error}); it is damaged or pickled. "
            "Save the array itself with numpy.save"
        ) from error
    return tuple(shape), dtype, start.tell(), bool(fortran)
