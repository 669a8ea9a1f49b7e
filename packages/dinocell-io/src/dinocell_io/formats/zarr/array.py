"""Regions of Zarr arrays from any store.

A reader of our own: zarr-python takes as long to import as this package, 40 MB, and runs a thread of its own that does
not survive a fork into DataLoader workers; of the codecs, all that microscopes' files use are in imagecodecs.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dinocell_io.formats.zarr.codecs import Decode
from dinocell_io.images.damage import DAMAGE
from dinocell_io.plural import counted
from dinocell_io.stores.local_store import LocalStore
from dinocell_io.stores.store import NotFound, Store
from dinocell_io.system.image_file_error import ImageFileError
from dinocell_io.system.machine_limits import usable_cores
from dinocell_io.system.memory import check_memory, empty_planes

_NO_CHUNK = 2**64 - 1
_MAX_KEPT_INDICES = 256


@dataclass(frozen=True)
class ChunkCodec:
    """How the bytes of one chunk become an array of `shape`."""

    shape: tuple[int, ...]
    dtype: np.dtype
    decoders: tuple[Decode, ...]  # in the order of decoding
    axes: tuple[int, ...]  # order in which the axes are stored

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def decode(self, content: bytes) -> Shaped[np.ndarray, "..."]:
        for decoder in self.decoders:
            content = decoder(content, self.num_bytes)
        if len(content) != self.num_bytes:
            raise ValueError(f"its data are {counted(len(content), 'byte')}, expected {self.num_bytes}")
        stored = np.frombuffer(content, self.dtype).reshape([self.shape[axis] for axis in self.axes])
        return stored.transpose(np.argsort(self.axes))


@dataclass(frozen=True)
class Shards:
    """How one object holds many chunks: an index of (offset, length), before or behind them."""

    shape: tuple[int, ...]
    index: ChunkCodec
    index_bytes: int
    at_end: bool


@dataclass(frozen=True, eq=False)
class ZarrArray:
    """A Zarr array that is opened; nothing of it is read yet."""

    uri: str
    store: Store
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fill_value: Any
    chunk: ChunkCodec
    shards: Shards | None
    chunk_key: Callable[[tuple[int, ...]], str]
    dimension_names: tuple[str, ...] | None
    _indices: dict[str, Shaped[np.ndarray, "..."]] = field(default_factory=dict, repr=False)

    def read(self, selection: Sequence[slice], *, may_be_empty: bool = True) -> Shaped[np.ndarray, "..."]:
        """The region, in native byte order; chunks that are not stored are the fill value, as the format says.

        `selection` has a start and a stop inside the array for every axis. Raises ValueError for damaged
        chunks, and, unless `may_be_empty`, if not one chunk of the region is stored.
        """
        result = empty_planes(self.uri, tuple(part.stop - part.start for part in selection), self.dtype)
        check_memory(self.uri, self.chunk.num_bytes)
        sides = self.chunk.shape
        ranges = [range(s.start // side, -(-s.stop // side)) for s, side in zip(selection, sides, strict=True)]

        def place(position: tuple[int, ...]) -> bool:
            content = self._content_of(position)
            first = [number * side for number, side in zip(position, sides, strict=True)]
            into = result[
                tuple(
                    slice(max(start - part.start, 0), min(start + side, part.stop) - part.start)
                    for start, side, part in zip(first, sides, selection, strict=True)
                )
            ]
            if content is None:
                into[...] = self.fill_value
                return False
            try:
                decoded = self.chunk.decode(content)
            except DAMAGE as error:
                raise ImageFileError(
                    f"{self.uri}: chunk {self.chunk_key(position)} is damaged ({error}); copy or export it again"
                ) from error
            into[...] = decoded[
                tuple(
                    slice(max(part.start - start, 0), min(part.stop - start, side))
                    for start, side, part in zip(first, sides, selection, strict=True)
                )
            ]
            return True

        positions = list(itertools.product(*ranges))
        if len(positions) == 1:
            found = [place(positions[0])]
        else:
            is_local = isinstance(self.store, LocalStore)
            with ThreadPoolExecutor(min(len(positions), usable_cores() if is_local else 16)) as pool:
                found = list(pool.map(place, positions))
        if not any(found) and not may_be_empty:
            raise ImageFileError(
                f"{self.uri}: not one of the {len(found)} chunks of this plane is stored; the image was not copied "
                "whole, copy or export it again"
            )
        return result

    def _content_of(self, position: tuple[int, ...]) -> bytes | None:
        """The stored bytes of one chunk, None if it is not stored."""
        if self.shards is None:
            return get_or_none(self.store, joined_key(self.key, self.chunk_key(position)))
        ratio = [outer // inner for outer, inner in zip(self.shards.shape, self.chunk.shape, strict=True)]
        shard = tuple(number // count for number, count in zip(position, ratio, strict=True))
        inner = tuple(number % count for number, count in zip(position, ratio, strict=True))
        key = joined_key(self.key, self.chunk_key(shard))
        index = self._index_of(key)
        if index is None:
            return None
        start, length = (int(number) for number in index[inner])
        if start == length == _NO_CHUNK:
            return None
        try:
            return self.store.get_range(key, start, start + length)
        except ValueError as error:
            raise ImageFileError(f"{self.uri}: the index of shard {key} is damaged ({error}); copy it again") from error

    def _index_of(self, key: str) -> Shaped[np.ndarray, "..."] | None:
        assert self.shards is not None
        kept = self._indices.get(key)  # one look: another thread may clear the table between two
        if kept is not None:
            return kept
        index = self._read_index(key, self.shards)
        if len(self._indices) >= _MAX_KEPT_INDICES:
            self._indices.clear()
        if index is not None:
            self._indices[key] = index
        return index

    def _read_index(self, key: str, shards: Shards) -> Shaped[np.ndarray, "..."] | None:
        try:
            size = self.store.size(key)
        except NotFound:
            return None
        start = size - shards.index_bytes if shards.at_end else 0
        try:
            if size < shards.index_bytes:
                raise ValueError(f"it has {size} bytes, its index alone {shards.index_bytes}")
            return shards.index.decode(self.store.get_range(key, start, start + shards.index_bytes))
        except DAMAGE as error:
            if isinstance(error, OSError):
                raise
            raise ImageFileError(f"{self.uri}: the index of shard {key} is damaged ({error}); copy it again") from error


def get_or_none(store: Store, key: str) -> bytes | None:
    """The object, None if there is none."""
    try:
        return store.get(key)
    except NotFound:
        return None


def joined_key(*parts: str) -> str:
    """The key of an object in groups in groups; "" stands for the store's own root."""
    return "/".join(part.strip("/") for part in parts if part.strip("/"))
