"""Files with damage at random places: an image, or a ValueError that names the file; never a crash or a hang."""

import io
import json
import struct
import tempfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from dinocell_io import open_image, read_image, read_labels, write_labels

LIMITS = settings(deadline=20_000, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    content = io.BytesIO()
    if kind.startswith("tif"):
        options: dict[str, Any] = {
            "tif plain": {"metadata": None},
            "tif deflate": {"compression": "zlib", "predictor": True, "metadata": None},
            "tif lzw": {"compression": "lzw", "rowsperstrip": 5, "metadata": None},
            "tif tiles": {"compression": "zlib", "tile": (16, 16)},
            "tif ome": {"ome": True, "metadata": {"axes": "CYX", "Channel": {"Name": ["a", "b"]}}},
            "tif imagej": {"imagej": True, "metadata": {"axes": "CYX"}},
        }[kind]
        tifffile.imwrite(content, pixels, photometric=None if "imagej" in kind else "minisblack", **options)
    elif kind == "npy":
        np.save(content, pixels)
    else:
        PillowImage.fromarray((pixels[0] >> 8).astype(np.uint8)).save(content, format=kind)
    return content.getvalue()


KINDS = ["tif plain", "tif deflate", "tif lzw", "tif tiles", "tif ome", "tif imagej", "npy", "png", "jpeg"]


@cache
def whole_file(kind: str) -> bytes:
    return encoded(np.random.default_rng(0).integers(1, 65536, (2, 20, 24)).astype(np.uint16), kind)


def read_or_refuse(path: Path) -> np.ndarray | None:
    """The pixels, or None for a refusal that names the file."""
    try:
        return read_image(path).pixels
    except ValueError as error:
        assert path.name in str(error), error  # noqa: PT017
        return None


@pytest.mark.parametrize("kind", KINDS)
@LIMITS
@given(data=st.data())
def test_changed_bytes_give_an_image_or_a_refusal(kind: str, data: st.DataObject) -> None:
    content = bytearray(whole_file(kind))
    # most of what can go wrong is in the first and the last bytes: headers, page lists, tags
    near = st.one_of(
        st.integers(0, min(400, len(content) - 1)), st.integers(max(0, len(content) - 400), len(content) - 1)
    )
    places = st.one_of(near, st.integers(0, len(content) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=6)):
        content[place] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"fuzzed.{kind.split()[0]}")
        path.write_bytes(content)
        pixels = read_or_refuse(path)
        assert pixels is None or (pixels.ndim == 3 and 0 not in pixels.shape)


@pytest.mark.parametrize("kind", ["tif deflate", "tif lzw", "tif tiles", "png", "npy"])
@LIMITS
@given(share=st.floats(0, 0.999))
def test_a_cut_file_is_never_a_black_image(kind: str, share: float) -> None:
    content = whole_file(kind)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"cut.{kind.split()[0]}")
        path.write_bytes(content)
        whole = read_image(path).pixels
        path.write_bytes(content[: max(1, int(len(content) * share))])
        pixels = read_or_refuse(path)
        assert pixels is None or np.array_equal(pixels, whole)


@LIMITS
@given(content=st.binary(min_size=1, max_size=300), suffix=st.sampled_from(["tif", "png", "jpg", "npy", "czi", "svs"]))
def test_random_bytes_are_refused(content: bytes, suffix: str) -> None:
    magic = {"tif": b"II*\0", "svs": b"MM\0*", "png": b"\x89PNG\r\n\x1a\n", "jpg": b"\xff\xd8\xff", "npy": b"\x93NUMPY"}
    with tempfile.TemporaryDirectory() as folder:
        for start in (b"", magic.get(suffix, b"ZISRAWFILE")):
            path = Path(folder, f"random.{suffix}")
            path.write_bytes(start + content)
            assert read_or_refuse(path) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, as the keys that lead to it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [path, *(place for key, part in inner for place in places_in(part, (*path, key)))]


@cache
def whole_zarr(format_: int) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "whole.zarr")
        if format_ == 3:
            image.mkdir()
            described = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5"}}}
            (image / "zarr.json").write_text(json.dumps(described))
        write_labels(image, np.arange(40 * 50, dtype=np.uint16).reshape(40, 50), pixel_size_um=0.5)
        return {str(path.relative_to(image)): path.read_bytes() for path in image.rglob("*") if path.is_file()}


@pytest.mark.parametrize("format_", [2, 3])
@LIMITS
@given(data=st.data())
def test_changed_zarr_descriptions_give_an_image_or_a_refusal(format_: int, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "fuzzed.zarr")
        for name, content in whole_zarr(format_).items():
            (image / name).parent.mkdir(parents=True, exist_ok=True)
            (image / name).write_bytes(content)
        files = [path for path in image.rglob("*") if path.name in ("zarr.json", ".zarray", ".zattrs", ".zgroup")]
        file = data.draw(st.sampled_from(sorted(files)))
        described = json.loads(file.read_text())
        place = data.draw(st.sampled_from(places_in(described)))
        value = data.draw(json_values)
        if place:
            inside = described
            for key in place[:-1]:
                inside = inside[key]
            inside[place[-1]] = value
        else:
            described = value
        file.write_text(json.dumps(described))
        try:
            opened = open_image(image / "labels" / "cells")
            corner = opened.read(tuple(slice(0, min(8, size)) for size in opened.shape[-2:]), z=None, t=None)
            assert corner.ndim == 3
            read_labels(image)
        except ValueError as error:
            assert "fuzzed.zarr" in str(error)  # noqa: PT017


def png_claiming(width: int, height: int, content: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_a_small_file_that_claims_a_large_image_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_claiming(200_000, 200_000, bytes(1000)))
    with pytest.raises(ValueError, match=r"bomb\.png says it holds 40000000000 bytes of pixels in \d+ bytes"):
        read_image(tmp_path / "bomb.png")

    tifffile.imwrite(tmp_path / "bomb.tif", np.zeros((64, 64), np.uint8), compression="zlib", metadata=None)
    with tifffile.TiffFile(tmp_path / "bomb.tif", mode="r+b") as tif:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tif.pages[0].tags[name].overwrite(60_000)
    with pytest.raises(ValueError, match=r"bomb\.tif (says it holds 3600000000 bytes|cannot be read)"):
        read_image(tmp_path / "bomb.tif")

    header = b"\x93NUMPY\x01\x00"
    described = b"{'descr': '<u2', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + b"\n"
    (tmp_path / "bomb.npy").write_bytes(header + struct.pack("<H", len(described)) + described + bytes(64))
    with pytest.raises(ValueError, match=r"bomb\.npy .*its numbers reach to byte 2000000000128 of 192"):
        read_image(tmp_path / "bomb.npy")


def test_a_page_list_that_runs_in_a_circle_gives_each_page_once(tmp_path: Path) -> None:
    path = tmp_path / "circle.tif"
    tifffile.imwrite(path, np.ones((2, 8, 8), np.uint8), photometric="minisblack", metadata=None)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        first, second = tif.pages[0].offset, tif.pages[1].offset
        num_tags = len(tif.pages[1].tags)
    struct.pack_into("<I", content, second + 2 + 12 * num_tags, first)
    path.write_bytes(content)
    pixels = read_or_refuse(path)
    assert pixels is not None
    assert pixels.shape == (2, 8, 8)
