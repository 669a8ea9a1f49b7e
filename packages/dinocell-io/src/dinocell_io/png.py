"""PNG files: 8 and 16 bit, grey, RGB and palette."""

import struct
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
from jaxtyping import Shaped, UInt
from PIL import PngImagePlugin

from .image import RGB_CHANNELS, Image, numbered_channels
from .orientation import upright

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6


@dataclass(frozen=True, eq=False)
class StoredPng:
    """The numbers in the file: palette indices not looked up, 1-, 2- and 4-bit greys not stretched."""

    pixels: UInt[np.ndarray, "y x sample"]
    palette: UInt[np.ndarray, "colour 3"] | None
    bits: int
    orientation: int


def read_png(path: Path) -> Image:
    """An image of one grey channel or of red, green and blue; see `read_image`.

    Grey of fewer than 8 bits is stretched to the full 8-bit range, as the format defines it.
    """
    stored = read_stored_png(path)
    pixels = stored.pixels
    if stored.palette is not None:
        if int(pixels.max()) >= len(stored.palette):
            raise ValueError(f"{path} is damaged: a pixel names a colour outside its palette")
        pixels = stored.palette[pixels[..., 0]]
    elif stored.bits < 8:
        pixels = pixels * np.uint8(255 // (2**stored.bits - 1))
    planes = np.ascontiguousarray(np.moveaxis(upright(pixels, stored.orientation), 2, 0))
    is_rgb = planes.shape[0] == 3
    names = RGB_CHANNELS if is_rgb else numbered_channels(1)
    return Image(planes, names, None, is_rgb, str(path))


def read_stored_png(path: Path) -> StoredPng:
    """Read the file's own numbers; transparency is dropped.

    Raises ValueError for what is not a PNG, is damaged or cut short, or is an animation.
    """
    content = path.read_bytes()
    if not content.startswith(_SIGNATURE) or len(content) < 33:
        raise ValueError(f"{path} is not a PNG file (it starts with {content[:8]!r}); give it its true suffix")
    bits, colour = struct.unpack_from(">8xBB", content, 16)
    # Pillow's plugin class, not Image.open: fields of 100 megapixels are usual here, not an attack.
    try:
        with path.open("rb") as file, PngImagePlugin.PngImageFile(file) as opened:
            if getattr(opened, "n_frames", 1) > 1:
                raise _Animation
            orientation = int(opened.getexif().get(0x0112, 1))
            palette = _palette_of(opened) if colour == _PALETTE else None
            # Pillow reduces 16-bit RGB to 8 bits; libpng gives every bit
            pixels = imagecodecs.png_decode(content) if bits == 16 else _numbers_of(opened, bits, colour)
    except _Animation:
        raise ValueError(f"{path} is an animation, expected one image; save its frames as files") from None
    except (OSError, SyntaxError, ValueError, struct.error, imagecodecs.PngError) as error:
        raise ValueError(
            f"{path} cannot be read as PNG ({error}); it is damaged or cut short, copy or export it again"
        ) from error
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if colour == _GREY_ALPHA or pixels.shape[2] == 2:
        pixels = pixels[..., :1]
    return StoredPng(pixels[..., :3], palette, bits, orientation)


class _Animation(Exception):
    """Inside the try above, so that the file is closed."""


def _numbers_of(opened: PngImagePlugin.PngImageFile, bits: int, colour: int) -> Shaped[np.ndarray, "..."]:
    numbers = np.array(opened).astype(np.uint8, copy=False)
    # Pillow stretches 2- and 4-bit grey to 8 bits; undone here, since labels are numbers
    stretch = 255 // (2**bits - 1) if colour == _GREY and bits in (2, 4) else 1
    return numbers // np.uint8(stretch)


def _palette_of(opened: PngImagePlugin.PngImageFile) -> UInt[np.ndarray, "colour 3"]:
    raw = opened.getpalette("RGB")
    assert raw is not None
    return np.array(raw, dtype=np.uint8).reshape(-1, 3)
