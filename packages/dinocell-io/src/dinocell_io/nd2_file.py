"""Nikon ND2, by the library nd2 (BSD-3)."""

import math
from typing import Any

import numpy as np
from jaxtyping import Shaped

from .damage import damage_named
from .extras import path_on_this_machine, required
from .image import RGB_CHANNELS, numbered_channels
from .lazy_image import LazyImage, Level
from .scenes import chosen_scene
from .stored_file import StoredFile


def open_nd2_image(file: StoredFile, scene: str | int | None = None) -> LazyImage:
    """One position of an ND2 file; see `open_image`. Frames are read whole; the file is opened at every read."""
    nd2: Any = required("nd2", extra="nd2", file=file)
    path = str(path_on_this_machine(file))
    with damage_named(file.uri, "ND2"), nd2.ND2File(path) as opened:
        sizes = dict(opened.sizes)
        dtype = np.dtype(opened.dtype).newbyteorder("=")
        channels = [str(channel.channel.name) for channel in opened.metadata.channels or []]
        voxel = opened.voxel_size()
    unknown = [f"{axis}={size}" for axis, size in sizes.items() if axis not in "PTZCYXS" and size > 1]
    if unknown or "Y" not in sizes or "X" not in sizes:
        raise ValueError(f"{file.uri} has the axes {sizes}; expected P, T, Z, C, Y, X. Save one of each per file")
    names = tuple(str(number) for number in range(sizes.get("P", 1)))
    position = chosen_scene(file.uri, names, scene)
    is_rgb = sizes.get("S", 1) == 3
    if sizes.get("S", 1) not in (1, 3) or (is_rgb and sizes.get("C", 1) > 1):
        raise ValueError(
            f"{file.uri} holds {sizes.get('S')} samples in {sizes.get('C', 1)} channels, expected grey or RGB"
        )
    count = 3 if is_rgb else sizes.get("C", 1)
    named = len(channels) == count and all(channels)
    planar = "S" if is_rgb else "C"

    def read_planes(
        chosen: tuple[int, ...], z: int, t: int, level: int, rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "channel y x"]:
        where: dict[str, Any] = {"P": position, "T": t, "Z": z, "Y": rows, "X": columns}
        order = [axis for axis in sizes if axis in (planar, "Y", "X")]
        with damage_named(file.uri, "ND2"), nd2.ND2File(path) as opened:
            index = tuple(where.get(axis, slice(None) if axis == planar else 0) for axis in sizes)
            frame = np.asarray(opened.to_dask()[index].compute())
        if planar not in order:
            frame, order = frame[None], [planar, *order]
        planes = frame.transpose([order.index(axis) for axis in (planar, "Y", "X")])
        return np.ascontiguousarray(planes[list(chosen)], dtype)

    length = {"t": sizes.get("T", 1), "z": sizes.get("Z", 1), "c": count, "y": sizes["Y"], "x": sizes["X"]}
    axes = "".join(axis for axis in "tzcyx" if axis in "cyx" or length[axis] > 1)
    is_square = voxel.x > 0 and math.isfinite(voxel.x) and abs(voxel.x - voxel.y) <= 0.01 * voxel.x
    return LazyImage(
        uri=file.uri,
        axes=axes,
        shape=tuple(length[axis] for axis in axes),
        dtype=dtype,
        channels=RGB_CHANNELS if is_rgb else tuple(channels) if named else numbered_channels(count),
        pixel_size_um=float(voxel.x) if is_square else None,
        is_rgb=is_rgb,
        levels=(Level(sizes["Y"], sizes["X"], 1.0),),
        read_planes=read_planes,
        scene=names[position] if len(names) > 1 else None,
        scenes=names if len(names) > 1 else (),
    )
