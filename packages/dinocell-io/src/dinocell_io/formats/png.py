"""PNG files: 8 and 16 bit, grey, RGB and palette."""

import io
import struct
from dataclasses import dataclass, replace

import imagecodecs
import numpy as np
from jaxtyping import Shaped, UInt
from PIL import PngImagePlugin

from dinocell_io.images.damage import damage_named, damaged
from dinocell_io.images.image import RGB_CHANNELS, numbered_channels
from dinocell_io.images.lazy_image import LazyImage
from dinocell_io.images.orientation import ORIENTATION_TAG, orientation_note
from dinocell_io.images.scenes import chosen_scene
from dinocell_io.images.stack_image import whole_image
from dinocell_io.stores.stored_file import StoredFile
from dinocell_io.system.image_file_error import ImageFileError
from dinocell_io.system.memory import check_memory, check_ratio

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_SAMPLES = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}


@dataclass(frozen=True, eq=False)
class StoredPng:
    """The numbers in the file: palette indices not looked up, 1-, 2- and 4-bit greys not stretched."""

    pixels: UInt[np.ndarray, "y x sample"]
    palette: UInt[np.ndarray, "colour 3"] | None
    bits: int


def open_png_image(file: StoredFile, scene: str | int | None = None) -> LazyImage:
    """An image of one grey channel or of red, green and blue; see `open_image`.

    Grey of fewer than 8 bits is stretched to the full 8-bit range, as the format defines it. A PNG is decoded
    whole at every read: its rows depend on the ones above.
    """
    header = _header_of(file)
    chosen_scene(file.uri, ("image",), scene)
    is_rgb = header.colour in (_RGB, _PALETTE, _RGBA)
    names = RGB_CHANNELS if is_rgb else numbered_channels(1)
    dtype = np.dtype(np.uint16 if header.bits == 16 else np.uint8)
    image = whole_image(file.uri, (header.height, header.width), dtype, names, is_rgb, lambda: _displayed(file))
    return replace(image, notes=header.notes)


def read_stored_png(file: StoredFile) -> StoredPng:
    """Read the file's own numbers; transparency is dropped.

    Raises ValueError for what is not a PNG, is damaged or cut short, or is an animation.
    """
    header = _header_of(file)
    # Pillow's plugin class, not Image.open: fields of 100 megapixels are usual here, not an attack.
    content = file.read()
    with damage_named(file.uri, "PNG"), PngImagePlugin.PngImageFile(io.BytesIO(content)) as opened:
        palette = _palette_of(opened) if header.colour == _PALETTE else None
        # Pillow reduces 16-bit RGB to 8 bits; libpng gives every bit
        pixels = imagecodecs.png_decode(content) if header.bits == 16 else _numbers_of(opened, header)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if header.colour == _GREY_ALPHA or pixels.shape[2] == 2:
        pixels = pixels[..., :1]
    return StoredPng(pixels[..., :3], palette, header.bits)


def _displayed(file: StoredFile) -> Shaped[np.ndarray, "channel y x"]:
    stored = read_stored_png(file)
    pixels = stored.pixels
    if stored.palette is not None:
        if int(pixels.max()) >= len(stored.palette):
            raise ImageFileError(f"{file.uri} is damaged: a pixel names a colour outside its palette")
        pixels = stored.palette[pixels[..., 0]]
    elif stored.bits < 8:
        pixels = pixels * np.uint8(255 // (2**stored.bits - 1))
    return np.ascontiguousarray(np.moveaxis(pixels, 2, 0))


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    bits: int
    colour: int
    notes: tuple[str, ...]


def _header_of(file: StoredFile) -> _Header:
    start = file.read(0, min(file.size, 33))
    if not start.startswith(_SIGNATURE) or len(start) < 33:
        raise ImageFileError(f"{file.uri} is not a PNG file (it starts with {start[:8]!r}); give it its true suffix")
    width, height, bits, colour = struct.unpack_from(">IIBB", start, 16)
    if 0 in (width, height) or colour not in _SAMPLES or bits not in (1, 2, 4, 8, 16):
        raise damaged(
            file.uri, "PNG", f"its header says {width} x {height} pixels of {bits} bits, colour type {colour}"
        )
    claimed = width * height * _SAMPLES[colour] * bits // 8
    check_ratio(file.uri, stored=file.size, claimed=claimed, packed="deflate")
    check_memory(file.uri, 2 * claimed)
    with damage_named(file.uri, "PNG"), PngImagePlugin.PngImageFile(io.BytesIO(file.read())) as opened:
        num_frames = getattr(opened, "n_frames", 1)
        notes = orientation_note(opened.getexif().get(ORIENTATION_TAG))
    if num_frames > 1:
        raise ImageFileError(f"{file.uri} is an animation, expected one image; save its frames as files")
    return _Header(width, height, bits, colour, notes)


def _numbers_of(opened: PngImagePlugin.PngImageFile, header: _Header) -> Shaped[np.ndarray, "..."]:
    numbers = np.array(opened).astype(np.uint8, copy=False)
    # Pillow stretches 2- and 4-bit grey to 8 bits; undone here, since labels are numbers
    stretch = 255 // (2**header.bits - 1) if header.colour == _GREY and header.bits in (2, 4) else 1
    return numbers // np.uint8(stretch)


def _palette_of(opened: PngImagePlugin.PngImageFile) -> UInt[np.ndarray, "colour 3"]:
    raw = opened.getpalette("RGB")
    assert raw is not None
    return np.array(raw, dtype=np.uint8).reshape(-1, 3)
