"""Regions of Zarr arrays, formats 2 and 3, from any store.

A reader of our own: zarr-python takes as long to import as this package, 40 MB, and runs a thread of its own that does
not survive a fork into DataLoader workers; of the codecs, all that microscopes' files use are in imagecodecs.
"""

import itertools
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Shaped

from .damage import DAMAGE
from .local_store import LocalStore
from .memory import check_memory, empty_planes
from .store import NotFound, Store
from .zarr_codecs import Decode, bytes_codec

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
            raise ValueError(f"its data are {len(content)} bytes, expected {self.num_bytes}")
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
                raise ValueError(
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
            with ThreadPoolExecutor(min(len(positions), (os.cpu_count() or 1) if is_local else 16)) as pool:
                found = list(pool.map(place, positions))
        if not any(found) and not may_be_empty:
            raise ValueError(
                f"{self.uri}: not one of the {len(found)} chunks of this plane is stored; the image was not copied "
                "whole, copy or export it again"
            )
        return result

    def _content_of(self, position: tuple[int, ...]) -> bytes | None:
        """The stored bytes of one chunk, None if it is not stored."""
        if self.shards is None:
            return _get(self.store, _join(self.key, self.chunk_key(position)))
        ratio = [outer // inner for outer, inner in zip(self.shards.shape, self.chunk.shape, strict=True)]
        shard = tuple(number // count for number, count in zip(position, ratio, strict=True))
        inner = tuple(number % count for number, count in zip(position, ratio, strict=True))
        key = _join(self.key, self.chunk_key(shard))
        index = self._index_of(key)
        if index is None:
            return None
        start, length = (int(number) for number in index[inner])
        if start == length == _NO_CHUNK:
            return None
        try:
            return self.store.get_range(key, start, start + length)
        except ValueError as error:
            raise ValueError(f"{self.uri}: the index of shard {key} is damaged ({error}); copy it again") from error

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
            raise ValueError(f"{self.uri}: the index of shard {key} is damaged ({error}); copy it again") from error


def read_json(store: Store, key: str, uri: str) -> dict[str, Any] | None:
    """The object at `key` as JSON, None if there is none; ValueError if it is not a JSON object."""
    content = _get(store, key)
    if content is None:
        return None
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{uri}: {key} is not JSON ({error}); it is damaged, copy or export it again") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"{uri}: {key} holds a JSON {type(parsed).__name__}, expected an object; export it again")
    return parsed


def open_zarr_array(store: Store, key: str, uri: str) -> ZarrArray:
    """The array at `key`, of format 3 (`zarr.json`) or 2 (`.zarray`).

    Raises ValueError if there is none, its description is damaged, or it needs a codec that is not known here.
    """
    try:
        described = read_json(store, _join(key, "zarr.json"), uri)
        if described is not None and described.get("node_type") == "array":
            return _array_3(described, store, key, uri)
        described = read_json(store, _join(key, ".zarray"), uri)
        if described is not None:
            return _array_2(described, store, key, uri)
    except (KeyError, TypeError, AttributeError, OverflowError, IndexError) as error:
        raise ValueError(
            f"{uri}: the description of the array {key} is damaged ({type(error).__name__}: {error}); export it again"
        ) from error
    raise ValueError(f"{uri} has no Zarr array {key!r} (no zarr.json of an array, no .zarray); it is not whole")


def _array_2(described: Mapping[str, Any], store: Store, key: str, uri: str) -> ZarrArray:
    shape, chunks = _lengths(described["shape"], uri), _lengths(described["chunks"], uri)
    dtype = _dtype(described["dtype"], uri)
    decoders = []
    if described.get("compressor") is not None:
        decoders.append(_known_codec(described["compressor"]["id"], described["compressor"], uri))
    if described.get("filters"):
        filters = ", ".join(str(filter_["id"]) for filter_ in described["filters"])
        raise ValueError(f"{uri} uses the filter {filters}, which is not read here; save it without filters")
    order = range(len(shape)) if described.get("order", "C") == "C" else reversed(range(len(shape)))
    separator = str(described.get("dimension_separator", "."))
    names = (read_json(store, _join(key, ".zattrs"), uri) or {}).get("_ARRAY_DIMENSIONS")
    _check_chunks(shape, chunks, uri)
    return ZarrArray(
        uri=uri,
        store=store,
        key=key,
        shape=shape,
        dtype=dtype.newbyteorder("="),
        fill_value=_fill_value(described.get("fill_value"), dtype, uri),
        chunk=ChunkCodec(chunks, dtype, tuple(decoders), tuple(order)),
        shards=None,
        chunk_key=lambda position: separator.join(map(str, position)),
        dimension_names=None if names is None else tuple(map(str, names)),
    )


def _array_3(described: Mapping[str, Any], store: Store, key: str, uri: str) -> ZarrArray:
    shape = _lengths(described["shape"], uri)
    grid = described["chunk_grid"]
    if grid["name"] != "regular":
        raise ValueError(f"{uri} has the chunk grid {grid['name']}, expected a regular one; save it with equal chunks")
    chunks = _lengths(grid["configuration"]["chunk_shape"], uri)
    dtype = _dtype(described["data_type"], uri)
    _check_chunks(shape, chunks, uri)
    codecs, shards, inner = described["codecs"], None, chunks
    if codecs[0]["name"] == "sharding_indexed":
        if len(codecs) > 1:
            raise ValueError(f"{uri} packs whole shards with {codecs[1]['name']}, which is not read here")
        sharding = codecs[0]["configuration"]
        inner, codecs = _lengths(sharding["chunk_shape"], uri), sharding["codecs"]
        shards = _shards(chunks, inner, sharding, uri)
    names = described.get("dimension_names")
    return ZarrArray(
        uri=uri,
        store=store,
        key=key,
        shape=shape,
        dtype=dtype.newbyteorder("="),
        fill_value=_fill_value(described.get("fill_value"), dtype, uri),
        chunk=_chunk_codec(inner, dtype, codecs, uri),
        shards=shards,
        chunk_key=_chunk_key_3(described.get("chunk_key_encoding", {"name": "default"}), uri),
        dimension_names=None if not names or None in names else tuple(map(str, names)),
    )


def _shards(outer: tuple[int, ...], inner: tuple[int, ...], sharding: Mapping[str, Any], uri: str) -> Shards:
    if len(outer) != len(inner) or any(a % b for a, b in zip(outer, inner, strict=True)):
        raise ValueError(f"{uri} has shards of {outer} that do not divide into chunks of {inner}; it is damaged")
    counts = tuple(a // b for a, b in zip(outer, inner, strict=True))
    codecs = sharding.get(
        "index_codecs", [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    )
    index = _chunk_codec((*counts, 2), np.dtype("<u8"), codecs, uri)
    if {codec["name"] for codec in codecs} - {"bytes", "crc32c"}:
        raise ValueError(f"{uri} packs the index of its shards, which is not read here; save it with plain indices")
    check_sums = sum(4 for codec in codecs if codec["name"] == "crc32c")
    return Shards(outer, index, index.num_bytes + check_sums, sharding.get("index_location", "end") == "end")


def _chunk_codec(shape: tuple[int, ...], dtype: np.dtype, codecs: Sequence[Mapping[str, Any]], uri: str) -> ChunkCodec:
    axes = tuple(range(len(shape)))
    decoders: list[Decode] = []
    packed = 0
    for codec in codecs:
        name, configuration = codec["name"], codec.get("configuration") or {}
        if name == "transpose":
            axes = tuple(axes[int(axis)] for axis in configuration["order"])
            if sorted(axes) != list(range(len(shape))):
                raise ValueError(f"{uri}: the codec transpose has the order {configuration['order']}; it is damaged")
        elif name == "bytes":
            dtype = dtype.newbyteorder("<" if configuration.get("endian", "little") == "little" else ">")
        else:
            decoders.insert(0, _known_codec(name, configuration, uri))
            packed += name != "crc32c"
    if packed > 1:
        raise ValueError(f"{uri} is packed {packed} times over, which is not read here; save it with one compressor")
    return ChunkCodec(shape, dtype, tuple(decoders), axes)


def _chunk_key_3(encoding: Mapping[str, Any], uri: str) -> Callable[[tuple[int, ...]], str]:
    name = encoding["name"]
    if name not in ("default", "v2"):
        raise ValueError(f"{uri} names its chunks by {name!r}, expected default or v2; it is damaged or too new")
    separator = (encoding.get("configuration") or {}).get("separator", "/" if name == "default" else ".")
    first = ("c",) if name == "default" else ()
    return lambda position: str(separator).join((*first, *map(str, position))) or "0"


def _known_codec(name: str, configuration: Mapping[str, Any], uri: str) -> Decode:
    decoder = bytes_codec(name, configuration)
    if decoder is None:
        raise ValueError(
            f"{uri} is packed with {name}, which is not read here; save it with blosc, zstd, gzip, lz4 or uncompressed"
        )
    return decoder


def _lengths(numbers: Any, uri: str) -> tuple[int, ...]:
    lengths = tuple(numbers)
    if not all(isinstance(length, int) and not isinstance(length, bool) and length > 0 for length in lengths):
        raise ValueError(f"{uri} has an array of shape or chunks {list(lengths)}, expected positive whole numbers")
    return lengths


def _check_chunks(shape: tuple[int, ...], chunks: tuple[int, ...], uri: str) -> None:
    if len(shape) != len(chunks) or not shape:
        raise ValueError(f"{uri} has an array of shape {shape} in chunks of {chunks}; it is damaged, export it again")


def _dtype(stated: Any, uri: str) -> np.dtype:
    try:
        dtype = np.dtype(stated) if isinstance(stated, str) else None
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in "buif":
        raise ValueError(f"{uri} holds {stated!r}, expected whole numbers or floats")
    return dtype


def _fill_value(stated: Any, dtype: np.dtype, uri: str) -> Any:
    if stated is None:
        return dtype.type(0)
    try:
        exact = float(stated) if isinstance(stated, str) else stated
        with np.errstate(all="ignore"):
            value = np.asarray(exact).astype(dtype)[()]
        if dtype.kind != "f" and value != exact:
            raise OverflowError
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{uri} has the fill value {stated!r}, which is no {dtype}; it is damaged") from error
    return value


def _get(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except NotFound:
        return None


def _join(*parts: str) -> str:
    return "/".join(part.strip("/") for part in parts if part.strip("/"))
