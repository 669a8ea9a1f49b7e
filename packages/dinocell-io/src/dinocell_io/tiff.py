"""TIFF files: which axis is what, and the pixels as [channel y x].

The file's metadata decide (OME-XML, ImageJ, tifffile's shape, the slide formats' own), nothing is guessed from sizes:

- Z and T longer than 1 are axes of the image, of which one plane is chosen; other axes longer than 1 are refused.
- Pages of a plain file without metadata are channels if there are at most 16 of equal size; more, and any number
  in colour, are a stack without a name, of which one page is chosen.
- Several images in one file are scenes, of which one is chosen. Thumbnails, labels and overviews of a slide, and
  smaller copies of the image, are not scenes; smaller copies are its levels.
- Samples are colour only where the file says RGB (or YCbCr); other samples are channels.
- A declared alpha sample is dropped. CMYK and CIE L*a*b* are refused.
- A colour map is a colour image, unless ImageJ or OME metadata make it a display table: then the
  indices are the intensities.
- WhiteIsZero images are turned, so that larger always means brighter; label images are not.
- A bilevel image becomes 0 and 255.
- The orientation tag of the image's first page turns images and label images alike, as the one in EXIF does.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tifffile
from jaxtyping import Shaped

from .damage import damage_named
from .image import RGB_CHANNELS, check_channel_count, numbered_channels
from .lazy_image import LazyImage, Level, ReadPlanes, bilevel_as_grey, changed
from .orientation import upright_image
from .scenes import chosen_scene
from .stored_file import StoredFile
from .tiff_file import check_data_present, open_tiff
from .tiff_metadata import channel_names, pixel_size_um
from .tiff_pages import PageStack, whole_series

MAX_PAGES_AS_CHANNELS = 16
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_ORIENTATION_TAG = 274
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated
_BESIDE_THE_IMAGE = ("Thumbnail", "Label", "Macro", "Map")
_SLIDES = ("svs", "ndpi", "scn", "bif", "qpi", "philips", "indica", "avs")


@dataclass(frozen=True, eq=False)
class StoredTiff:
    """An image of the numbers in the file, upright: no colour looked up, nothing inverted, nothing stretched."""

    image: LazyImage
    photometric: int
    bits: int
    colormap: Shaped[np.ndarray, "3 colour"] | None
    is_display_table: bool


def open_tiff_image(file: StoredFile, scene: str | int | None = None) -> LazyImage:
    """An image by the rules of this module; see `open_image`."""
    stored = open_stored_tiff(file, scene)
    image = stored.image
    if stored.photometric == _PALETTE and not stored.is_display_table:
        return _looked_up(stored)
    if image.dtype == np.bool_:
        image = bilevel_as_grey(image)
    if stored.photometric != _WHITE_IS_ZERO:
        return image
    if image.dtype.kind != "u":
        raise ValueError(
            f"{file.uri} stores {image.dtype} with white as zero, which has no defined black; "
            "save it with photometric interpretation BlackIsZero"
        )
    top = image.dtype.type(255 if stored.bits == 1 else 2**stored.bits - 1)
    return changed(image, image.dtype, lambda pixels: top - pixels)


def open_stored_tiff(file: StoredFile, scene: str | int | None = None) -> StoredTiff:
    """The file's own numbers as an image, turned upright.

    Raises ValueError for a damaged or cut file, for axes that are not channel, z, t, y and x, and for colour
    spaces that need a profile.
    """
    with open_tiff(file) as tif:
        images = [(i, s) for i, s in enumerate(tif.series) if s.keyframe is not None and _is_image(s)]
        if not images:
            raise ValueError(f"{file.uri} holds no image; copy or export it again")
        names = _scene_names([series for _, series in images])
        number = chosen_scene(file.uri, names, scene, [f"{s.axes} {s.shape}" for _, s in images])
        series_index, series = images[number]
        page = series.keyframe
        photometric = int(page.photometric) if page.photometric is not None else _BLACK_IS_ZERO
        if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR):
            raise ValueError(
                f"{file.uri} has the colour space {getattr(page.photometric, 'name', photometric)}, "
                "expected grey or RGB; save it as RGB"
            )
        dtype = np.dtype(series.dtype)
        if dtype.kind not in "buif":
            raise ValueError(f"{file.uri} holds {dtype} pixels, expected integers or floats")
        colour = photometric in (_RGB, _YCBCR)
        axis_of = _axes(series, file.uri, colour=colour)
        num_samples = _wanted_samples(page, photometric, file.uri)
        num_planes = _size(series, axis_of["c"])
        if colour and num_planes > 1:
            raise ValueError(f"{file.uri} holds {num_planes} RGB channels, expected one; save one image per file")
        levels, stacks = _levels(series, file)
        count = num_planes * num_samples
        check_channel_count(file.uri, count)
        axes, shape = _image_axes(series, axis_of, count)
        image = LazyImage(
            uri=file.uri,
            axes=axes,
            shape=shape,
            dtype=dtype.newbyteorder("="),
            channels=RGB_CHANNELS if colour else channel_names(tif, count, series_index) or numbered_channels(count),
            pixel_size_um=pixel_size_um(tif, series_index),
            is_rgb=colour,
            levels=levels,
            read_planes=_reader(file, stacks, axis_of, num_samples, series_index),
            scene=names[number] if len(names) > 1 else None,
            scenes=names if len(names) > 1 else (),
        )
        return StoredTiff(
            image=upright_image(image, _orientation(page)),
            photometric=photometric,
            bits=int(page.bitspersample),
            colormap=page.colormap if photometric == _PALETTE else None,
            is_display_table=bool(tif.is_imagej or tif.is_ome),
        )


def _orientation(page: Any) -> int:
    value = page.tags.valueof(_ORIENTATION_TAG, 1)
    return int(value) if isinstance(value, int) else 1


def _is_image(series: tifffile.TiffPageSeries) -> bool:
    is_beside = series.kind in _SLIDES and series.name in _BESIDE_THE_IMAGE
    is_smaller_copy = bool(series.keyframe.is_reduced) and len(series.keyframe.parent.pages) > 1
    return not is_beside and not is_smaller_copy


def _scene_names(images: list[tifffile.TiffPageSeries]) -> tuple[str, ...]:
    names = tuple(str(series.name or "").strip() for series in images)
    return names if len(set(names)) == len(names) and all(names) else tuple(str(i) for i in range(len(names)))


def _sizes(series: tifffile.TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    axes, shape = series.get_axes(squeeze=False), series.get_shape(squeeze=False)
    return (axes, tuple(shape)) if len(axes) == len(shape) else (series.axes, tuple(series.shape))


def _size(series: tifffile.TiffPageSeries, letter: str) -> int:
    axes, shape = _sizes(series)
    return shape[axes.index(letter)] if letter and letter in axes else 1


def _axes(series: tifffile.TiffPageSeries, uri: str, *, colour: bool) -> dict[str, str]:
    """Which letter of the stored axes is our c, z, t or i (unnamed); "" where there is none."""
    axes, shape = _sizes(series)
    sizes = [(axis, size) for axis, size in zip(axes, shape, strict=True) if axis not in "YXS" and size > 1]
    listed = ", ".join(f"{axis}={size}" for axis, size in zip(axes, shape, strict=True) if size > 1)
    unnamed = [axis for axis, _ in sizes if axis in "IQ"]
    if any(axis not in "CZTIQ" for axis, _ in sizes) or axes.count("Y") != 1 or axes.count("X") != 1:
        raise ValueError(
            f"{uri} has the axes {listed}; expected channels, Z and T of one plane (T, Z, C, Y, X). Save one plane or "
            "position per file, or name the axes in the file (Fiji: Image > Properties)"
        )
    if unnamed and len(sizes) > 1:
        raise ValueError(
            f"{uri} has the axes {listed} and does not say what {' and '.join(unnamed)} are; save one plane per file, "
            "or name the axes (Fiji: Image > Properties)"
        )
    found = {axis.lower(): axis for axis, _ in sizes if axis in "CZT"}
    if unnamed:
        are_channels = not colour and _size(series, unnamed[0]) <= MAX_PAGES_AS_CHANNELS
        found["c" if are_channels else "i"] = unnamed[0]
    return {axis: found.get(axis, "") for axis in "cizt"}


def _image_axes(series: tifffile.TiffPageSeries, axis_of: dict[str, str], count: int) -> tuple[str, tuple[int, ...]]:
    sizes = {axis: _size(series, axis_of[axis]) for axis in "tiz"}
    sizes |= {"c": count, "y": _size(series, "Y"), "x": _size(series, "X")}
    kept = [axis for axis in "ticzyx" if sizes[axis] > 1 or axis in "cyx"]
    ordered = [axis for axis in "tizcyx" if axis in kept]
    return "".join(ordered), tuple(sizes[axis] for axis in ordered)


def _wanted_samples(page: Any, photometric: int, uri: str) -> int:
    """How many of a page's samples are data: a declared alpha is not."""
    extra = tuple(int(kind) for kind in (page.extrasamples or ()))
    num_samples = int(page.samplesperpixel)
    if photometric in (_RGB, _YCBCR):
        if num_samples == 3 or (num_samples == 4 and (not extra or extra[0] in _ALPHA)):
            return 3
        raise ValueError(
            f"{uri} is RGB with {num_samples - 3} further samples of unknown meaning; save it as RGB, "
            "or as separate channels with photometric interpretation BlackIsZero"
        )
    return num_samples - 1 if num_samples > 1 and extra and extra[-1] in _ALPHA else num_samples


def _levels(series: tifffile.TiffPageSeries, file: StoredFile) -> tuple[tuple[Level, ...], tuple[PageStack, ...]]:
    """The full size and the smaller copies of it, all with the same axes."""
    full_height, full_width = _size(series, "Y"), _size(series, "X")
    levels, stacks = [], []
    for copy in series.levels:
        height, width = _size(copy, "Y"), _size(copy, "X")
        axes, shape = _sizes(copy)
        check_data_present(copy, file.uri)
        pages: tuple[Any, ...] = tuple(copy.pages)
        for keyframe in {id(page.keyframe): page.keyframe for page in pages}.values():
            # both may look into the file, which is closed when pixels are read; they are kept once made
            _ = keyframe.decode, keyframe.jpegheader
        offset = copy.dataoffset if all(page.parent is pages[0].parent for page in pages) else None
        stored = np.dtype(copy.dtype).newbyteorder(copy.keyframe.parent.byteorder)
        stacks.append(PageStack(file, axes, shape, stored, pages, offset))
        levels.append(Level(height, width, ((full_height / height) * (full_width / width)) ** 0.5))
    return tuple(levels), tuple(stacks)


def _reader(
    file: StoredFile, stacks: tuple[PageStack, ...], axis_of: dict[str, str], num_samples: int, series_index: int
) -> ReadPlanes:
    outer = [[axis for axis in stack.axes if axis not in "YXS"] for stack in stacks]
    read_stack: list[Callable[..., Shaped[np.ndarray, "plane_sample y x"]]] = []
    for number, stack in enumerate(stacks):
        regular = stack.is_regular()
        read_stack.append(stack.read if regular else whole_series(_stored_array(file, series_index, number), stack))

    def read_planes(
        channels: tuple[int, ...], z: int, t: int, level: int, rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "channel y x"]:
        def plane(channel: int) -> tuple[int, ...]:
            index = {axis_of["t"]: t, axis_of["z"]: z, axis_of["i"]: z, axis_of["c"]: channel}
            return tuple(index.get(axis, 0) for axis in outer[level])

        groups = [
            (number, [sample for _, sample in group])
            for number, group in itertools.groupby((divmod(c, num_samples) for c in channels), key=lambda pair: pair[0])
        ]
        with damage_named(file.uri, "TIFF", tifffile.TiffFileError):
            if all(samples == groups[0][1] for _, samples in groups):
                planes = [plane(number) for number, _ in groups]
                return read_stack[level](planes, tuple(groups[0][1]), rows, columns)
            return np.concatenate(
                [read_stack[level]([plane(number)], tuple(samples), rows, columns) for number, samples in groups]
            )

    return read_planes


def _stored_array(file: StoredFile, series_index: int, level: int) -> Callable[[], Shaped[np.ndarray, "..."]]:
    def read() -> Shaped[np.ndarray, "..."]:
        with open_tiff(file) as tif:
            return tif.series[series_index].levels[level].asarray(squeeze=False)

    return read


def _looked_up(stored: StoredTiff) -> LazyImage:
    image = stored.image
    if stored.colormap is None or image.size_of("c") != 1:
        raise ValueError(f"{image.uri} is a palette image without one plane and its colour map; save it as RGB")
    # the map holds 16-bit values of which, by custom, the high byte is the colour
    colours = (stored.colormap >> 8).astype(np.uint8)

    def read_planes(
        channels: tuple[int, ...], z: int, t: int, level: int, rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "channel y x"]:
        indices = image.read_planes((0,), z, t, level, rows, columns)[0]
        return np.take(colours[list(channels)], indices, axis=1)

    return replace(
        image,
        shape=(*image.shape[:-3], 3, *image.shape[-2:]),
        dtype=np.dtype(np.uint8),
        channels=RGB_CHANNELS,
        is_rgb=True,
        read_planes=read_planes,
    )
