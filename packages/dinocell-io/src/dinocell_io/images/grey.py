"""One grey plane of an image, by one rule for training and inference alike."""

import numpy as np
from jaxtyping import Shaped

from dinocell_io.images.image import Image

# ITU-R BT.601 luma in thousandths: exact in integers, and grey in gives the same grey out
_LUMA = (299, 587, 114)
_BAND_PX = 1 << 22  # bounds the temporary of a large image


def grey_image(image: Image, *, channel: str | int | None = None) -> Shaped[np.ndarray, "y x"]:
    """One plane [y x] in the image's own dtype.

    One channel is itself. An RGB image is one colour image and becomes its luma
    0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601), rounded to nearest for integers; equal red,
    green and blue give exactly that value. `channel` picks a plane by name (any case) or by index
    from 0, also of an RGB image; the text "488" is a name first, an index where no channel has that name, and the
    number 488 a name where there is no such index. The plane of a single channel is a view, not a copy.
    Raises ValueError, listing the names, if several non-RGB channels come without a choice
    or if the choice names none or several of them.
    """
    if channel is not None:
        return image.pixels[channel_index(image, channel)]
    if image.is_rgb:
        return _luma(image.pixels)
    if len(image.channels) == 1:
        return image.pixels[0]
    raise ValueError(
        f"{image.uri} has {len(image.channels)} channels ({', '.join(image.channels)}) and none was "
        "chosen; choose one with channel=, on the command line --channel, by name or by index from 0"
    )


def channel_index(image: Image, channel: str | int) -> int:
    """Where a channel is that is chosen as in `grey_image`; ValueError, listing the names, if none or several are."""
    if isinstance(channel, int) and 0 <= channel < len(image.channels):
        return channel
    found = [i for i, name in enumerate(image.channels) if name.casefold() == str(channel).casefold()]
    if len(found) == 1:
        return found[0]
    if isinstance(channel, str) and not found and channel.isdecimal() and int(channel) < len(image.channels):
        return int(channel)
    if len(found) > 1:
        choice = " or ".join(map(str, found))
        raise ValueError(f"{image.uri}: {len(found)} channels are named {channel!r}; choose by index, {choice}")
    if isinstance(channel, int):
        problem = f"there is no channel {channel}"
    else:
        problem = f"no channel is named {channel!r}"
        problem += " or has that index" if channel.isdecimal() else ""
    raise ValueError(
        f"{image.uri}: {problem}; it has {', '.join(image.channels)}. "
        f"Choose one of these names or an index from 0 to {len(image.channels) - 1}"
    )


def _luma(pixels: Shaped[np.ndarray, "3 y x"]) -> Shaped[np.ndarray, "y x"]:
    grey = np.empty(pixels.shape[1:], dtype=pixels.dtype)
    rows = max(1, _BAND_PX // pixels.shape[2])
    rule = _integer_luma if pixels.dtype.kind in "ui" else _float_luma
    for start in range(0, grey.shape[0], rows):
        grey[start : start + rows] = rule(pixels[:, start : start + rows])
    return grey


def _integer_luma(pixels: Shaped[np.ndarray, "3 y x"]) -> Shaped[np.ndarray, "y x"]:
    # 65535 * 1000 fits uint32; wider pixels need a wider sum, of differences, which do not overflow
    if pixels.dtype in (np.uint8, np.uint16):
        red, green, blue = pixels.astype(np.uint32)
        return (red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2] + 500) // 1000
    red, green, blue = pixels.astype(np.int64)
    return green + ((red - green) * _LUMA[0] + (blue - green) * _LUMA[2] + 500) // 1000


def _float_luma(pixels: Shaped[np.ndarray, "3 y x"]) -> Shaped[np.ndarray, "y x"]:
    red, green, blue = pixels.astype(np.float64)
    # in differences, so that equal colours give that grey to the last bit
    return green + (red - green) * (_LUMA[0] / 1000) + (blue - green) * (_LUMA[2] / 1000)
