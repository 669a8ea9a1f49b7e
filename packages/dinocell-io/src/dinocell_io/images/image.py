"""An image with named channels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from dinocell_io.intensity.fitted_plane import refuse_masked
from dinocell_io.plural import counted
from dinocell_io.system.image_file_error import ImageFileError

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
# what a folder of images is searched for; `open_image` reads more, when they are named
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", *TIFF_SUFFIXES)
MAX_CHANNELS = 10_000
RGB_CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels as the file holds them, with what the file says about them.

    `pixels` is C-contiguous in the file's own dtype (native byte order); a large uncompressed
    TIFF is memory-mapped copy-on-write, so writing to it never changes the file.
    `channels` are the file's names, or "C0", "C1" ... where it has none. `pixel_size_um` is the
    side of a square pixel, None where the file does not say or its pixels are not square.
    `files` and `notes` are those of `LazyImage`. An array becomes an image by `Image(pixels)`.
    """

    pixels: Shaped[np.ndarray, "channel y x"]
    channels: tuple[str, ...] = ()
    pixel_size_um: float | None = None
    is_rgb: bool = False
    uri: str = "array"
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse_masked(self.pixels)
        if self.pixels.ndim != 3 or 0 in self.pixels.shape:
            raise ImageFileError(f"{self.uri}: pixels have shape {self.pixels.shape}, expected non-empty [channel y x]")
        if not self.channels:
            object.__setattr__(self, "channels", numbered_channels(self.pixels.shape[0]))
        if len(self.channels) != self.pixels.shape[0]:
            raise ImageFileError(
                f"{self.uri}: {counted(self.pixels.shape[0], 'channel')} but {counted(len(self.channels), 'name')} "
                f"({', '.join(self.channels)}); give one name per channel"
            )
        if self.is_rgb and self.pixels.shape[0] != 3:
            raise ImageFileError(f"{self.uri}: an RGB image has 3 channels, got {self.pixels.shape[0]}")

    def __repr__(self) -> str:
        size = "unknown" if self.pixel_size_um is None else f"{self.pixel_size_um:g} um"
        return (
            f"Image({self.uri}, {self.pixels.dtype} {self.pixels.shape}, "
            f"channels {', '.join(self.channels)}, pixel size {size})"
        )


def check_channel_count(uri: str, count: int) -> None:
    """Raise ValueError for more channels than any instrument has: such a header is damaged, or its axes mixed up."""
    if count > MAX_CHANNELS:
        raise ImageFileError(
            f"{uri} says it has {count} channels, expected at most {MAX_CHANNELS}; it is damaged, or another axis is "
            "named as channels: export it again"
        )


def numbered_channels(count: int) -> tuple[str, ...]:
    """The names of channels that have none: "C0", "C1" ..."""
    return tuple(f"C{index}" for index in range(count))
