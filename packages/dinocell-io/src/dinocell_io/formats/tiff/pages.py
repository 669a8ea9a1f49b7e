"""Regions of TIFF pages: which strips or tiles a region needs, and their pixels put together."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dinocell_io.formats.tiff.directory import check_like_keyframe
from dinocell_io.stores.stored_file import StoredFile
from dinocell_io.system.image_file_error import ImageFileError
from dinocell_io.system.machine_limits import usable_cores
from dinocell_io.system.memory import check_memory, check_ratio, empty_planes

_MAP_FROM_BYTES = 1 << 26  # below 64 MiB a plain read is as fast and keeps no file mapped
_THREADS_FROM_BYTES = 1 << 22
_PACKED = {1: "none", 5: "lzw", 8: "deflate", 32946: "deflate"}
_JPEG = (6, 7, 34892, 33007)


@dataclass(frozen=True, eq=False)
class PageStack:
    """The pages of one resolution, in the order of the axes before y and x.

    `shape` and `axes` are those of the stored array ("S" for samples). `offset` is where all of it lies in one
    piece and uncompressed in `file`, None where it does not; a page list may then be shorter than the planes. A page
    that is described and not stored is None, and `why_missing` is the reason in the message.
    """

    file: StoredFile
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype
    pages: tuple[Any, ...]
    offset: int | None
    why_missing: str

    @property
    def leading(self) -> tuple[int, ...]:
        return tuple(n for axis, n in zip(self.axes, self.shape, strict=True) if axis not in "YXS")

    def size_of(self, axis: str) -> int:
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def keyframe(self) -> Any:
        return next(page for page in self.pages if page is not None).keyframe

    def pages_at(self, position: int) -> tuple[Any, ...]:
        """The pages of one stage position (axis R)."""
        outer = [axis for axis in self.axes if axis not in "YXS"]
        if self.size_of("R") == 1 or len(self.pages) != math.prod(self.leading):
            return self.pages
        grid = np.arange(len(self.pages)).reshape(self.leading)
        return tuple(self.pages[i] for i in np.take(grid, position, axis=outer.index("R")).ravel())

    def is_regular(self) -> bool:
        """Whether y, x and samples are the innermost axes, so that a page is a plane."""
        inner = [axis for axis, size in zip(self.axes, self.shape, strict=True) if size > 1 or axis in "YX"]
        first = min(inner.index("Y"), inner.index("S") if "S" in inner else len(inner))
        shaped = self.keyframe.shaped
        same_plane = (shaped[2], shaped[3]) == (self.size_of("Y"), self.size_of("X")) and shaped[1] == 1
        in_order = set(inner[first:]) <= set("YXS") and inner.index("Y") < inner.index("X")
        whole = len(self.pages) == math.prod(self.leading) or self.offset is not None
        return bool(in_order and whole and same_plane and self.size_of("S") == shaped[0] * shaped[4])

    def read(
        self, planes: Sequence[tuple[int, ...]], samples: tuple[int, ...], rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "plane_sample y x"]:
        """The given samples of the given planes (indices along the leading axes), plane after plane."""
        height, width = rows.stop - rows.start, columns.stop - columns.start
        shape = (len(planes) * len(samples), height, width)
        num_bytes = math.prod(shape) * self.dtype.itemsize
        if self.offset is not None and self.file.path is not None and num_bytes >= _MAP_FROM_BYTES:
            return self._mapped(planes, samples, rows, columns)
        pixels = empty_planes(self.file.uri, shape, self.dtype.newbyteorder("="))
        for number, plane in enumerate(planes):
            into = pixels[number * len(samples) : (number + 1) * len(samples)]
            index = int(np.ravel_multi_index(plane, self.leading)) if plane else 0
            if self.offset is not None:
                into[:] = self._contiguous(index, samples, rows)[:, :, columns]
            else:
                self._read_page(self._page(index, plane), samples, rows, columns, into)
        return pixels

    def check_whole(self) -> None:
        """Raise ValueError unless every page is stored."""
        for index, page in enumerate(self.pages):
            if page is None:
                raise self._lacks(f"page {index}")

    def _page(self, index: int, plane: tuple[int, ...]) -> Any:
        """The stored page, ValueError if there is none."""
        if self.pages[index] is None:
            outer = [axis for axis in self.axes if axis not in "YXS"]
            where = [f"{axis}={i}" for axis, i, size in zip(outer, plane, self.leading, strict=True) if size > 1]
            raise self._lacks(f"the plane {', '.join(where) or '0'}")
        return self.pages[index]

    def _lacks(self, what: str) -> ValueError:
        stored = sum(page is not None for page in self.pages)
        return ImageFileError(
            f"{self.file.uri} lacks {what}: {stored} of the {len(self.pages)} planes that it describes are stored; "
            f"{self.why_missing}"
        )

    def _contiguous(self, plane: int, samples: tuple[int, ...], rows: slice) -> Shaped[np.ndarray, "sample y x"]:
        """Whole rows of an uncompressed plane."""
        separate, _, length, width, contig = self.keyframe.shaped
        itemsize, row_bytes = self.dtype.itemsize, width * contig * self.dtype.itemsize
        start = (self.offset or 0) + plane * separate * length * row_bytes
        if separate == 1:
            content = self.file.read(start + rows.start * row_bytes, start + rows.stop * row_bytes)
            return np.frombuffer(content, self.dtype).reshape(-1, width, contig)[..., samples].transpose(2, 0, 1)
        parts = []
        for sample in samples:
            first = start + (sample * length + rows.start) * row_bytes
            content = self.file.read(first, first + (rows.stop - rows.start) * width * itemsize)
            parts.append(np.frombuffer(content, self.dtype).reshape(-1, width))
        return np.stack(parts)

    def _mapped(
        self, planes: Sequence[tuple[int, ...]], samples: tuple[int, ...], rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "plane_sample y x"]:
        separate, _, length, width, contig = self.keyframe.shaped
        shape = (math.prod(self.leading), separate, length, width, contig)
        mapped = np.memmap(self.file.path or "", dtype=self.dtype, mode="c", offset=self.offset or 0, shape=shape)
        planar = mapped.transpose(0, 1, 4, 2, 3).reshape(shape[0], separate * contig, length, width)
        numbers = [int(np.ravel_multi_index(plane, self.leading)) if plane else 0 for plane in planes]
        chosen = planar[_as_slice(numbers)][:, _as_slice(samples), rows, columns]
        chosen = chosen.reshape(-1, *chosen.shape[2:])
        if chosen.flags.c_contiguous and chosen.dtype.isnative:
            return chosen
        check_memory(self.file.uri, chosen.nbytes)
        return np.ascontiguousarray(chosen, self.dtype.newbyteorder("="))

    def _read_page(
        self,
        page: Any,
        samples: tuple[int, ...],
        rows: slice,
        columns: slice,
        into: Shaped[np.ndarray, "sample y x"],
    ) -> None:
        keyframe = page.keyframe
        if keyframe.shaped != self.keyframe.shaped or keyframe.dtype != self.keyframe.dtype:
            raise ImageFileError(
                f"{self.file.uri} describes planes of {self.keyframe.dtype} {self.keyframe.shape}, but one of them is "
                f"{keyframe.dtype} {keyframe.shape} in {file_of(page, self.file).uri}; it is damaged or of another set"
            )
        if self.file.path is not None:  # in a store it costs a request, and was looked at where the page list was read
            check_like_keyframe(self.file.uri, file_of(page, self.file).read, page)
        packed = _PACKED.get(int(keyframe.compression), "any")
        tables: dict[str, Any] = {}
        if int(keyframe.compression) in _JPEG:
            tables = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
        file = file_of(page, self.file)
        separate = keyframe.shaped[0]

        def place(index: int) -> None:
            start, count = page.dataoffsets[index], page.databytecounts[index]
            if count == 0:  # a tile that the page says is not stored
                _, (sample, _, y, x, _), (_, height, width, contig) = keyframe.decode(None, index, **tables)
                put(np.broadcast_to(_no_data(keyframe, into.dtype), (height, width, contig)), sample, y, x)
                return
            num_numbers = math.prod(keyframe.chunks)
            claimed = num_numbers * self.dtype.itemsize
            if packed != "none":
                # of few bits, several numbers lie in a byte
                bits = keyframe.bitspersample if isinstance(keyframe.bitspersample, int) else 8 * self.dtype.itemsize
                check_ratio(file.uri, stored=count, claimed=num_numbers * bits // 8, packed=packed)
            check_memory(file.uri, claimed)
            segment, (sample, _, y, x, _), _ = keyframe.decode(file.read(start, start + count), index, **tables)
            is_bilevel = into.dtype == np.bool_ and segment.dtype == np.uint8  # fax codecs (CCITT) give 0 and 1
            if not is_bilevel and (
                segment.dtype.kind != into.dtype.kind or segment.dtype.itemsize > into.dtype.itemsize
            ):
                raise ValueError(f"its tags say {into.dtype} but its data decode to {segment.dtype}")
            put(segment[0], sample, y, x)

        def put(segment: Shaped[np.ndarray, "y x contig"], sample: int, y: int, x: int) -> None:
            inner = segment[max(0, rows.start - y) : rows.stop - y, max(0, columns.start - x) : columns.stop - x]
            top, left = max(y - rows.start, 0), max(x - columns.start, 0)
            for position, wanted in enumerate(samples):
                if separate == 1 or wanted == sample:
                    target = into[position, top : top + inner.shape[0], left : left + inner.shape[1]]
                    target[:] = inner[: target.shape[0], : target.shape[1], wanted if separate == 1 else 0]

        needed = _segments(keyframe, samples, rows, columns)
        if len(needed) > 1 and (into.nbytes >= _THREADS_FROM_BYTES or file.path is None):
            # the codecs release the interpreter lock; a store answers many requests at once
            workers = min(len(needed), 16 if file.path is None else usable_cores())
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(place, needed))
        else:
            for index in needed:
                place(index)


def _no_data(keyframe: Any, dtype: np.dtype) -> np.generic:
    """What fills tiles that are not stored: the page's "no data" value (GDAL), or 0 if no pixel can have that."""
    try:
        return dtype.type(keyframe.nodata)
    except (OverflowError, ValueError):
        return dtype.type(0)


def _segments(keyframe: Any, samples: tuple[int, ...], rows: slice, columns: slice) -> list[int]:
    """Numbers of the strips or tiles that hold any of the region."""
    separate, _, length, width, _ = keyframe.shaped
    if keyframe.is_tiled:
        tile_height, tile_width = keyframe.tilelength, keyframe.tilewidth
    else:
        tile_height, tile_width = keyframe.rowsperstrip, width
    down, across = math.ceil(length / tile_height), math.ceil(width / tile_width)
    grid = [
        row * across + column
        for row in range(rows.start // tile_height, math.ceil(rows.stop / tile_height))
        for column in range(columns.start // tile_width, math.ceil(columns.stop / tile_width))
    ]
    stacked = sorted(set(samples)) if separate > 1 else [0]
    return [sample * down * across + index for sample in stacked for index in grid]


def whole_series(
    open_series: Callable[[], Shaped[np.ndarray, "..."]], stack: PageStack
) -> Callable[[Sequence[tuple[int, ...]], tuple[int, ...], slice, slice], Shaped[np.ndarray, "plane_sample y x"]]:
    """A reader like PageStack.read for layouts whose pages are not planes: it reads everything, then selects."""

    def read(
        planes: Sequence[tuple[int, ...]], samples: tuple[int, ...], rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "plane_sample y x"]:
        check_memory(stack.file.uri, math.prod(stack.shape) * stack.dtype.itemsize)
        stack.check_whole()
        stored = open_series().reshape(stack.shape)
        axes = stack.axes
        if "S" not in axes:
            stored, axes = stored[..., None], axes + "S"
        outer = [index for index, axis in enumerate(axes) if axis not in "YXS"]
        ordered = stored.transpose(*outer, axes.index("S"), axes.index("Y"), axes.index("X"))
        parts = [ordered[plane][list(samples), rows, columns] for plane in planes]
        return np.ascontiguousarray(np.concatenate(parts), stack.dtype.newbyteorder("="))

    return read


def file_of(page: Any, file: StoredFile) -> StoredFile:
    """The file that holds the page: another one of the folder where a set has several."""
    if file.path is None:
        return file
    name = Path(page.parent.filehandle.path).name
    if name == file.path.name:
        return file
    path = file.path.with_name(name)
    return replace(file, uri=str(path), path=path, size=path.stat().st_size)


def _as_slice(numbers: Sequence[int]) -> "slice | list[int]":
    """Consecutive numbers as a slice, which gives a view and no copy."""
    first = numbers[0]
    if list(numbers) == list(range(first, first + len(numbers))):
        return slice(first, first + len(numbers))
    return list(numbers)
