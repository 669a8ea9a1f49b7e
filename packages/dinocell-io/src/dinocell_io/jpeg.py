"""JPEG files: 8-bit grey and RGB."""

from pathlib import Path

import numpy as np
from PIL import JpegImagePlugin

from .image import RGB_CHANNELS, Image, numbered_channels
from .orientation import upright


def read_jpeg(path: Path) -> Image:
    """An image of one grey channel or of red, green and blue; see `read_image`.

    Raises ValueError for CMYK, which needs an ink profile to become RGB.
    """
    try:
        with path.open("rb") as file, JpegImagePlugin.JpegImageFile(file) as opened:
            mode = opened.mode
            orientation = int(opened.getexif().get(0x0112, 1))
            pixels = np.array(opened)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as JPEG ({error}); it is damaged, cut short or of another format, "
            "copy or export it again"
        ) from error
    if mode not in ("L", "RGB"):
        raise ValueError(f"{path} is a {mode} JPEG, expected grey or RGB; save it as RGB")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    planes = np.ascontiguousarray(np.moveaxis(upright(pixels, orientation), 2, 0))
    is_rgb = mode == "RGB"
    return Image(planes, RGB_CHANNELS if is_rgb else numbered_channels(1), None, is_rgb, str(path))
