"""Nikon ND2, by the library nd2 (BSD-3)."""

import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dinocell_io.formats.extras import path_on_this_machine, required
from dinocell_io.images.damage import damage_named
from dinocell_io.images.image import RGB_CHANNELS, numbered_channels
from dinocell_io.images.lazy_image import LazyImage
from dinocell_io.images.scenes import chosen_scene
from dinocell_io.images.stack_image import stack_image
from dinocell_io.stores.stored_file import StoredFile
from dinocell_io.system.image_file_error import ImageFileError

_CHUNK_MAGIC, _LOCATION, _ENTRY = b"\xda\xce\xbe\x0a", struct.Struct("<32sQ"), struct.Struct("<QQ")
_FRAME_HEADER_BYTES = 4096


def open_nd2_image(file: StoredFile, scene: str | int | None = None) -> LazyImage:
    """One position of an ND2 file; see `open_image`. Frames are read whole; the file is opened at every read.

    Colour is stored as blue, green and red, whatever the library calls it. Frames that are not in the file, as
    those after an acquisition was stopped, are refused.
    """
    nd2: Any = required("nd2", extra="nd2", file=file)
    path = path_on_this_machine(file)
    with damage_named(file.uri, "ND2"), nd2.ND2File(path) as opened:
        sizes = dict(opened.sizes)
        dtype = np.dtype(opened.dtype).newbyteorder("=")
        planes = list(opened.metadata.channels or [])
        channels = [str(plane.channel.name) for plane in planes]
        pixel_size_um = _pixel_size_um(planes[0].volume) if planes else None
    unknown = [f"{axis}={size}" for axis, size in sizes.items() if axis not in "PTZCYXS" and size > 1]
    if unknown or "Y" not in sizes or "X" not in sizes:
        raise ImageFileError(f"{file.uri} has the axes {sizes}; expected P, T, Z, C, Y, X. Save one of each per file")
    names = tuple(str(number) for number in range(sizes.get("P", 1)))
    position = chosen_scene(file.uri, names, scene)
    is_rgb = sizes.get("S", 1) == 3
    if sizes.get("S", 1) not in (1, 3) or (is_rgb and sizes.get("C", 1) > 1):
        raise ImageFileError(
            f"{file.uri} holds {sizes.get('S')} samples in {sizes.get('C', 1)} channels, expected grey or RGB"
        )
    count = 3 if is_rgb else sizes.get("C", 1)
    named = len(channels) == count and all(channels)

    def read_planes(
        chosen: tuple[int, ...], z: int, t: int, level: int, rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "channel y x"]:
        place, index = {"P": position, "T": t, "Z": z}, 0
        for axis, size in sizes.items():
            if axis not in "CYXS":
                index = index * size + place.get(axis, 0)
        with damage_named(file.uri, "ND2"), nd2.ND2File(path) as opened:
            frame = _frame(opened, index, sizes)
            if not frame.any():
                stored = 1 if opened.attributes.compressionType == "lossless" else frame.nbytes
                _check_stored(file, path, index, stored)
            by_channel = np.moveaxis(frame[0, :, :, ::-1], 2, 0) if is_rgb else frame[..., 0]
            return np.array(by_channel[list(chosen), rows, columns], dtype, order="C")

    return stack_image(
        file.uri,
        {**{axis.lower(): size for axis, size in sizes.items()}, "c": count},
        dtype=dtype,
        channels=RGB_CHANNELS if is_rgb else tuple(channels) if named else numbered_channels(count),
        is_rgb=is_rgb,
        pixel_size_um=pixel_size_um,
        read_planes=read_planes,
        scenes=names,
        scene=position,
    )


def _frame(opened: Any, index: int, sizes: Mapping[str, int]) -> Shaped[np.ndarray, "channel y x sample"]:
    frame = np.asarray(opened.read_frame(index))
    shape = tuple(sizes.get(axis, 1) for axis in "CYXS")
    if frame.shape != tuple(size for size in shape if size > 1):  # the library drops axes of length 1
        raise ValueError(f"its frame {index} has the shape {frame.shape}, expected {shape}")
    return frame.reshape(shape)


def _check_stored(file: StoredFile, path: Path, index: int, num_bytes: int) -> None:
    """Raise ValueError unless the file's table of contents has the frame; for one that it lacks, nd2 gives zeros."""
    with path.open("rb") as opened:
        if opened.read(4) != _CHUNK_MAGIC:  # the format before 2007, in which frames are found otherwise
            return
        opened.seek(-_LOCATION.size, os.SEEK_END)
        _, start = _LOCATION.unpack(opened.read(_LOCATION.size))
        opened.seek(start)
        table = opened.read()
    name = b"ImageDataSeq|%d!" % index
    entry = table.find(name)
    position = 0 if entry < 0 else _ENTRY.unpack_from(table, entry + len(name))[0]
    if entry < 0 or position + _FRAME_HEADER_BYTES + num_bytes > file.size:
        raise ImageFileError(
            f"{file.uri} lacks frame {index}; its acquisition was stopped before, or it is cut short: choose another "
            "position, z or t, or copy it again"
        )


def _pixel_size_um(volume: Any) -> float | None:
    x, y = volume.axesCalibration[:2]
    is_square = all(volume.axesCalibrated[:2]) and x > 0 and math.isfinite(x) and abs(x - y) <= 0.01 * x
    return float(x) if is_square else None
