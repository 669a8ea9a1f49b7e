"""Colour spaces of TIFF: right, or refused by name; the tag is missing or contradicts the samples."""

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from dinocell_io import open_image, read_image

SIDE = 32


def colours() -> np.ndarray:
    """A nucleus on pink."""
    rgb = np.zeros((SIDE, SIDE, 3), np.uint8)
    rgb[:] = (235, 215, 225)
    rgb[8:24, 8:24] = (80, 50, 140)
    return rgb


def as_ycbcr(rgb: np.ndarray, luma: tuple[float, float, float] = (0.299, 0.587, 0.114)) -> np.ndarray:
    red, green, blue = np.moveaxis(rgb.astype(float), 2, 0)
    y = luma[0] * red + luma[1] * green + luma[2] * blue
    cb, cr = (blue - y) / (2 - 2 * luma[2]) + 128, (red - y) / (2 - 2 * luma[0]) + 128
    return np.clip(np.rint(np.stack([y, cb, cr], 2)), 0, 255).astype(np.uint8)


def plain_tiff(
    path: Path, data: bytes, photometric: int | None, *entries: tuple[int, int, int, int], **tags: int
) -> None:
    """One strip; `tags` by number as t258=..., which replace or, as -1, remove the usual ones."""
    usual = {256: (4, SIDE), 257: (4, SIDE), 258: (3, 8), 259: (3, 1), 273: (4, 8), 277: (3, 1), 278: (4, SIDE)}
    usual |= {279: (4, len(data))} | ({} if photometric is None else {262: (3, photometric)})
    for name, value in tags.items():
        usual[int(name[1:])] = (3, value)
    rows = [(tag, kind, 1, value) for tag, (kind, value) in usual.items() if value != -1] + list(entries)
    directory = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHII", *row) for row in sorted(rows))
    data += b"\0" * (len(data) % 2)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4))


def write_ycbcr(path: Path, *, planar: bool = False, compression: str | None = None, tags: Any = ()) -> np.ndarray:
    ycbcr = as_ycbcr(colours())
    tifffile.imwrite(
        path,
        np.moveaxis(ycbcr, 2, 0) if planar else ycbcr,
        photometric="ycbcr",
        planarconfig="separate" if planar else "contig",
        compression=compression,
        metadata=None,
        extratags=[(530, "H", 2, (1, 1), True), *tags],
    )
    return colours()


def assert_rgb(path: Path, expected: np.ndarray, tolerance: int = 1) -> None:
    image = read_image(path)
    assert image.is_rgb
    assert image.channels == ("red", "green", "blue")
    assert image.pixels.dtype == np.uint8
    difference = np.abs(image.pixels.astype(int) - np.moveaxis(expected, 2, 0))
    assert difference.max() <= tolerance
    part = open_image(path).read(np.s_[5:20, 3:30], channels=[2, 0])
    np.testing.assert_array_equal(part, image.pixels[[2, 0], 5:20, 3:30])


@pytest.mark.parametrize(
    ("compression", "planar"),
    [
        *(
            (compression, planar)
            for compression in (None, "lzw", "zlib", "zstd", "jpeg2000")
            for planar in (False, True)
        ),
        ("jpegxr", False),
    ],
)
def test_ycbcr_outside_of_jpeg_becomes_rgb(tmp_path: Path, compression: str | None, planar: bool) -> None:
    expected = write_ycbcr(tmp_path / "a.tif", compression=compression, planar=planar)
    assert_rgb(tmp_path / "a.tif", expected, tolerance=8 if compression == "jpegxr" else 2)


def test_ycbcr_follows_its_coefficients_and_reference(tmp_path: Path) -> None:
    luma = (0.2126, 0.7152, 0.0722)
    stored = as_ycbcr(colours(), luma).astype(float)
    stored[..., 0] = np.rint(16 + stored[..., 0] * 219 / 255)
    stored[..., 1:] = np.rint(128 + (stored[..., 1:] - 128) * 112 / 127)
    ratios = [number for share in luma for number in (round(share * 10000), 10000)]
    reference = [number for level in (16, 235, 128, 240, 128, 240) for number in (level, 1)]
    tags = [(530, "H", 2, (1, 1), True), (529, 5, 3, tuple(ratios), True), (532, 5, 6, tuple(reference), True)]
    tifffile.imwrite(
        tmp_path / "a.tif", stored.astype(np.uint8), photometric="ycbcr", planarconfig="contig", metadata=None,
        extratags=tags,
    )  # fmt: skip
    assert_rgb(tmp_path / "a.tif", colours(), tolerance=3)


def test_subsampled_ycbcr_outside_of_jpeg_is_refused_by_name(tmp_path: Path) -> None:
    plain_tiff(tmp_path / "a.tif", bytes(SIDE * SIDE * 2), 6, (530, 3, 2, 2 + (1 << 16)), t277=3)
    with pytest.raises(
        ValueError, match=r"a\.tif has the colour space YCbCr with fewer colours .*\(2, 1\)\) outside of"
    ):
        read_image(tmp_path / "a.tif")


def test_ycbcr_without_its_subsampling_tag_is_known_by_its_bytes(tmp_path: Path) -> None:
    plain_tiff(tmp_path / "whole.tif", as_ycbcr(colours()).tobytes(), 6, t277=3)
    assert_rgb(tmp_path / "whole.tif", colours(), tolerance=2)
    plain_tiff(tmp_path / "halved.tif", bytes(SIDE * SIDE * 3 // 2), 6, t277=3)
    with pytest.raises(ValueError, match=r"halved\.tif has the colour space YCbCr with fewer colours .*\(2, 2\)"):
        read_image(tmp_path / "halved.tif")


def test_ycbcr_of_16_bits_is_refused_by_name(tmp_path: Path) -> None:
    plain_tiff(tmp_path / "a.tif", bytes(SIDE * SIDE * 6), 6, (530, 3, 2, 1 + (1 << 16)), t277=3, t258=16)
    with pytest.raises(ValueError, match=r"a\.tif has the colour space YCbCr in uint16, expected 8 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("photometric", [2, 6])
@pytest.mark.parametrize(("compression", "is_ycbcr"), [(33003, True), (33005, False)])
def test_aperios_jpeg_2000_is_what_its_number_says(
    tmp_path: Path, compression: int, is_ycbcr: bool, photometric: int
) -> None:
    stored = as_ycbcr(colours()) if is_ycbcr else colours()
    tile = imagecodecs.jpeg2k_encode(stored, level=0, reversible=True, mct=False, codecformat="j2k")
    plain_tiff(tmp_path / "a.tif", tile, photometric, t259=compression, t277=3)
    assert_rgb(tmp_path / "a.tif", colours(), tolerance=2)


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
def test_ycbcr_in_jpeg_is_turned_once(tmp_path: Path, subsampling: tuple[int, int]) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", colours(), photometric="rgb", compression="jpeg", subsampling=subsampling, metadata=None
    )
    assert_rgb(tmp_path / "a.tif", colours(), tolerance=40)  # at the nucleus's edge
    assert np.abs(read_image(tmp_path / "a.tif").pixels[:, 2, 2].astype(int) - (235, 215, 225)).max() <= 8


@pytest.mark.parametrize(
    ("name", "photometric", "samples"),
    [
        *(("SEPARATED", 5, 4), ("CIELAB", 8, 3), ("ICCLAB", 9, 3), ("ITULAB", 10, 3), ("CFA", 32803, 1)),
        *(("LOGL", 32844, 1), ("LOGLUV", 32845, 3), ("LINEAR_RAW", 34892, 1), ("MASK", 4, 1), ("999", 999, 1)),
    ],
)
def test_other_colour_spaces_are_refused_by_name(tmp_path: Path, name: str, photometric: int, samples: int) -> None:
    plain_tiff(tmp_path / "a.tif", bytes(SIDE * SIDE * samples), photometric, t277=samples)
    with pytest.raises(ValueError, match=rf"a\.tif has the colour space {name}, expected grey or RGB; save it as RGB"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("photometric", "samples", "told"),
    [
        (2, 1, "RGB and 1 sample per pixel, expected 3"),
        (2, 2, "RGB and 2 samples per pixel, expected 3"),
        (2, 5, "RGB and 5 samples per pixel, expected 3"),
        (6, 1, "YCbCr and 1 sample per pixel, expected 3"),
    ],
)
def test_a_colour_space_that_the_samples_contradict_is_refused(
    tmp_path: Path, photometric: int, samples: int, told: str
) -> None:
    plain_tiff(tmp_path / "a.tif", bytes(SIDE * SIDE * samples), photometric, t277=samples)
    with pytest.raises(ValueError, match=rf"a\.tif has the colour space {told}"):
        read_image(tmp_path / "a.tif")


def test_samples_of_different_bits_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", colours(), photometric="rgb", metadata=None)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    at = content.index(struct.pack("<3H", 8, 8, 8))
    content[at : at + 6] = struct.pack("<3H", 5, 6, 5)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tif .*\(5, 6, 5\)"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_without_a_photometric_tag_is_not_inverted(tmp_path: Path, dtype: type) -> None:
    grey = np.arange(SIDE * SIDE).reshape(SIDE, SIDE).astype(dtype)
    plain_tiff(tmp_path / "a.tif", grey.tobytes(), None, t258=8 * grey.itemsize)
    image = read_image(tmp_path / "a.tif")
    assert not image.is_rgb
    np.testing.assert_array_equal(image.pixels[0], grey)


def test_bilevel_without_a_photometric_tag_is_black_as_zero(tmp_path: Path) -> None:
    mask = np.eye(SIDE, dtype=np.uint8)
    plain_tiff(tmp_path / "a.tif", np.packbits(mask, axis=1).tobytes(), None, t258=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels[0], mask * 255)


def test_three_samples_without_a_photometric_tag_are_rgb(tmp_path: Path) -> None:
    plain_tiff(tmp_path / "a.tif", colours().tobytes(), None, t277=3)
    assert_rgb(tmp_path / "a.tif", colours(), tolerance=0)


@pytest.mark.parametrize("kind", ["unspecified", "assocalpha", "unassalpha", None])
def test_of_four_samples_red_green_and_blue_are_read(tmp_path: Path, kind: str | None) -> None:
    four = np.dstack([colours(), np.full((SIDE, SIDE), 7, np.uint8)])
    if kind is None:
        plain_tiff(tmp_path / "a.tif", four.tobytes(), 2, t277=4)
    else:
        tifffile.imwrite(tmp_path / "a.tif", four, photometric="rgb", extrasamples=[kind], metadata=None)
    assert_rgb(tmp_path / "a.tif", colours(), tolerance=0)


@pytest.mark.parametrize("num_pages", [1, 3, 17])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_each_page_of_a_stack_is_looked_up_in_its_own_palette(
    tmp_path: Path, num_pages: int, compression: str | None
) -> None:
    indices = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
    tables = [np.random.default_rng(page).integers(0, 256, (3, 256)) for page in range(num_pages)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for table in tables:
            colormap = (table * 257).astype(np.uint16)
            options: dict[str, Any] = {"photometric": "palette", "colormap": colormap, "compression": compression}
            writer.write(indices, metadata=None, contiguous=False, **options)
    for page, table in enumerate(tables):
        image = read_image(tmp_path / "a.tif", z=page)
        assert image.is_rgb
        np.testing.assert_array_equal(image.pixels, table[:, indices])
    if num_pages > 1:
        with pytest.raises(ValueError, match=rf"choose one of its {num_pages} pages"):
            read_image(tmp_path / "a.tif")


def test_a_palette_with_more_samples_or_without_its_table_is_refused(tmp_path: Path) -> None:
    plain_tiff(tmp_path / "a.tif", bytes(SIDE * SIDE), 3)
    with pytest.raises(
        ValueError, match=r"a\.tif has palette colours but a page without a whole colour map; save it as RGB"
    ):
        read_image(tmp_path / "a.tif")
    plain_tiff(tmp_path / "a.tif", bytes(SIDE * SIDE * 3), 3, t277=3)
    with pytest.raises(ValueError, match=r"a\.tif has a palette and 3 samples per pixel, expected 1; save it as RGB"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "jpeg", "jpeg2000", "zstd"])
def test_white_is_zero_is_turned_in_every_compression(tmp_path: Path, compression: str) -> None:
    grey = np.repeat(np.arange(SIDE, dtype=np.uint8)[:, None] * 8, SIDE, axis=1)
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="miniswhite", compression=compression, metadata=None)
    difference = read_image(tmp_path / "a.tif").pixels[0].astype(int) - (255 - grey)
    assert np.abs(difference).max() <= (4 if compression == "jpeg" else 0)
