"""Fields of one pixel size, whichever microscope took them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Num

from dinocell_io.stream.decode import BadObject
from dinocell_io.stream.field import FieldFiles, FieldPixels


@dataclass(frozen=True)
class ResampleTo:
    """Gives every channel the pixel size `pixel_size_um`; a step of `FieldStream(prepare=...)`.

    Linear between pixels, in the channel's own type (whole numbers are rounded). Meant for the ratios of 0.9 to 1.1
    between the sources of JUMP: pixels that become more than twice as large would need smoothing first and are
    refused. A field of unknown pixel size, or of such, is a failure of that field (BadObject).
    """

    pixel_size_um: float | int

    def __post_init__(self) -> None:
        if not 0 < self.pixel_size_um < float("inf"):
            raise ValueError(f"pixel_size_um is {self.pixel_size_um}, expected micrometres above 0")

    def __call__(self, files: FieldFiles, pixels: FieldPixels) -> FieldPixels:
        known = pixels.pixel_size_um
        if known is None or self.pixel_size_um > 2 * known:
            raise BadObject(
                "pixel_size",
                f"{pixels.key} has pixels of {known} um and cannot be resampled to {self.pixel_size_um} um; "
                "expected a known size of at least half of that",
            )
        if known == self.pixel_size_um:
            return pixels
        planes = resampled_planes(pixels.channels.values(), scale=known / self.pixel_size_um)
        channels = dict(zip(pixels.channels, planes, strict=True))
        return FieldPixels(pixels.key, channels, float(self.pixel_size_um))


def resampled_planes(planes: Iterable[Num[np.ndarray, "y x"]], *, scale: float) -> list[Num[np.ndarray, "v u"]]:
    """Planes made `scale` times as large along both axes, linear between pixels, in their own type (rounded)."""
    resampled = []
    for plane in planes:
        height, width = (max(1, round(size * scale)) for size in plane.shape)
        values = resample_plane(plane, (height, width))
        resampled.append((np.rint(values) if plane.dtype.kind in "ui" else values).astype(plane.dtype))
    return resampled


def resample_plane(plane: Num[np.ndarray, "y x"], shape: tuple[int, int]) -> Float32[np.ndarray, "v u"]:
    """The plane at `shape`, linear between the centres of pixels; beyond the outermost centres their value.

    Shrinking is not smoothed: below half the size, detail turns into noise.
    """
    import cv2  # few users resample, and need not wait for it

    height, width = shape
    return cv2.resize(plane.astype(np.float32, copy=False), (width, height), interpolation=cv2.INTER_LINEAR)
