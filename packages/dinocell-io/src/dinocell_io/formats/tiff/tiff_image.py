"""TIFF files: which axis is what, and the pixels as [channel y x].

The file's metadata decide (OME-XML, ImageJ, tifffile's shape, the slide formats' own), nothing is guessed from sizes:

- Z and T longer than 1 are axes of the image, of which one plane is chosen; positions are scenes; other axes longer
  than 1 are refused.
- Pages of a plain file without metadata are channels if there are at most 16 of equal size; more, and any number
  in colour or with palettes, are a stack without a name, of which one page is chosen.
- Several images in one file are scenes, of which one is chosen. Thumbnails, labels and overviews of a slide, and
  smaller copies of the image, are not scenes; smaller copies are its levels.
- The images of a set of files are scenes too, whichever of its files is opened; without a choice it is the one
  of which the opened file holds planes.
- Samples are colour only where the file says RGB (or YCbCr); other samples are channels.
- A declared alpha sample is dropped, and so is any fourth sample beside red, green and blue. CMYK and CIE L*a*b*
  are refused.
- A colour map is a colour image, unless ImageJ or OME metadata make it a display table: then the
  indices are the intensities.
- WhiteIsZero images are turned, so that larger always means brighter; label images are not.
- A bilevel image becomes 0 and 255.
- Rows and columns are as stored: the orientation tag is not applied (docs/decisions/0044-orientation.md), and noted.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import tifffile
from jaxtyping import Shaped

from dinocell_io.formats.tiff.axes import axes_of, image_sizes, size, sizes
from dinocell_io.formats.tiff.colour import (
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    YCbCr,
    bits_of,
    photometric_of,
    wanted_samples,
    ycbcr_as_rgb,
    ycbcr_of,
)
from dinocell_io.formats.tiff.directory import check_like_keyframe
from dinocell_io.formats.tiff.file import check_data_present, described_image, open_tiff
from dinocell_io.formats.tiff.metadata import channel_names, pixel_size_um
from dinocell_io.formats.tiff.pages import PageStack, file_of, whole_series
from dinocell_io.formats.tiff.scene import ChosenSeries, chosen_series, series_of
from dinocell_io.images.damage import damage_named
from dinocell_io.images.image import RGB_CHANNELS, check_channel_count, numbered_channels
from dinocell_io.images.lazy_image import LazyImage, Level, ReadPlanes, bilevel_as_grey, changed
from dinocell_io.images.orientation import ORIENTATION_TAG, orientation_note
from dinocell_io.images.stack_image import stack_image
from dinocell_io.stores.stored_file import StoredFile
from dinocell_io.system.image_file_error import ImageFileError


@dataclass(frozen=True, eq=False)
class StoredTiff:
    """An image of the numbers in the file: no colour looked up, nothing inverted, nothing stretched.

    `ycbcr` is set where the samples are Y, Cb and Cr. `colormaps` are those of the pages; empty where there are
    none, or only for display.
    """

    image: LazyImage
    photometric: int
    bits: int
    ycbcr: YCbCr | None
    colormaps: tuple[Shaped[np.ndarray, "3 colour"], ...]


def open_tiff_image(file: StoredFile, scene: str | int | None = None) -> LazyImage:
    """An image by the rules of this module; see `open_image`."""
    stored = open_stored_tiff(file, scene)
    image = stored.image
    if stored.photometric == PALETTE and stored.colormaps:
        return _looked_up(image, stored.colormaps)
    if stored.ycbcr is not None:
        return ycbcr_as_rgb(image, stored.ycbcr)
    if image.dtype == np.bool_:
        image = bilevel_as_grey(image)
    if stored.photometric != WHITE_IS_ZERO:
        return image
    if image.dtype.kind != "u":
        raise ImageFileError(
            f"{file.uri} stores {image.dtype} with white as zero, which has no defined black; "
            "save it with photometric interpretation BlackIsZero"
        )
    top = image.dtype.type(255 if stored.bits == 1 else 2**stored.bits - 1)
    return changed(image, image.dtype, lambda pixels: top - pixels)


def open_stored_tiff(file: StoredFile, scene: str | int | None = None) -> StoredTiff:
    """The file's own numbers as an image.

    Raises ValueError for a damaged or cut file, for axes that are not channel, z, t, y and x, and for colour
    spaces that need a profile.
    """
    with open_tiff(file) as (tif, notes):
        of_set = described_image(file, tif, scene)
        if of_set is None:
            return _stored(file, tif, chosen_series(file, tif, scene, None), None, notes)
    with open_tiff(file, of_set.xml) as (tif, notes):
        chosen = chosen_series(file, tif, None if of_set.names else scene, of_set)
        return _stored(file, tif, chosen, of_set.xml, notes)


def _stored(
    file: StoredFile, tif: tifffile.TiffFile, chosen: ChosenSeries, omexml: str | None, notes: tuple[str, ...]
) -> StoredTiff:
    series, page = chosen.series, chosen.series.keyframe
    photometric = photometric_of(page, file.uri)
    dtype = np.dtype(series.dtype)
    if dtype.kind not in "buif":
        raise ImageFileError(f"{file.uri} holds {dtype} pixels, expected integers or floats")
    colour = photometric in (RGB, YCBCR)
    is_palette = photometric == PALETTE and not tif.is_imagej and not tif.is_ome
    axis_of = axes_of(series, file.uri, pages_are_channels=not colour and not is_palette)
    num_samples = wanted_samples(page, photometric, file.uri)
    ycbcr = ycbcr_of(page, photometric, file.uri)
    num_planes = size(series, axis_of["c"])
    if colour and num_planes > 1:
        raise ImageFileError(f"{file.uri} holds {num_planes} RGB channels, expected one; save one image per file")
    levels, stacks = _levels(chosen, file)
    count = num_planes * num_samples
    check_channel_count(file.uri, count)
    names = RGB_CHANNELS if colour else channel_names(tif, count, chosen.index) or numbered_channels(count)
    image = stack_image(
        file.uri,
        image_sizes(series, axis_of, count),
        dtype=dtype,
        channels=names,
        pixel_size_um=pixel_size_um(tif, chosen.index),
        is_rgb=colour,
        levels=levels,
        read_planes=_reader(file, stacks, axis_of, num_samples, chosen, omexml),
        scenes=chosen.names,
        scene=chosen.number,
        files=_files(file, stacks[0], chosen.position),
        notes=(*orientation_note(page.tags.valueof(ORIENTATION_TAG)), *chosen.notes, *notes),
    )
    return StoredTiff(
        image=image,
        photometric=photometric,
        bits=bits_of(page, file.uri),
        ycbcr=ycbcr,
        colormaps=_colormaps(series, file.uri) if is_palette else (),
    )


def _colormaps(series: tifffile.TiffPageSeries, uri: str) -> tuple[Shaped[np.ndarray, "3 colour"], ...]:
    """The palette of each page: pages of a stack may have different ones."""
    pages = [page if page is page.keyframe else page.aspage() for page in series.pages if page is not None]
    colormaps = tuple(page.colormap for page in pages if page.colormap is not None)
    if len(colormaps) < len(pages) or any(colormap.shape[:-1] != (3,) for colormap in colormaps):
        raise ImageFileError(f"{uri} has palette colours but a page without a whole colour map; save it as RGB")
    return colormaps


def _files(file: StoredFile, stack: PageStack, position: int) -> tuple[str, ...]:
    """The files of the image's pages where they are not all in the opened one."""
    if file.path is None:
        return ()
    one_of_each = {id(page.parent): page for page in stack.pages_at(position) if page is not None}
    names = sorted({file_of(page, file).uri for page in one_of_each.values()})
    return () if names == [file.uri] else tuple(names)


def _levels(chosen: ChosenSeries, file: StoredFile) -> tuple[tuple[Level, ...], tuple[PageStack, ...]]:
    """The full size and the smaller copies of it, all with the same axes."""
    series = chosen.series
    full_height, full_width = size(series, "Y"), size(series, "X")
    levels, stacks = [], []
    for copy in series.levels:
        height, width = size(copy, "Y"), size(copy, "X")
        axes, shape = sizes(copy)
        check_data_present(copy, file.uri)
        pages: tuple[Any, ...] = tuple(copy.pages)
        stored = [page for page in pages if page is not None]
        for keyframe in {id(page.keyframe): page.keyframe for page in stored}.values():
            photometric = photometric_of(keyframe, file.uri)
            if photometric != photometric_of(series.keyframe, file.uri):
                raise ImageFileError(f"{file.uri} has pages of different colour spaces; save one of them per file")
            ycbcr_of(keyframe, photometric, file.uri)
            # both may look into the file, which is closed when pixels are read; they are kept once made
            _ = keyframe.decode, keyframe.jpegheader
        if file.path is None:
            for page in stored:
                check_like_keyframe(file.uri, partial(_read_open, page.parent.filehandle), page)
        in_one_file = all(page.parent is stored[0].parent for page in stored)
        offset = copy.dataoffset if in_one_file else None
        dtype = np.dtype(copy.dtype).newbyteorder(copy.keyframe.parent.byteorder)
        holder = file_of(stored[0], file) if in_one_file else file
        stacks.append(PageStack(holder, axes, shape, dtype, pages, offset, chosen.why_missing))
        levels.append(Level(height, width, ((full_height / height) * (full_width / width)) ** 0.5))
    return tuple(levels), tuple(stacks)


def _read_open(opened: Any, start: int, stop: int) -> bytes:
    opened.seek(start)
    return bytes(opened.read(stop - start))


def _reader(
    file: StoredFile,
    stacks: tuple[PageStack, ...],
    axis_of: dict[str, str],
    num_samples: int,
    chosen: ChosenSeries,
    omexml: str | None,
) -> ReadPlanes:
    outer = [[axis for axis in stack.axes if axis not in "YXS"] for stack in stacks]
    read_stack: list[Callable[..., Shaped[np.ndarray, "plane_sample y x"]]] = []
    for level, stack in enumerate(stacks):
        regular = stack.is_regular()
        read_stack.append(
            stack.read if regular else whole_series(_stored_array(file, chosen.index, level, omexml), stack)
        )

    def read_planes(
        channels: tuple[int, ...], z: int, t: int, level: int, rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "channel y x"]:
        def plane(channel: int) -> tuple[int, ...]:
            index = {axis_of["t"]: t, axis_of["z"]: z, axis_of["i"]: z, axis_of["c"]: channel}
            index[axis_of["r"]] = chosen.position
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


def _stored_array(
    file: StoredFile, series_index: int, level: int, omexml: str | None
) -> Callable[[], Shaped[np.ndarray, "..."]]:
    def read() -> Shaped[np.ndarray, "..."]:
        with open_tiff(file, omexml) as (tif, _):
            return series_of(tif)[series_index].levels[level].asarray(squeeze=False)

    return read


def _looked_up(image: LazyImage, colormaps: tuple[Shaped[np.ndarray, "3 colour"], ...]) -> LazyImage:
    # the maps hold 16-bit values of which, by custom, the high byte is the colour
    colours = [(colormap >> 8).astype(np.uint8) for colormap in colormaps]

    def read_planes(
        channels: tuple[int, ...], z: int, t: int, level: int, rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "channel y x"]:
        indices = image.read_planes((0,), z, t, level, rows, columns)[0]
        of_page = colours[z if len(colours) > 1 else 0]
        if int(indices.max()) >= of_page.shape[1]:
            raise ImageFileError(f"{image.uri} is damaged: a pixel names a colour outside its palette")
        return np.take(of_page[list(channels)], indices, axis=1)

    return replace(
        image,
        shape=(*image.shape[:-3], 3, *image.shape[-2:]),
        dtype=np.dtype(np.uint8),
        channels=RGB_CHANNELS,
        is_rgb=True,
        read_planes=read_planes,
    )
