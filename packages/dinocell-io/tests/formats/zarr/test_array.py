"""Zarr arrays of every kind that zarr-python writes are read as zarr-python reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinocell_io.formats.zarr.codecs import bytes_codec, crc32c
from dinocell_io.formats.zarr.description import open_zarr_array
from dinocell_io.stores.local_store import LocalStore

zarr = pytest.importorskip("zarr", reason="zarr-python is the oracle")


def pixels(dtype: str = "uint16") -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(3, 37, 53)) * 90).astype(dtype)


def read(folder: Path, *parts: slice) -> np.ndarray:
    array = open_zarr_array(LocalStore(folder.parent), folder.name, str(folder))
    selection = parts or tuple(slice(0, size) for size in array.shape)
    return array.read(selection)


def codecs_2() -> list[Any]:
    from numcodecs import BZ2, LZ4, LZMA, Blosc, GZip, Zlib, Zstd

    return [
        None,
        Zstd(3),
        Zlib(3),
        GZip(3),
        LZ4(),
        BZ2(3),
        LZMA(),
        Blosc(cname="lz4", shuffle=Blosc.SHUFFLE),
        Blosc(cname="zstd", shuffle=Blosc.BITSHUFFLE),
        Blosc(cname="zlib", shuffle=Blosc.NOSHUFFLE),
    ]


@pytest.mark.parametrize("codec", codecs_2(), ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_format_2_reads_as_zarr_reads_it(tmp_path: Path, codec: Any, order: str) -> None:
    truth = pixels()
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=truth.shape,
        chunks=(2, 16, 20),
        dtype=truth.dtype,
        zarr_format=2,
        compressors=codec,
        order=order,
    )
    array[:] = truth
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), truth)
    np.testing.assert_array_equal(
        read(tmp_path / "a.zarr", slice(1, 3), slice(15, 33), slice(7, 8)), truth[1:3, 15:33, 7:8]
    )


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", ">u2", "uint32", "int64", "float32", ">f8"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_number_type_is_read(tmp_path: Path, dtype: str, zarr_format: int) -> None:
    truth = pixels(dtype)
    options: dict[str, Any] = {}
    if dtype.startswith(">") and zarr_format == 3:
        options["serializer"] = zarr.codecs.BytesCodec(endian="big")
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=truth.shape,
        chunks=(1, 20, 20),
        dtype=truth.dtype.newbyteorder("=") if options else truth.dtype,
        zarr_format=zarr_format,
        **options,
    )
    array[:] = truth
    found = read(tmp_path / "a.zarr")
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("compressor", ["none", "zstd", "gzip", "blosc", "crc32c", "zstd+crc32c"])
@pytest.mark.parametrize("shards", [None, (4, 32, 40)])
@pytest.mark.parametrize("location", ["start", "end"])
def test_format_3_reads_as_zarr_reads_it(
    tmp_path: Path, compressor: str, shards: tuple[int, ...] | None, location: str
) -> None:
    from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

    known = {"zstd": ZstdCodec(level=3), "gzip": GzipCodec(level=3), "blosc": BloscCodec(), "crc32c": Crc32cCodec()}
    truth = pixels()
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=truth.shape,
        chunks=(2, 16, 20),
        shards=None if shards is None else {"shape": shards, "index_location": location},
        dtype=truth.dtype,
        zarr_format=3,
        compressors=[known[name] for name in compressor.split("+") if name != "none"],
        filters=[zarr.codecs.TransposeCodec(order=(1, 2, 0))],
    )
    array[:] = truth
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), truth)
    np.testing.assert_array_equal(
        read(tmp_path / "a.zarr", slice(2, 3), slice(0, 37), slice(40, 53)), truth[2:3, :, 40:53]
    )


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("encoding", ["default", "v2"])
def test_chunks_are_found_under_every_naming(tmp_path: Path, zarr_format: int, separator: str, encoding: str) -> None:
    truth = pixels()
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=truth.shape,
        chunks=(3, 20, 20),
        dtype=truth.dtype,
        zarr_format=zarr_format,
        chunk_key_encoding={"name": "v2" if zarr_format == 2 else encoding, "separator": separator},
    )
    array[:] = truth
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), truth)


@pytest.mark.parametrize("shards", [None, (2, 32, 32)])
@pytest.mark.parametrize(("dtype", "fill"), [("uint16", 7), ("float32", np.nan), ("float32", -np.inf), ("bool", True)])
def test_chunks_that_are_not_stored_are_the_fill_value(
    tmp_path: Path, shards: tuple[int, ...] | None, dtype: str, fill: float
) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(2, 64, 64), chunks=(1, 16, 16), shards=shards, dtype=dtype, fill_value=fill
    )
    array[0, 20:40, 3:5] = 1
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), array[:])
    opened = open_zarr_array(LocalStore(tmp_path), "a.zarr", "a.zarr")
    with pytest.raises(ValueError, match=r"not one of the 1 chunks of this plane is stored; .* not copied whole"):
        opened.read([slice(1, 2), slice(0, 16), slice(48, 64)], may_be_empty=False)


@pytest.mark.parametrize("compressors", ["zstd", "blosc", "gzip"])
def test_a_damaged_chunk_is_refused_by_name(tmp_path: Path, compressors: str) -> None:
    known = {"zstd": zarr.codecs.ZstdCodec(), "blosc": zarr.codecs.BloscCodec(), "gzip": zarr.codecs.GzipCodec()}
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(40, 40), chunks=(20, 20), dtype="uint16", compressors=known[compressors]
    )
    array[:] = np.random.default_rng(1).integers(0, 9, (40, 40))
    chunk = tmp_path / "a.zarr" / "c" / "1" / "0"
    content = chunk.read_bytes()
    for damaged in (content[:-9], content[: len(content) // 2], b"", b"\0" * len(content), content + b"more" * 9):
        chunk.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.zarr: chunk c/1/0 is damaged"):
            read(tmp_path / "a.zarr")


def test_a_shard_with_a_damaged_index_is_refused(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(40, 40), chunks=(20, 20), shards=(40, 40), dtype="uint16")
    array[:] = 5
    shard = tmp_path / "a.zarr" / "c" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[-20] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"index of shard a\.zarr/c/0/0 is damaged \(its check sum"):
        read(tmp_path / "a.zarr")
    shard.write_bytes(content[:10])
    with pytest.raises(ValueError, match=r"index of shard .*it has 10 bytes, its index alone 68"):
        read(tmp_path / "a.zarr")


def test_a_chunk_that_unpacks_to_more_than_its_array_is_stopped(tmp_path: Path) -> None:
    from numcodecs import GZip, Zstd

    bomb = bytes(30_000_000)
    for codec in (GZip(9), Zstd(9)):
        array = zarr.create_array(
            tmp_path / f"{codec.codec_id}.zarr",
            shape=(20, 20),
            chunks=(20, 20),
            dtype="uint8",
            zarr_format=2,
            compressors=codec,
        )
        array[:] = 1
        (tmp_path / f"{codec.codec_id}.zarr" / "0.0").write_bytes(codec.encode(bomb))
        with pytest.raises(ValueError, match=r"chunk 0\.0 is damaged"):
            read(tmp_path / f"{codec.codec_id}.zarr")


def test_an_array_larger_than_memory_is_refused(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(10**9, 10**9), chunks=(10**4, 10**4), dtype="uint8")
    with pytest.raises(ValueError, match=r"a\.zarr needs 1000000000\.0 GB as an array"):
        read(tmp_path / "a.zarr")
    assert read(tmp_path / "a.zarr", slice(0, 5), slice(10**9 - 3, 10**9)).tolist() == [[0, 0, 0]] * 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codecs": [{"name": "bytes"}, {"name": "sprintz"}]}, "packed with sprintz"),
        ({"data_type": "complex64"}, "holds 'complex64', expected whole numbers or floats"),
        ({"data_type": "r16"}, "holds 'r16'"),
        ({"data_type": {"name": "numpy.datetime64"}}, "expected whole numbers or floats"),
        ({"shape": [-4, 4]}, r"shape or chunks \[-4, 4\]"),
        ({"shape": [4, 4, 4]}, r"shape \(4, 4, 4\) in chunks of \(2, 2\)"),
        ({"shape": "4"}, "expected positive whole numbers"),
        ({"chunk_grid": {"name": "rectilinear"}}, "the chunk grid rectilinear"),
        ({"chunk_key_encoding": {"name": "other"}}, "names its chunks by 'other'"),
        ({"chunk_key_encoding": {"name": "v2", "configuration": {"separator": {"a": 1}}}}, "expected '/' or '.'"),
        ({"fill_value": "seven"}, "the fill value 'seven'"),
        ({"fill_value": 300}, "the fill value 300, which is not a uint8"),
        ({"codecs": []}, "the description of the array a.zarr is damaged"),
        ({"codecs": 5}, "the description of the array a.zarr is damaged"),
        ({"codecs": [{"name": "zstd"}, {"name": "gzip"}]}, "packed 2 times over"),
        ({"node_type": "group"}, "holds no Zarr group or array"),
    ],
)
def test_a_description_that_cannot_be_followed_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(4, 4), chunks=(2, 2), dtype="uint8")
    described = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    (tmp_path / "a.zarr" / "zarr.json").write_text(json.dumps(described | change))
    with pytest.raises(ValueError, match=rf"a\.zarr.*{message}"):
        read(tmp_path / "a.zarr")


def test_a_filter_of_format_2_is_refused_by_name(tmp_path: Path) -> None:
    from numcodecs import Delta

    zarr.create_array(
        tmp_path / "a.zarr", shape=(4, 4), chunks=(2, 2), dtype="uint8", zarr_format=2, filters=[Delta("u1")]
    )
    with pytest.raises(ValueError, match=r"a\.zarr uses the filter delta"):
        read(tmp_path / "a.zarr")


def test_jpeg_xl_chunks_of_several_planes_are_decoded() -> None:
    import imagecodecs

    planes = pixels("uint16")
    decode = bytes_codec("imagecodecs_jpegxl", {})
    assert decode is not None
    packed = imagecodecs.jpegxl_encode(planes, lossless=True, photometric="gray")
    np.testing.assert_array_equal(np.frombuffer(decode(packed, planes.nbytes), "u2").reshape(planes.shape), planes)


def test_crc32c_is_that_of_rfc_3720() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E
