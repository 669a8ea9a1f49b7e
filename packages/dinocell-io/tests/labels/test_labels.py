"""Label images come back as they were written, and what is no label image is refused."""

import itertools
import struct
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PillowImage

from dinocell_io import read_image, read_labels, write_label_rows, write_labels
from dinocell_io.testing import ObjectServer

label_arrays = hnp.arrays(
    dtype=st.sampled_from([np.uint8, np.uint16, np.uint32, np.int16, np.int32, np.int64, np.uint64]),
    shape=hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.integers(0, 127),
)


@settings(max_examples=60, deadline=None)
@given(
    labels=label_arrays,
    largest=st.sampled_from([0, 1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1]),
    suffix=st.sampled_from([".tif", ".tiff", ".png", ".npy"]),
)
def test_labels_come_back_exactly_in_the_smallest_of_two_dtypes(labels: np.ndarray, largest: int, suffix: str) -> None:
    if largest <= np.iinfo(labels.dtype).max:
        labels[0, 0] = largest
    top = int(labels.max())
    if suffix == ".png" and top > 65535:
        suffix = ".tif"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"labels{suffix}")
        write_labels(path, labels)
        back = read_labels(path)
        assert back.dtype == (np.uint16 if top <= 65535 else np.uint32)
        np.testing.assert_array_equal(back, labels)
        assert [entry.name for entry in Path(folder).iterdir()] == [path.name]


@pytest.mark.parametrize("top", [65535, 65536, 2**32 - 1])
def test_other_readers_see_the_same_labels(tmp_path: Path, top: int) -> None:
    labels = np.array([[0, 1, 2], [top, 0, 3]], np.int64)
    write_labels(tmp_path / "labels.tif", labels)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.tif"), labels)
    if top <= 65535:
        write_labels(tmp_path / "labels.png", labels)
        with PillowImage.open(tmp_path / "labels.png") as opened:
            np.testing.assert_array_equal(np.asarray(opened), labels)


def test_the_same_labels_give_the_same_bytes(tmp_path: Path) -> None:
    labels = np.arange(12, dtype=np.int32).reshape(3, 4)
    for suffix in (".tif", ".png", ".npy"):
        write_labels(tmp_path / f"a{suffix}", labels)
        write_labels(tmp_path / f"b{suffix}", labels)
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_empty_fields_and_masks_are_valid_labels(tmp_path: Path) -> None:
    write_labels(tmp_path / "none.tif", np.zeros((5, 6), np.int32))
    assert read_labels(tmp_path / "none.tif").max() == 0
    write_labels(tmp_path / "mask.tif", np.eye(4, dtype=bool))
    assert read_labels(tmp_path / "mask.tif").sum() == 4


@pytest.mark.parametrize("pixel_size_um", [0.325, 0.1 + 0.2, 1 / 3, 0.1083456789, 1.3])
def test_the_pixel_size_is_written_and_read(tmp_path: Path, pixel_size_um: float) -> None:
    write_labels(tmp_path / "labels.tif", np.ones((4, 4), np.int32), pixel_size_um=pixel_size_um)
    assert read_image(tmp_path / "labels.tif").pixel_size_um == pytest.approx(pixel_size_um, rel=1e-9)


def test_labels_are_packed_without_a_predictor_which_older_imagej_ignores(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 9, (30, 40))
    write_labels(tmp_path / "labels.tif", labels)
    with tifffile.TiffFile(tmp_path / "labels.tif") as tif:
        (page,) = tif.pages
        assert page.predictor == 1
        strips = zip(page.dataoffsets, page.databytecounts, strict=True)
    content = (tmp_path / "labels.tif").read_bytes()
    unpacked = b"".join(zlib.decompress(content[start : start + length]) for start, length in strips)
    np.testing.assert_array_equal(np.frombuffer(unpacked, "<u2").reshape(30, 40), labels)


def test_strips_of_a_wide_image_come_back(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 70000, (37, 70001)).astype(np.int32)
    write_labels(tmp_path / "wide.tif", labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "wide.tif"), labels)


def test_more_than_4_gib_becomes_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.ones((40, 50), np.int32)
    write_labels(tmp_path / "small.tif", labels)
    monkeypatch.setattr("dinocell_io.labels.write_labels._CLASSIC_TIFF_BYTES", 100)
    write_labels(tmp_path / "big.tif", labels)
    kinds = {}
    for name in ("small", "big"):
        with tifffile.TiffFile(tmp_path / f"{name}.tif") as tif:
            kinds[name] = tif.is_bigtiff
    assert kinds == {"small": False, "big": True}
    np.testing.assert_array_equal(read_labels(tmp_path / "big.tif"), labels)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (np.array([[0, -1]]), r"negative numbers \(down to -1\)"),
        (np.array([[0.5, 1.0]]), "fractions, NaN or infinities"),
        (np.array([[np.nan, 1.0]]), "fractions, NaN or infinities"),
        (np.array([[0, 2**32]]), "largest label is 4294967296, a file holds up to 4294967295; relabel"),
        (np.zeros((2, 3, 3), int), r"shape \(2, 3, 3\), expected labels \[y x\]"),
        (np.zeros((0, 3), int), r"shape \(0, 3\)"),
        (np.array([["a"]]), "holds <U1"),
        (np.array([[1 + 1j]]), "holds complex128"),
    ],
)
def test_what_is_no_label_image_is_not_written(tmp_path: Path, labels: np.ndarray, problem: str) -> None:
    path = tmp_path / "labels.tif"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=problem):
        write_labels(path, labels)
    assert path.read_bytes() == b"old"


def test_whole_floats_are_written_as_integers(tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.png", np.array([[0.0, 7.0]], np.float32))
    assert read_labels(tmp_path / "labels.png").tolist() == [[0, 7]]


def test_a_png_refuses_labels_above_65535(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is 65536, a PNG holds up to 65535; write a \.tif"):
        write_labels(tmp_path / "labels.png", np.array([[65536]]))


@pytest.mark.parametrize("name", ["labels.jpg", "labels"])
def test_lossy_and_unknown_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"labels are written as \.png, \.tif"):
        write_labels(tmp_path / name, np.ones((2, 2), int))
    PillowImage.fromarray(np.ones((8, 8), np.uint8)).save(tmp_path / name, format="jpeg")
    with pytest.raises(ValueError, match=r"labels are read from \.png, \.tif"):
        read_labels(tmp_path / name)


def test_an_impossible_pixel_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pixel_size_um is 0\.0, expected a positive length"):
        write_labels(tmp_path / "labels.tif", np.ones((2, 2), int), pixel_size_um=0.0)
    for beyond in (1e-7, 9.9e-6, 1.1e9, 1e40):
        with pytest.raises(ValueError, match=r"labels\.tif: pixel_size_um is .*holds 1e-05 to 1e\+09 um"):
            write_labels(tmp_path / "labels.tif", np.ones((2, 2), int), pixel_size_um=beyond)
        write_labels(tmp_path / "labels.png", np.ones((2, 2), int), pixel_size_um=beyond)  # it holds none
    assert [path.name for path in tmp_path.iterdir()] == ["labels.png"]


@pytest.mark.parametrize("pixel_size_um", [1e-5, 1e9, 1234567.89, 3e-5])
def test_any_pixel_size_that_a_tiff_holds_is_written(tmp_path: Path, pixel_size_um: float) -> None:
    write_labels(tmp_path / "labels.tif", np.ones((2, 2), int), pixel_size_um=pixel_size_um)
    with tifffile.TiffFile(tmp_path / "labels.tif") as tif:
        per_cm, over = tif.pages[0].tags["XResolution"].value
    assert 10_000 * over / per_cm == pytest.approx(pixel_size_um, rel=1e-4)


def test_colour_is_refused_as_labels(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    PillowImage.fromarray(pixels).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    for suffix in ("png", "tif"):
        with pytest.raises(ValueError, match=rf"a\.{suffix} is a colour image, expected one number per pixel"):
            read_labels(tmp_path / f"a.{suffix}")


def test_several_planes_are_refused_as_labels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 4, 5), np.uint16), metadata=None)
    with pytest.raises(ValueError, match=r"has 2 planes \(C0, C1\), expected one plane of labels"):
        read_labels(tmp_path / "a.tif")


@pytest.mark.parametrize(("dtype", "limit"), [("float16", 2**11), ("float32", 2**24), ("float64", 2**53)])
def test_floats_too_large_to_tell_labels_apart_are_refused(tmp_path: Path, dtype: str, limit: int) -> None:
    for suffix in ("tif", "npy"):
        path = tmp_path / f"a.{suffix}"
        save = tifffile.imwrite if suffix == "tif" else np.save
        save(path, np.array([[0, limit - 1]], dtype))
        assert read_labels(path).tolist() == [[0, limit - 1]]
        save(path, np.array([[limit - 1, limit + 1]], np.int64).astype(dtype))  # limit + 1 has become limit
        bits = limit.bit_length() - 1
        message = (
            rf"the labels in .*a\.{suffix} reach {limit} in {dtype}, expected less than 2\*\*{bits}, .* as integers"
        )
        with pytest.raises(ValueError, match=message):
            read_labels(path)


def test_float_tiffs_are_labels_only_if_whole(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "whole.tif", np.array([[0, 70000]], np.float32))
    assert read_labels(tmp_path / "whole.tif").tolist() == [[0, 70000]]
    assert read_labels(tmp_path / "whole.tif").dtype == np.uint32
    tifffile.imwrite(tmp_path / "half.tif", np.array([[0, 0.5]], np.float32))
    with pytest.raises(ValueError, match=r"half\.tif holds fractions"):
        read_labels(tmp_path / "half.tif")
    tifffile.imwrite(tmp_path / "negative.tif", np.array([[0, -2]], np.int16))
    with pytest.raises(ValueError, match=r"negative\.tif holds negative numbers \(down to -2\)"):
        read_labels(tmp_path / "negative.tif")


def test_display_tables_do_not_change_labels(tmp_path: Path) -> None:
    indices = np.array([[0, 1], [2, 200]], np.uint8)
    palette_image = PillowImage.frombytes("P", (2, 2), indices.tobytes())
    palette_image.putpalette([value for index in range(256) for value in (255 - index, index, 7)])
    palette_image.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "palette.png"), indices)
    table = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "palette.tif", indices, photometric="palette", colormap=table)
    np.testing.assert_array_equal(read_labels(tmp_path / "palette.tif"), indices)
    tifffile.imwrite(tmp_path / "white.tif", indices, photometric="miniswhite")
    np.testing.assert_array_equal(read_labels(tmp_path / "white.tif"), indices)


@pytest.mark.parametrize("values", [[0, 1, 1, 0], [0, 1, 0, 0]])
def test_bilevel_files_give_0_and_1(tmp_path: Path, values: list[int]) -> None:
    mask = np.array(values, bool).reshape(2, 2)
    PillowImage.fromarray(mask).save(tmp_path / "mask.png")
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    for suffix in ("png", "tif"):
        np.testing.assert_array_equal(read_labels(tmp_path / f"mask.{suffix}"), mask.astype(int))


@pytest.mark.parametrize(("bits", "row"), [(1, 0b01000000), (2, 0b00011110), (4, 0x01)])
def test_labels_of_few_bits_are_the_stored_numbers(tmp_path: Path, bits: int, row: int) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    width = 8 // bits
    header = struct.pack(">IIBBBBB", width, 1, bits, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes([0, row]))) + chunk(b"IEND", b"")
    (tmp_path / "few.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    expected = [row >> (8 - bits * (index + 1)) & (2**bits - 1) for index in range(width)]
    assert read_labels(tmp_path / "few.png").tolist() == [expected]


def test_pickled_npy_is_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "seg.npy", np.array({"masks": 1}, dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"seg\.npy cannot be read as a plain npy array"):
        read_labels(tmp_path / "seg.npy")


def test_a_cut_npy_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "cut.npy", np.ones((20, 20), int))
    content = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(content[:500])
    with pytest.raises(ValueError, match=r"cut\.npy cannot be read"):
        read_labels(tmp_path / "cut.npy")


@pytest.mark.parametrize("name", ["rows.tif", "rows.zarr"])
@pytest.mark.parametrize("heights", [[100], [1, 60, 39], [7] * 14 + [2]])
def test_rows_of_labels_are_written_as_the_whole(tmp_path: Path, name: str, heights: list[int]) -> None:
    labels = np.random.default_rng(0).integers(0, 70000, (100, 3000)).astype(np.int64)
    starts = np.cumsum([0, *heights])
    blocks = (labels[start:stop] for start, stop in itertools.pairwise(starts))
    write_label_rows(tmp_path / name, blocks, shape=(100, 3000), pixel_size_um=0.5)
    np.testing.assert_array_equal(read_labels(tmp_path / name), labels)


def test_rows_of_labels_hold_no_more_than_a_few_blocks(tmp_path: Path) -> None:
    alive = most = 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def rows() -> Iterator[np.ndarray]:
        nonlocal alive, most
        for number in range(64):
            block = np.full((32, 4096), number, np.uint16)
            weakref.finalize(block, gone)
            alive += 1
            most = max(most, alive)
            yield block

    write_label_rows(tmp_path / "rows.tif", rows(), shape=(2048, 4096), max_label=64)
    assert most <= 6
    assert read_labels(tmp_path / "rows.tif").dtype == np.uint16
    assert read_labels(tmp_path / "rows.tif")[::32, 0].tolist() == list(range(64))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.ones((4, 9), np.uint8), r"from 0 on are uint8 \(4, 9\), expected whole numbers \[rows, 8\]"),
        (np.ones((4, 8), np.float32), "from 0 on are float32"),
        (np.full((4, 8), -1), "hold labels from -1 to -1, expected 0 to 100"),
        (np.full((4, 8), 101), "hold labels from 101 to 101, expected 0 to 100"),
        (np.ones((5, 8), np.uint8), "got more rows than the 4"),
        (np.ones((3, 8), np.uint8), "got 3 rows, expected 4"),
    ],
)
def test_rows_of_labels_that_do_not_fit_leave_no_file(tmp_path: Path, block: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_label_rows(tmp_path / "rows.tif", [block], shape=(4, 8), max_label=100)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_labels_need_a_format_that_takes_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rows\.png: rows of labels are written as \.tif.*\.zarr"):
        write_label_rows(tmp_path / "rows.png", [np.ones((4, 8), np.uint8)], shape=(4, 8))


@pytest.mark.parametrize("suffix", ["tif", "png", "npy"])
@pytest.mark.parametrize("part_bytes", [64 << 20, 40])
def test_labels_go_to_a_bucket_as_one_object_of_one_or_many_parts(
    monkeypatch: pytest.MonkeyPatch, suffix: str, part_bytes: int
) -> None:
    monkeypatch.setattr("dinocell_io.stores.s3_store.PART_BYTES", part_bytes)
    labels = np.arange(60).reshape(6, 10)
    with ObjectServer() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        write_labels(f"s3://bucket/plate/a.{suffix}", labels)
        assert list(server.objects) == [f"plate/a.{suffix}"]
        num_puts = [request.method for request in server.requests].count("PUT")
        assert (num_puts == 1) == (part_bytes > 1000)
        np.testing.assert_array_equal(read_labels(f"s3://bucket/plate/a.{suffix}"), labels)


def test_a_plane_of_stacked_labels_is_chosen(tmp_path: Path) -> None:
    stack = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "TYX"}, photometric="minisblack")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif", t=3), stack[3])
    with pytest.raises(ValueError, match=r"holds a stack \(T=5\), expected one plane of labels"):
        read_labels(tmp_path / "a.tif")
    write_labels(tmp_path / "a.png", stack[0])
    assert read_labels(tmp_path / "a.png", z=0).max() == 41
    with pytest.raises(ValueError, match=r"a\.png holds one plane, got scene=None, z=2"):
        read_labels(tmp_path / "a.png", z=2)
