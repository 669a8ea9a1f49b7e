"""TIFF files: which axis is what, and the pixels as [channel y x].

The file's metadata decide (OME-XML, ImageJ, tifffile's shape), nothing is guessed from sizes:

- Z, T and all other axes longer than 1 are refused.
- Pages of a plain file without metadata are channels if there are at most 16 of equal size.
- Samples are colour only where the file says RGB (or YCbCr); other samples are channels.
- A declared alpha sample is dropped. CMYK and CIE L*a*b* are refused.
- A colour map is a colour image, unless ImageJ or OME metadata make it a display table: then the
  indices are the intensities.
- WhiteIsZero images are turned, so that larger always means brighter; label images are not.
- A bilevel image becomes 0 and 255.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from jaxtyping import Shaped

from .image import RGB_CHANNELS, Image, numbered_channels
from .tiff_file import check_data_present, open_tiff
from .tiff_metadata import channel_names, pixel_size_um

MAX_PAGES_AS_CHANNELS = 16
_MAP_FROM_BYTES = 1 << 26  # below 64 MiB a plain read is as fast and keeps no file open
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _TRANSPARENCY, _YCBCR = 0, 1, 2, 3, 4, 6
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated


@dataclass(frozen=True, eq=False)
class StoredTiff:
    """The numbers in the file: no colour looked up, nothing inverted, nothing stretched."""

    pixels: Shaped[np.ndarray, "channel y x"]
    channels: tuple[str, ...]
    pixel_size_um: float | None
    photometric: int
    bits: int
    colormap: Shaped[np.ndarray, "3 colour"] | None
    is_display_table: bool


def read_tiff(path: Path) -> Image:
    """An image by the rules of this module; see `read_image`."""
    stored = read_stored_tiff(path)
    pixels, channels = stored.pixels, stored.channels
    is_rgb = stored.photometric in (_RGB, _YCBCR)
    if stored.photometric == _PALETTE and not stored.is_display_table:
        pixels, channels, is_rgb = _looked_up(stored, path), RGB_CHANNELS, True
    elif pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if stored.photometric == _WHITE_IS_ZERO:
        if pixels.dtype.kind not in "u":
            raise ValueError(
                f"{path} stores {pixels.dtype} with white as zero, which has no defined black; "
                "save it with photometric interpretation BlackIsZero"
            )
        top = 255 if stored.bits == 1 else 2**stored.bits - 1
        pixels = pixels.dtype.type(top) - pixels
    return Image(pixels, channels, stored.pixel_size_um, is_rgb, str(path))


def read_stored_tiff(path: Path) -> StoredTiff:
    """Read the file's own numbers as [channel y x].

    Raises ValueError for a damaged or cut file, for axes that are not channel, y and x, and for
    colour spaces that need a profile.
    """
    with open_tiff(path) as tif:
        series = _only_image(tif, path)
        page = series.keyframe
        photometric = int(page.photometric) if page.photometric is not None else _BLACK_IS_ZERO
        if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR):
            raise ValueError(
                f"{path} has the colour space {getattr(page.photometric, 'name', photometric)}, "
                "expected grey or RGB; save it as RGB"
            )
        axes, kept = _channel_axes(series, path)
        num_samples = _wanted_samples(page, photometric, path)
        check_data_present(series, path)
        pixels = _as_channels(_read_series(series, path), axes, kept, num_samples)
        if pixels.dtype.kind not in "buif":
            raise ValueError(f"{path} holds {pixels.dtype} pixels, expected integers or floats")
        colour = photometric in (_RGB, _YCBCR)
        if colour and pixels.shape[0] != 3:
            raise ValueError(f"{path} holds {pixels.shape[0] // 3} RGB images, expected one; save one image per file")
        count = pixels.shape[0]
        return StoredTiff(
            pixels=pixels,
            channels=RGB_CHANNELS if colour else channel_names(tif, count) or numbered_channels(count),
            pixel_size_um=pixel_size_um(tif),
            photometric=photometric,
            bits=int(page.bitspersample),
            colormap=page.colormap if photometric == _PALETTE else None,
            is_display_table=bool(tif.is_imagej or tif.is_ome),
        )


def _only_image(tif: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    images = [s for s in tif.series if s.keyframe is not None and not _is_thumbnail(s)]
    if len(images) == 1:
        return images[0]
    if not images:
        raise ValueError(f"{path} holds no image; copy or export it again")
    found = "; ".join(f"{s.name or 'image'} {s.axes} {s.shape}" for s in images[:8])
    raise ValueError(
        f"{path} holds {len(images)} images of different kinds ({found}), expected one; save each as a file of its own"
    )


def _is_thumbnail(series: tifffile.TiffPageSeries) -> bool:
    return bool(series.keyframe.is_reduced) and len(series.keyframe.parent.pages) > 1


def _channel_axes(series: tifffile.TiffPageSeries, path: Path) -> tuple[str, str]:
    """All axes of the stored array, and those that become channels, outermost first."""
    axes, shape = series.get_axes(squeeze=False), series.get_shape(squeeze=False)
    if len(axes) != len(shape):
        axes, shape = series.axes, series.shape
    sizes = [(axis, size) for axis, size in zip(axes, shape, strict=True) if axis not in "YXS" and size > 1]
    unnamed = [size for axis, size in sizes if axis in "IQ"]
    listed = ", ".join(f"{axis}={size}" for axis, size in zip(axes, shape, strict=True) if size > 1)
    if any(axis not in "CIQ" for axis, _ in sizes) or axes.count("Y") != 1 or axes.count("X") != 1:
        raise ValueError(
            f"{path} has the axes {listed}; expected channels of one plane (C, Y, X). Save one plane or a "
            "projection per file (Fiji: Image > Duplicate, or Image > Stacks > Z Project); if the pages are "
            "channels, say so in the file (Fiji: Image > Properties)"
        )
    if len(sizes) > 1 or (unnamed and unnamed[0] > MAX_PAGES_AS_CHANNELS):
        raise ValueError(
            f"{path} has the axes {listed} and does not say which are channels; unnamed pages are "
            f"channels only if there are at most {MAX_PAGES_AS_CHANNELS}. Save one plane per file, or name "
            "the axes (Fiji: Image > Properties)"
        )
    return axes, "".join(axis for axis, _ in sizes)


def _wanted_samples(page: Any, photometric: int, path: Path) -> int:
    """How many of a page's samples are data: a declared alpha is not."""
    extra = tuple(int(kind) for kind in (page.extrasamples or ()))
    num_samples = int(page.samplesperpixel)
    if photometric in (_RGB, _YCBCR):
        if num_samples == 3 or (num_samples == 4 and (not extra or extra[0] in _ALPHA)):
            return 3
        raise ValueError(
            f"{path} is RGB with {num_samples - 3} further samples of unknown meaning; save it as RGB, "
            "or as separate channels with photometric interpretation BlackIsZero"
        )
    return num_samples - 1 if num_samples > 1 and extra and extra[-1] in _ALPHA else num_samples


def _read_series(series: tifffile.TiffPageSeries, path: Path) -> Shaped[np.ndarray, "..."]:
    shape = series.get_shape(squeeze=False)
    native = np.dtype(series.dtype).newbyteorder(series.keyframe.parent.byteorder).isnative
    itemsize = np.dtype(series.dtype).itemsize
    offset = series.dataoffset
    if series.nbytes >= _MAP_FROM_BYTES and offset is not None and offset % itemsize == 0 and native:
        mapped_path = series.keyframe.parent.filehandle.path
        return np.memmap(mapped_path, dtype=series.dtype, mode="c", offset=offset, shape=tuple(shape))
    pixels = series.asarray(squeeze=False)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False).reshape(shape)


def _as_channels(
    stored: Shaped[np.ndarray, "..."], axes: str, kept: str, num_samples: int
) -> Shaped[np.ndarray, "channel y x"]:
    order = kept + ("S" if "S" in axes else "") + "YX"
    single = tuple(0 if axis not in order else slice(None) for axis in axes)
    left = "".join(axis for axis in axes if axis in order)
    planes = stored[single].transpose([left.index(axis) for axis in order])
    if "S" in axes:
        planes = planes[..., :num_samples, :, :]
    return np.ascontiguousarray(planes).reshape(-1, *planes.shape[-2:])


def _looked_up(stored: StoredTiff, path: Path) -> Shaped[np.ndarray, "3 y x"]:
    if stored.colormap is None or stored.pixels.shape[0] != 1:
        raise ValueError(f"{path} is a palette image without one plane and its colour map; save it as RGB")
    # the map holds 16-bit values of which, by custom, the high byte is the colour
    colours = (stored.colormap >> 8).astype(np.uint8)
    return colours[:, stored.pixels[0]]
