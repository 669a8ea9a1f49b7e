"""Zarr arrays and groups in a folder or a bucket, formats 2 and 3, written row of chunks by row of chunks."""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dinocell_io.formats.zarr.codecs import encode_blosc
from dinocell_io.stores.store import Store

_PUTS_AT_ONCE = 16


@dataclass(frozen=True)
class StoredFolder:
    """The objects below a key of a store, written as the files of a folder are; each is whole, all are not at once."""

    store: Store
    key: str

    def __truediv__(self, name: str) -> "StoredFolder":
        return StoredFolder(self.store, f"{self.key}/{name}")

    def __str__(self) -> str:
        return self.key


def write_group(folder: Path | StoredFolder, attributes: Mapping[str, Any], *, zarr_format: int) -> None:
    """Write the description of a group, in a folder that exists or not; what makes it a group comes last."""
    if zarr_format == 3:
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        _put(folder, {"zarr.json": _json(group)})
    else:
        _put(folder, {".zattrs": _json(attributes)})
        _put(folder, {".zgroup": _json({"zarr_format": 2})})


def write_array(
    folder: Path | StoredFolder,
    rows: Iterable[Shaped[np.ndarray, "y x"]],
    *,
    shape: tuple[int, int],
    dtype: np.dtype,
    chunk: int,
    zarr_format: int,
) -> None:
    """Write a plane [y x] that comes in rows of chunks: arrays of `chunk` rows each, the last with the rest.

    Chunks are blosc (zstd, shuffled), little-endian, and all are stored, also those that are 0, so
    that a chunk that is missing later is known to be missing. The array's description is written after them.
    """
    chunks = (min(chunk, shape[0]), min(chunk, shape[1]))
    stored = dtype.newbyteorder("<")
    first = "c/" if zarr_format == 3 else ""
    for number, band in enumerate(rows):
        packed = {}
        for column, left in enumerate(range(0, shape[1], chunks[1])):
            part = band[:, left : left + chunks[1]]
            content = np.zeros(chunks, stored)
            content[: part.shape[0], : part.shape[1]] = part
            packed[f"{first}{number}/{column}"] = encode_blosc(content.tobytes(), typesize=stored.itemsize)
        _put(folder, packed)
    description = _description(shape, stored, chunks, zarr_format)
    _put(folder, {"zarr.json" if zarr_format == 3 else ".zarray": _json(description)})


def _description(shape: tuple[int, int], dtype: np.dtype, chunks: tuple[int, int], zarr_format: int) -> dict[str, Any]:
    blosc = {"cname": "zstd", "clevel": 5, "blocksize": 0}
    if zarr_format == 2:
        return {
            "zarr_format": 2,
            "shape": shape,
            "chunks": chunks,
            "dtype": dtype.str,
            "compressor": {"id": "blosc", "shuffle": 1, **blosc},
            "fill_value": 0,
            "order": "C",
            "filters": None,
            "dimension_separator": "/",
        }
    packed = {"shuffle": "shuffle", "typesize": dtype.itemsize, **blosc}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "blosc", "configuration": packed},
        ],
        "dimension_names": ["y", "x"],
        "attributes": {},
    }


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def _put(folder: Path | StoredFolder, files: Mapping[str, bytes]) -> None:
    if isinstance(folder, StoredFolder):
        with ThreadPoolExecutor(min(_PUTS_AT_ONCE, len(files))) as pool:
            list(pool.map(lambda name: folder.store.put(f"{folder.key}/{name}", files[name]), files))
        return
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
