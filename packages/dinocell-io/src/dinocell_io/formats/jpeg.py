"""JPEG files: 8-bit grey and RGB."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import JpegImagePlugin

from dinocell_io.images.damage import damage_named
from dinocell_io.images.image import RGB_CHANNELS, numbered_channels
from dinocell_io.images.lazy_image import LazyImage
from dinocell_io.images.orientation import ORIENTATION_TAG, orientation_note
from dinocell_io.images.scenes import chosen_scene
from dinocell_io.images.stack_image import whole_image
from dinocell_io.stores.stored_file import StoredFile
from dinocell_io.system.image_file_error import ImageFileError
from dinocell_io.system.memory import check_memory


def open_jpeg_image(file: StoredFile, scene: str | int | None = None) -> LazyImage:
    """An image of one grey channel or of red, green and blue; see `open_image`.

    A JPEG is decoded whole at every read. Raises ValueError for CMYK, which needs an ink profile to become RGB.
    """
    chosen_scene(file.uri, ("image",), scene)
    with _opened(file) as opened:
        mode, (width, height) = opened.mode, opened.size
        notes = orientation_note(opened.getexif().get(ORIENTATION_TAG))
    if mode not in ("L", "RGB"):
        raise ImageFileError(f"{file.uri} is a {mode} JPEG, expected grey or RGB; save it as RGB")
    check_memory(file.uri, 2 * width * height * len(mode))
    is_rgb = mode == "RGB"
    names = RGB_CHANNELS if is_rgb else numbered_channels(1)

    def decode() -> Shaped[np.ndarray, "channel y x"]:
        with _opened(file) as opened:
            pixels: UInt8[np.ndarray, ...] = np.array(opened)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        return np.ascontiguousarray(np.moveaxis(pixels, 2, 0))

    return replace(whole_image(file.uri, (height, width), np.dtype(np.uint8), names, is_rgb, decode), notes=notes)


@contextmanager
def _opened(file: StoredFile) -> Iterator[JpegImagePlugin.JpegImageFile]:
    content = io.BytesIO(file.read())
    with damage_named(file.uri, "JPEG"), JpegImagePlugin.JpegImageFile(content) as opened:
        yield opened
