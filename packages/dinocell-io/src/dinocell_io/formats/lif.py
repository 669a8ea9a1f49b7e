"""Leica LIF, by the library liffile (BSD-3)."""

import math
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dinocell_io.formats.extras import path_on_this_machine, required
from dinocell_io.images.damage import damage_named
from dinocell_io.images.image import RGB_CHANNELS, numbered_channels
from dinocell_io.images.lazy_image import LazyImage
from dinocell_io.images.scenes import chosen_scene, names_or_numbers
from dinocell_io.images.stack_image import stack_image
from dinocell_io.stores.stored_file import StoredFile
from dinocell_io.system.image_file_error import ImageFileError
from dinocell_io.system.memory import empty_planes


def open_lif_image(file: StoredFile, scene: str | int | None = None) -> LazyImage:
    """One image of a LIF file; see `open_image`. Frames are read whole; the file is opened at every read."""
    liffile: Any = required("liffile", extra="lif", file=file)
    path = path_on_this_machine(file)
    with damage_named(file.uri, "LIF", liffile.LifFileError), liffile.LifFile(path) as opened:
        names = names_or_numbers([str(image.name) for image in opened.images])
        if not names:
            raise ValueError("it holds no image")
        number = chosen_scene(file.uri, names, scene)
        image = opened.images[number]
        sizes, dtype = dict(image.sizes), np.dtype(image.dtype).newbyteorder("=")
        if image.memory_block.size < image.nbytes:  # the library would read on into the next part of the file
            raise ImageFileError(
                f"{file.uri} stores {image.memory_block.size} of the {image.nbytes} bytes of its image "
                f"{names[number]}, as after an acquisition that was stopped; choose another scene, or export it again"
            )
        channels = [str(name) for name in image.coords["C"]] if "C" in image.coords else []
        steps = {axis: image.coords[axis] for axis in "YX" if axis in image.coords}
    unknown = [f"{axis}={size}" for axis, size in sizes.items() if axis not in "TZCYXS" and size > 1]
    if unknown or "Y" not in sizes or "X" not in sizes:
        raise ImageFileError(
            f"{file.uri} has the axes {sizes}; expected T, Z, C, Y, X. Save one of each position per file"
        )
    inner = [axis for axis, size in sizes.items() if size > 1 and axis != "S"][-2:]
    if min(sizes["Y"], sizes["X"]) > 1 and sorted(inner) != ["X", "Y"]:
        raise ImageFileError(
            f"{file.uri} was scanned with the axes {', '.join(sizes)}: its frames are {' '.join(inner)} and not y x "
            "planes; reslice it (Fiji: Image > Stacks > Reslice), or export planes of y and x"
        )
    is_rgb = sizes.get("S", 1) == 3
    if sizes.get("S", 1) not in (1, 3) or (is_rgb and sizes.get("C", 1) > 1):
        raise ImageFileError(
            f"{file.uri} holds {sizes.get('S')} samples in {sizes.get('C', 1)} channels, expected grey or RGB"
        )
    count = 3 if is_rgb else sizes.get("C", 1)
    named = len(channels) == count and all(channels) and len(set(channels)) == count

    def read_planes(
        chosen: tuple[int, ...], z: int, t: int, level: int, rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "channel y x"]:
        shape = (len(chosen), rows.stop - rows.start, columns.stop - columns.start)
        pixels = empty_planes(file.uri, shape, dtype)
        with damage_named(file.uri, "LIF", liffile.LifFileError), liffile.LifFile(path) as opened:
            frames = opened.images[number].frames
            for position, channel in enumerate(chosen):
                where = {"T": t, "Z": z, "C": 0 if is_rgb else channel}
                frame = frames(**{axis: index for axis, index in where.items() if sizes.get(axis, 1) > 1}).asarray()
                plane = np.squeeze(frame).reshape(sizes["Y"], sizes["X"], -1)
                pixels[position] = plane[rows, columns, channel if is_rgb else 0]
        return pixels

    return stack_image(
        file.uri,
        {**{axis.lower(): size for axis, size in sizes.items()}, "c": count},
        dtype=dtype,
        channels=RGB_CHANNELS if is_rgb else tuple(channels) if named else numbered_channels(count),
        is_rgb=is_rgb,
        pixel_size_um=_pixel_size_um(steps),
        read_planes=read_planes,
        scenes=names,
        scene=number,
    )


def _pixel_size_um(steps: dict[str, Any]) -> float | None:
    """From the positions of rows and columns, which are in metres."""
    sizes = [abs(float(steps[axis][1]) - float(steps[axis][0])) * 1e6 for axis in "XY" if len(steps.get(axis, ())) > 1]
    is_square = len(sizes) == 2 and sizes[0] > 0 and abs(sizes[0] - sizes[1]) <= 0.01 * sizes[0]
    return sizes[0] if is_square and math.isfinite(sizes[0]) else None
