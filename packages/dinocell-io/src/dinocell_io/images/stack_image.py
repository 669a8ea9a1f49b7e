"""The LazyImage of a stack of planes, from the lengths of its axes."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Shaped

from dinocell_io.images.lazy_image import LazyImage, Level, ReadPlanes
from dinocell_io.system.image_file_error import ImageFileError


def stack_image(
    uri: str,
    sizes: Mapping[str, int],
    *,
    dtype: np.dtype,
    channels: tuple[str, ...],
    read_planes: ReadPlanes,
    is_rgb: bool = False,
    pixel_size_um: float | None = None,
    levels: tuple[Level, ...] = (),
    scenes: Sequence[str] = (),
    scene: int = 0,
    files: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> LazyImage:
    """An image of the axes t, z, c, y and x, and i for pages that are not named; `sizes` says how long each of them is.

    An axis that `sizes` lacks is 1 long; other letters are not looked at. `levels` is the full size alone unless
    given. `scenes` are all images of the file and `scene` the chosen one; an only one needs no choice and is not named.
    """
    axes = "".join(axis for axis in "tizcyx" if axis in "cyx" or sizes.get(axis, 1) > 1)
    return LazyImage(
        uri=uri,
        axes=axes,
        shape=tuple(sizes.get(axis, 1) for axis in axes),
        dtype=dtype.newbyteorder("="),
        channels=channels,
        pixel_size_um=pixel_size_um,
        is_rgb=is_rgb,
        levels=levels or (Level(sizes["y"], sizes["x"], 1.0),),
        read_planes=read_planes,
        scene=scenes[scene] if len(scenes) > 1 else None,
        scenes=tuple(scenes) if len(scenes) > 1 else (),
        files=files,
        notes=notes,
    )


def whole_image(
    uri: str,
    size: tuple[int, int],
    dtype: np.dtype,
    channels: tuple[str, ...],
    is_rgb: bool,
    decode: Callable[[], Shaped[np.ndarray, "channel y x"]],
) -> LazyImage:
    """An image of a format that can only be decoded whole: `decode` gives all channels, of (height, width) `size`."""

    def read_planes(
        chosen: tuple[int, ...], z: int, t: int, level: int, rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "channel y x"]:
        pixels = decode()
        if pixels.shape != (len(channels), *size) or pixels.dtype != dtype:
            raise ImageFileError(
                f"{uri} says it holds {dtype} [{len(channels)} {size[0]} {size[1]}] but its data decode to "
                f"{pixels.dtype} {list(pixels.shape)}; it is damaged, copy or export it again"
            )
        if chosen == tuple(range(len(channels))) and pixels[:, rows, columns].shape == pixels.shape:
            return pixels
        return np.ascontiguousarray(pixels[list(chosen), rows, columns])

    sizes = {"c": len(channels), "y": size[0], "x": size[1]}
    return stack_image(uri, sizes, dtype=dtype, channels=channels, is_rgb=is_rgb, read_planes=read_planes)
