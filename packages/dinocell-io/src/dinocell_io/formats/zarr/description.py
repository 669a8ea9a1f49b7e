"""What the descriptions of Zarr arrays say, formats 2 and 3: shape, chunks, number type, codecs, names of chunks."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dinocell_io.formats.zarr.array import ChunkCodec, Shards, ZarrArray, get_or_none, joined_key
from dinocell_io.formats.zarr.codecs import Decode, bytes_codec
from dinocell_io.stores.store import Store
from dinocell_io.system.image_file_error import ImageFileError


def read_json(store: Store, key: str, uri: str) -> dict[str, Any] | None:
    """The object at `key` as JSON, None if there is none; ValueError if it is not a JSON object."""
    content = get_or_none(store, key)
    if content is None:
        return None
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ImageFileError(f"{uri}: {key} is not JSON ({error}); it is damaged, copy or export it again") from error
    if not isinstance(parsed, dict):
        raise ImageFileError(f"{uri}: {key} holds a JSON {type(parsed).__name__}, expected an object; export it again")
    return parsed


def open_zarr_array(store: Store, key: str, uri: str) -> ZarrArray:
    """The array at `key`, of format 3 (`zarr.json`) or 2 (`.zarray`).

    Raises ValueError if there is none, its description is damaged, or it needs a codec that is not known here.
    """
    try:
        described = read_json(store, joined_key(key, "zarr.json"), uri)
        if described is not None and described.get("node_type") == "array":
            return _array_3(described, store, key, uri)
        described = read_json(store, joined_key(key, ".zarray"), uri)
        if described is not None:
            return _array_2(described, store, key, uri)
    except (KeyError, TypeError, AttributeError, OverflowError, IndexError) as error:
        raise ImageFileError(
            f"{uri}: the description of the array {key} is damaged ({type(error).__name__}: {error}); export it again"
        ) from error
    raise ImageFileError(
        f"{uri} holds no Zarr group or array (no zarr.json, .zgroup or .zarray); check the address, and whether all "
        "of it was copied"
    )


def _array_2(described: Mapping[str, Any], store: Store, key: str, uri: str) -> ZarrArray:
    shape, chunks = _lengths(described["shape"], uri), _lengths(described["chunks"], uri)
    dtype = _dtype(described["dtype"], uri)
    decoders = []
    if described.get("compressor") is not None:
        decoders.append(_known_codec(described["compressor"]["id"], described["compressor"], uri))
    if described.get("filters"):
        filters = ", ".join(str(filter_["id"]) for filter_ in described["filters"])
        raise ImageFileError(f"{uri} uses the filter {filters}, which is not read here; save it without filters")
    order = {"C": range(len(shape)), "F": reversed(range(len(shape)))}.get(described.get("order", "C"))
    if order is None:
        raise ImageFileError(f"{uri} orders its chunks by {described['order']!r}, expected 'C' or 'F'; it is damaged")
    separator = _separator(described.get("dimension_separator", "."), uri)
    names = (read_json(store, joined_key(key, ".zattrs"), uri) or {}).get("_ARRAY_DIMENSIONS")
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
        raise ImageFileError(
            f"{uri} has the chunk grid {grid['name']}, expected a regular one; save it with equal chunks"
        )
    chunks = _lengths(grid["configuration"]["chunk_shape"], uri)
    dtype = _dtype(described["data_type"], uri)
    _check_chunks(shape, chunks, uri)
    codecs, shards, inner = described["codecs"], None, chunks
    if codecs[0]["name"] == "sharding_indexed":
        if len(codecs) > 1:
            raise ImageFileError(f"{uri} packs whole shards with {codecs[1]['name']}, which is not read here")
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
        raise ImageFileError(f"{uri} has shards of {outer} that do not divide into chunks of {inner}; it is damaged")
    counts = tuple(a // b for a, b in zip(outer, inner, strict=True))
    codecs = sharding.get(
        "index_codecs", [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    )
    index = _chunk_codec((*counts, 2), np.dtype("<u8"), codecs, uri)
    if {codec["name"] for codec in codecs} - {"bytes", "crc32c"}:
        raise ImageFileError(f"{uri} packs the index of its shards, which is not read here; save it with plain indices")
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
                raise ImageFileError(
                    f"{uri}: the codec transpose has the order {configuration['order']}; it is damaged"
                )
        elif name == "bytes":
            dtype = dtype.newbyteorder("<" if configuration.get("endian", "little") == "little" else ">")
        else:
            decoders.insert(0, _known_codec(name, configuration, uri))
            packed += name != "crc32c"
    if packed > 1:
        raise ImageFileError(
            f"{uri} is packed {packed} times over, which is not read here; save it with one compressor"
        )
    return ChunkCodec(shape, dtype, tuple(decoders), axes)


def _chunk_key_3(encoding: Mapping[str, Any], uri: str) -> Callable[[tuple[int, ...]], str]:
    name = encoding["name"]
    if name not in ("default", "v2"):
        raise ImageFileError(f"{uri} names its chunks by {name!r}, expected default or v2; it is damaged or too new")
    usual = "/" if name == "default" else "."
    separator = _separator((encoding.get("configuration") or {}).get("separator", usual), uri)
    first = ("c",) if name == "default" else ()
    return lambda position: separator.join((*first, *map(str, position))) or "0"


def _separator(given: Any, uri: str) -> str:
    if given not in ("/", "."):
        raise ImageFileError(
            f"{uri} parts the numbers of a chunk's name by {given!r}, expected '/' or '.'; it is damaged"
        )
    return str(given)


def _known_codec(name: str, configuration: Mapping[str, Any], uri: str) -> Decode:
    decoder = bytes_codec(name, configuration)
    if decoder is None:
        raise ImageFileError(
            f"{uri} is packed with {name}, which is not read here; save it with blosc, zstd, gzip, lz4 or uncompressed"
        )
    return decoder


def _lengths(numbers: Any, uri: str) -> tuple[int, ...]:
    lengths = tuple(numbers)
    if not all(isinstance(length, int) and not isinstance(length, bool) and length > 0 for length in lengths):
        raise ImageFileError(f"{uri} has an array of shape or chunks {list(lengths)}, expected positive whole numbers")
    return lengths


def _check_chunks(shape: tuple[int, ...], chunks: tuple[int, ...], uri: str) -> None:
    if len(shape) != len(chunks) or not shape:
        raise ImageFileError(
            f"{uri} has an array of shape {shape} in chunks of {chunks}; it is damaged, export it again"
        )


def _dtype(stated: Any, uri: str) -> np.dtype:
    try:
        dtype = np.dtype(stated) if isinstance(stated, str) else None
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in "buif":
        raise ImageFileError(f"{uri} holds {stated!r}, expected whole numbers or floats")
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
        raise ImageFileError(f"{uri} has the fill value {stated!r}, which is not a {dtype}; it is damaged") from error
    return value
