"""What is wrong with a TIFF and touches no pixel does no harm; what touches pixels or pages is told."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dinocell_io import read_image

PIXELS = np.arange(256, dtype=np.uint16).reshape(16, 16)
DATA_AT, PAGE_AT = 8, 520
BEYOND = 0x7FFF0000


def write(
    path: Path,
    extra: tuple[tuple[int, int, int, int], ...] = (),
    *,
    following: int = 0,
    order: str = "<",
    rows_per_strip: int = 16,
    lengths: int | None = 512,
    compression: int = 1,
) -> None:
    """One page; a strip of 16 rows or, of 8, two with their tables behind the page."""
    usual = [
        (256, 4, 1, 16),
        (257, 4, 1, 16),
        (258, 3, 1, 16),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (277, 3, 1, 1),
    ]
    num_strips = 16 // rows_per_strip
    num_tags = len(usual) + len(extra) + 2 + (lengths is not None)
    tables = PAGE_AT + 2 + 12 * num_tags + 4
    usual += [(278, 4, 1, rows_per_strip), (273, 4, num_strips, DATA_AT if num_strips == 1 else tables)]
    if lengths is not None:
        usual.append((279, 4, num_strips, lengths if num_strips == 1 else tables + 4 * num_strips))
    entries = sorted([*usual, *extra])
    content = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", PAGE_AT)
    content += PIXELS.astype(order + "u2").tobytes() + struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        content += struct.pack(order + "HHI", tag, kind, count)
        content += struct.pack(
            order + ("HH" if kind == 3 and count == 1 else "I"), *([value, 0] if kind == 3 else [value])
        )
    content += struct.pack(order + "I", following)
    if num_strips > 1:
        content += struct.pack(order + f"{num_strips}I", *(DATA_AT + 32 * row for row in range(0, 16, rows_per_strip)))
        content += struct.pack(order + f"{num_strips}I", *[lengths or 0] * num_strips)
    path.write_bytes(content)


def bits_of_float(value: float) -> int:
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return int(bits)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "number", "expected"),
    [
        (11, bits_of_float(30769.0), 0.325),
        (4, 30769, 0.325),
        (3, 30769, 0.325),
        (9, 30769, 0.325),
        (4, 0, None),
        (2, 65, None),
    ],
)
def test_a_resolution_may_be_of_any_type(
    tmp_path: Path, kind: int, number: int, expected: float | None, order: str
) -> None:
    write(tmp_path / "a.tif", ((282, kind, 1, number), (283, kind, 1, number), (296, 3, 1, 3)), order=order)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels[0], PIXELS)
    assert image.pixel_size_um == (None if expected is None else pytest.approx(expected, rel=1e-4))


@pytest.mark.parametrize("kind", [0, 2, 5, 17, 255])
@pytest.mark.parametrize("tag", [271, 272, 282, 296, 305, 306, 315, 316, 33432, 34665, 50000, 65000])
def test_a_tag_beside_the_pixels_may_be_broken(tmp_path: Path, tag: int, kind: int) -> None:
    write(tmp_path / "a.tif", ((tag, kind, 20, BEYOND),))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels[0], PIXELS)


def test_a_broken_tag_that_tiff_does_not_define_is_damage(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", ((22, 0, 20, BEYOND),))
    with pytest.raises(ValueError, match=r"a\.tif cannot be read as TIFF .*TiffTag 22"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("tag", [258, 270, 273, 279, 317, 320, 339])
def test_a_tag_of_the_pixels_may_not(tmp_path: Path, tag: int) -> None:
    write(tmp_path / "a.tif")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    entries = [PAGE_AT + 2 + 12 * i for i in range(9)]
    present = {struct.unpack_from("<H", content, at)[0]: at for at in entries}
    at = present.get(tag, present[277])
    struct.pack_into("<HHII", content, at, tag, 2, 20, BEYOND)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tif cannot be read as TIFF"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("following", "note"),
    [
        (BEYOND, "its page list leads to a place far outside the file; the pages before it are read"),
        (PAGE_AT, "its page list runs in a circle; each page is read once"),
    ],
)
def test_a_page_list_that_leads_nowhere_is_noted(tmp_path: Path, following: int, note: str) -> None:
    write(tmp_path / "a.tif", following=following)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels[0], PIXELS)
    assert image.notes == (note,)


def test_a_page_list_that_leads_just_beyond_the_end_is_that_of_a_cut_file(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", following=PAGE_AT + 700)
    with pytest.raises(ValueError, match=r"a\.tif cannot be read as TIFF .*invalid page offset 1220.* cut short"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("rows_per_strip", [16, 8])
@pytest.mark.parametrize("lengths", [None, 0])
def test_lengths_of_plain_strips_that_are_missing_or_zero_follow_from_the_size(
    tmp_path: Path, lengths: int | None, rows_per_strip: int
) -> None:
    write(tmp_path / "a.tif", lengths=lengths, rows_per_strip=rows_per_strip)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels[0], PIXELS)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:4] + struct.pack("<I", 8) + content[PAGE_AT:])  # without its pixels
    with pytest.raises(ValueError, match=r"a\.tif"):
        read_image(tmp_path / "a.tif")


def test_lengths_of_packed_strips_are_needed(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", lengths=0, compression=5)
    with pytest.raises(ValueError, match=r"a\.tif cannot be read as TIFF \(page 0 lacks pixel data\)"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("layout", "told"), [("tiles", "page 0 lists 4 of its 250000 strips or tiles"), ("strips", r"4 != 250000")]
)
def test_a_page_that_lists_fewer_parts_than_its_size_needs_is_refused_at_once(
    tmp_path: Path, layout: str, told: str
) -> None:
    options: dict[str, Any] = {"tile": (16, 16)} if layout == "tiles" else {"rowsperstrip": 16}
    pixels = np.zeros((32, 32) if layout == "tiles" else (64, 16), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata=None, **options)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
        tif.pages[0].tags["ImageLength"].overwrite(2_000_000 if layout == "tiles" else 4_000_000)
    with pytest.raises(ValueError, match=rf"a\.tif cannot be read as TIFF .*{told}"):
        read_image(tmp_path / "a.tif")
