import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from dinocell_io.formats.read_image import read_image
from dinocell_io.stream.decode import BadObject, decode_image, decode_plane, is_constant

PLANE = np.random.default_rng(0).integers(0, 4000, (30, 41)).astype(np.uint16)


def tiff(pixels: np.ndarray = PLANE, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **{"photometric": "minisblack", "metadata": None, **options})
    return file.getvalue()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 4},
        {"compression": "lzw"},
        {"compression": "lzw", "predictor": True, "rowsperstrip": 8},
        {"compression": "zlib"},
        {"tile": (16, 16)},
        {"description": "a text, so that the pixels move"},
    ],
)
def test_a_plane_is_the_one_tifffile_wrote(byteorder, options):
    plane = decode_plane(tiff(byteorder=byteorder, **options))
    np.testing.assert_array_equal(plane, PLANE)
    assert plane.dtype == np.uint16
    assert plane.dtype.isnative
    assert plane.flags.aligned


def test_strips_that_do_not_follow_each_other_are_put_in_order():
    data = bytearray(tiff(rowsperstrip=10))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags["StripOffsets"]
        starts, at = list(tag.value), tag.valueoffset
    third = PLANE[20:].tobytes()
    moved = len(data) + 3  # an odd place: the pixels are not aligned
    data += bytes(3) + third
    data[starts[2] : starts[2] + len(third)] = bytes(len(third))
    kind = "<H" if tag.dtype == 3 else "<I"
    struct.pack_into(kind, data, at + 2 * struct.calcsize(kind), moved)
    np.testing.assert_array_equal(decode_plane(bytes(data)), PLANE)


def test_an_uncompressed_plane_is_not_copied():
    data = tiff()
    plane = decode_plane(data)
    assert not plane.flags.owndata
    assert not plane.flags.writeable


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", "damaged", "0 bytes are not a TIFF file"),
        (bytes(2000), "damaged", "2000 bytes are not a TIFF file: all zeros"),
        (b"<Error><Code>AccessDenied</Code></Error>", "damaged", "starts with b'<Err'"),
        (tiff()[:-1], "damaged", "cut short: 2691 bytes do not hold 30 x 41 pixels|cut short"),
        (tiff()[:60], "damaged", "leads outside its 60 bytes"),
        (tiff(compression="lzw")[:700], "damaged", "broken"),
        (tiff(np.stack([PLANE, PLANE])), "format", "several pages"),
        (tiff(np.stack([PLANE] * 3, -1), photometric="rgb"), "format", "3 samples per pixel"),
        (tiff(photometric="miniswhite"), "format", "white as zero"),
        (tiff(PLANE.astype(np.uint8)), "dtype", "8 bit, unsigned; expected unsigned 16 bit"),
        (tiff(PLANE.astype(np.int16)), "dtype", "16 bit, signed"),
        (tiff(PLANE.astype(np.float32)), "dtype", "32 bit, float"),
        (tiff(np.full((20, 20), 7, np.uint16)), "constant", "all 20 x 20 pixels are 7"),
        (tiff(np.zeros((20, 20), np.uint16), compression="lzw"), "constant", "pixels are 0"),
    ],
)
def test_what_is_not_a_whole_grey_16_bit_page_is_refused_with_its_kind(data, kind, message):
    with pytest.raises(BadObject, match=message) as caught:
        decode_plane(data)
    assert caught.value.kind == kind


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes_give_a_plane_or_a_bad_object_and_nothing_else(data):
    whole = data.draw(st.sampled_from([tiff(), tiff(rowsperstrip=3), tiff(compression="lzw"), tiff(tile=(16, 16))]))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else damaged
    try:
        plane = decode_plane(bytes(damaged))
    except BadObject:
        return
    assert plane.dtype == np.uint16


def test_a_header_that_asks_for_more_memory_than_the_data_can_fill_is_refused():
    data = bytearray(tiff(compression="lzw"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
        places = [tags["ImageWidth"], tags["ImageLength"]]
    for tag in places:
        struct.pack_into("<HHI", data, tag.offset, tag.code, 4, 1)
        struct.pack_into("<I", data, tag.offset + 8, 1 << 20)
    with pytest.raises(BadObject, match="1048576 x 1048576 pixels") as caught:
        decode_plane(bytes(data))
    assert caught.value.kind == "damaged"


def test_a_tile_larger_than_memory_is_refused():
    data = bytearray(tiff(tile=(16, 16)))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags["TileWidth"]
    struct.pack_into("<HHII", data, tag.offset, tag.code, 4, 1, 0x30000010)
    with pytest.raises(BadObject, match="broken") as caught:
        decode_plane(bytes(data))
    assert caught.value.kind == "damaged"


def test_one_pixel_between_the_looked_at_ones_makes_a_plane_not_constant():
    plane = np.zeros((40, 50), np.uint16)
    assert is_constant(plane)
    plane[17, 3] = 1
    assert not is_constant(plane)


def test_an_image_of_any_kind_is_read_from_its_bytes_under_its_own_name(tmp_path: Path):
    image = decode_image(tiff(), "plate/a.tif")
    np.testing.assert_array_equal(image.pixels[0], PLANE)
    assert image.uri == "plate/a.tif"
    with pytest.raises(ValueError, match=r"^plate/a.png "):
        decode_image(b"no png at all", "plate/a.png")
    with pytest.raises(ValueError, match=r"^plate/a.tif is empty"):
        decode_image(b"", "plate/a.tif")
    with pytest.raises(ValueError, match=r"notes.txt has the suffix .txt"):
        decode_image(b"text", "notes.txt")


@pytest.mark.parametrize(
    "options",
    [{"rowsperstrip": 64}, {"tile": (256, 256), "compression": "zlib"}, {"bigtiff": True}, {"compression": "lzw"}],
)
def test_an_image_is_read_from_its_bytes_as_from_its_file(options, tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 4000, (3, 900, 1100)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", **options)
    image = decode_image((tmp_path / "a.tif").read_bytes(), "plate/a.tif")
    expected = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, expected.pixels)
    assert image.channels == expected.channels


@pytest.mark.real_data
def test_real_cell_painting_files_decode_as_tifffile_reads_them(real_cellpainting):
    for path in real_cellpainting:
        np.testing.assert_array_equal(decode_plane(path.read_bytes()), tifffile.imread(path))


@pytest.fixture
def real_cellpainting() -> list[Path]:
    import os

    if "DINOCELL_DATA" not in os.environ:
        pytest.skip("DINOCELL_DATA is not set to the folder of the image sets")
    root = Path(os.environ["DINOCELL_DATA"], "cellpainting")
    found = [path for name in ("jump_BR00117006", "pca_BR00143976") for path in (root / name / "images").glob("*.tiff")]
    assert len(found) == 9
    return found
