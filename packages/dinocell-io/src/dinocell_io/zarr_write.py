"""Zarr arrays and groups in a folder, formats 2 and 3, written row of chunks by row of chunks."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from .zarr_codecs import encode_blosc


def write_group(folder: Path, attributes: Mapping[str, Any], *, zarr_format: int) -> None:
    """Write the description of a group, in a folder that exists or not."""
    folder.mkdir(parents=True, exist_ok=True)
    if zarr_format == 3:
        _write_json(folder / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes})
    else:
        _write_json(folder / ".zgroup", {"zarr_format": 2})
        _write_json(folder / ".zattrs", attributes)


def write_array(
    folder: Path,
    rows: Iterable[Shaped[np.ndarray, "y x"]],
    *,
    shape: tuple[int, int],
    dtype: np.dtype,
    chunk: int,
    zarr_format: int,
) -> None:
    """Write a plane [y x] that comes in rows of chunks: arrays of `chunk` rows each, the last with the rest.

    Chunks are blosc (zstd, shuffled), little-endian, and all are stored, also those that are 0, so
    that a chunk that is missing later is known to be missing.
    """
    folder.mkdir(parents=True)
    chunks = (min(chunk, shape[0]), min(chunk, shape[1]))
    stored = dtype.newbyteorder("<")
    _write_json(
        folder / ("zarr.json" if zarr_format == 3 else ".zarray"), _description(shape, stored, chunks, zarr_format)
    )
    for number, band in enumerate(rows):
        for column, left in enumerate(range(0, shape[1], chunks[1])):
            part = band[:, left : left + chunks[1]]
            content = np.zeros(chunks, stored)
            content[: part.shape[0], : part.shape[1]] = part
            path = folder / ("c" if zarr_format == 3 else "") / str(number) / str(column)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_blosc(content.tobytes(), typesize=stored.itemsize))


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


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
