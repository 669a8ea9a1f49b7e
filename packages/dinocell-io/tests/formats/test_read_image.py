"""PNG and JPEG, the choice of the reader, and what happens to broken files."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from dinocell_io import Image, read_image


def png_bytes(
    rows: list[bytes], width: int, bits: int, colour: int, *extra: tuple[bytes, bytes], interlace: int = 0
) -> bytes:
    """A PNG written by hand after the specification: no filter, one IDAT."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, interlace)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in chunks)


def big_endian_rows(pixels: np.ndarray) -> list[bytes]:
    wide = pixels.astype(">u2") if pixels.dtype == np.uint16 else pixels
    return [row.tobytes() for row in wide]


@pytest.fixture
def ramp() -> np.ndarray:
    return np.arange(0, 65536, 1111, dtype=np.uint16)[:56].reshape(7, 8)


def test_16_bit_grey_png_keeps_every_bit(tmp_path: Path, ramp: np.ndarray) -> None:
    path = tmp_path / "grey.png"
    path.write_bytes(png_bytes(big_endian_rows(ramp), 8, 16, 0))
    image = read_image(path)
    assert image.pixels.dtype == np.uint16
    np.testing.assert_array_equal(image.pixels, ramp[None])
    assert image.channels == ("C0",)
    assert image.pixel_size_um is None
    assert not image.is_rgb
    assert image.uri == str(path)


def test_16_bit_rgb_png_keeps_every_bit(tmp_path: Path, ramp: np.ndarray) -> None:
    colour = np.stack([ramp, ramp[::-1], ramp + np.uint16(1)], axis=-1)
    path = tmp_path / "rgb.png"
    path.write_bytes(png_bytes(big_endian_rows(colour), 8, 16, 2))
    image = read_image(path)
    assert image.pixels.dtype == np.uint16
    np.testing.assert_array_equal(image.pixels, np.moveaxis(colour, 2, 0))
    assert image.channels == ("red", "green", "blue")
    assert image.is_rgb


@pytest.mark.parametrize(("colour", "count"), [(4, 1), (6, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_of_a_png_is_dropped_and_colours_stay(tmp_path: Path, colour: int, count: int, dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(0, 250, (5, 6, count + 1)).astype(dtype)
    path = tmp_path / "alpha.png"
    path.write_bytes(png_bytes(big_endian_rows(pixels), 6, 8 * np.dtype(dtype).itemsize, colour))
    np.testing.assert_array_equal(read_image(path).pixels, np.moveaxis(pixels[..., :count], 2, 0))


def test_palette_png_becomes_rgb(tmp_path: Path) -> None:
    palette = bytes([0, 0, 0, 255, 0, 0, 10, 20, 30])
    path = tmp_path / "palette.png"
    path.write_bytes(png_bytes([bytes([0, 1]), bytes([2, 1])], 2, 8, 3, (b"PLTE", palette)))
    image = read_image(path)
    assert image.is_rgb
    np.testing.assert_array_equal(image.pixels[:, 1, 0], [10, 20, 30])
    np.testing.assert_array_equal(image.pixels[0], [[0, 255], [10, 255]])


def test_a_palette_index_beyond_the_palette_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "palette.png"
    path.write_bytes(png_bytes([bytes([0, 9])], 2, 8, 3, (b"PLTE", bytes(6))))
    with pytest.raises(ValueError, match=r"palette\.png is damaged.*outside its palette"):
        read_image(path)


@pytest.mark.parametrize(("bits", "row", "expected"), [(1, 0b10100000, [255, 0, 255]), (2, 0b00011011, [0, 85, 170])])
def test_grey_of_few_bits_fills_the_8_bit_range(tmp_path: Path, bits: int, row: int, expected: list[int]) -> None:
    path = tmp_path / "few.png"
    path.write_bytes(png_bytes([bytes([row])], 3, bits, 0))
    image = read_image(path)
    assert image.pixels.dtype == np.uint8
    assert image.pixels[0, 0].tolist() == expected


def test_pixels_are_contiguous_channel_planes(tmp_path: Path) -> None:
    PillowImage.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "rgb.png")
    image = read_image(tmp_path / "rgb.png")
    assert image.pixels.shape == (3, 4, 5)
    assert image.pixels.flags.c_contiguous
    assert image.pixels.flags.writeable


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_reads_as_pillow_decodes_it(tmp_path: Path, mode: str) -> None:
    shape = (40, 50) if mode == "L" else (40, 50, 3)
    pixels = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    path = tmp_path / "photo.JPEG"
    PillowImage.fromarray(pixels).save(path)
    image = read_image(str(path))
    with PillowImage.open(path) as opened:
        expected = np.asarray(opened)
    np.testing.assert_array_equal(np.moveaxis(image.pixels, 0, -1).squeeze(), expected)
    assert image.is_rgb == (mode == "RGB")


def test_cmyk_jpeg_is_refused(tmp_path: Path) -> None:
    PillowImage.new("CMYK", (8, 8)).save(tmp_path / "ink.jpg")
    with pytest.raises(ValueError, match=r"ink\.jpg is a CMYK JPEG.*save it as RGB"):
        read_image(tmp_path / "ink.jpg")


def test_an_animated_png_is_refused(tmp_path: Path) -> None:
    frames = [PillowImage.new("L", (8, 8), value) for value in (0, 9)]
    frames[0].save(tmp_path / "film.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"film\.png is an animation"):
        read_image(tmp_path / "film.png")


def test_an_image_of_more_pixels_than_pillows_limit_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PillowImage.fromarray(np.ones((30, 30), np.uint8)).save(tmp_path / "large.png")
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(PillowImage.DecompressionBombError):
        PillowImage.open(tmp_path / "large.png")
    assert read_image(tmp_path / "large.png").pixels.sum() == 900


@pytest.mark.parametrize("bits", [8, 16])
def test_a_png_cut_anywhere_is_refused_or_whole(tmp_path: Path, bits: int) -> None:
    pixels = np.random.default_rng(2).integers(1, 2**bits, (6, 9)).astype(f"u{bits // 8}")
    content = png_bytes(big_endian_rows(pixels), 9, bits, 0)
    path = tmp_path / "cut.png"
    num_refused = 0
    for length in range(1, len(content)):
        path.write_bytes(content[:length])
        try:
            image = read_image(path)
        except ValueError as error:
            num_refused += "cut.png" in str(error)
        else:
            np.testing.assert_array_equal(image.pixels[0], pixels)
    assert num_refused >= len(content) - 24  # only check sums and the end mark may be missing


def test_a_cut_jpeg_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    PillowImage.fromarray(np.random.default_rng(3).integers(0, 255, (64, 64)).astype(np.uint8)).save(path)
    content = path.read_bytes()
    for share in (0.01, 0.3, 0.6, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ValueError, match=r"cut\.jpg cannot be read as JPEG"):
            read_image(path)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_png_with_a_flipped_bit_is_refused(tmp_path: Path, ramp: np.ndarray, bits: int) -> None:
    content = bytearray(png_bytes(big_endian_rows(ramp.astype(f"u{bits // 8}")), 8, bits, 0))
    content[60] ^= 4
    (tmp_path / "flipped.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"flipped\.png cannot be read as PNG"):
        read_image(tmp_path / "flipped.png")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.tif does not exist"):
        read_image(tmp_path / "absent.tif")
    with pytest.raises(FileNotFoundError, match="~ is not replaced here, write the whole path"):
        read_image("~/absent.tif")
    with pytest.raises(ValueError, match="'' is not an address; expected a path, file:// or s3://bucket/key"):
        read_image("")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"empty.{suffix}"
    path.touch()
    with pytest.raises(ValueError, match=r"empty\.\w+ is empty \(0 bytes\)"):
        read_image(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder, expected one file"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_text_under_an_image_suffix_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text.{suffix}"
    path.write_text("Not an image, but a web page that says why not. " * 5)
    with pytest.raises(ValueError, match=rf"text\.{suffix}"):
        read_image(path)


def test_an_unknown_suffix_lists_the_supported_ones(tmp_path: Path) -> None:
    (tmp_path / "image.mrxs").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"suffix \.mrxs; supported are \.tif, .*\.png, \.jpg.*\.zarr.*OME-TIFF"):
        read_image(tmp_path / "image.mrxs")


def test_a_file_address_is_its_path_and_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a b.png"
    PillowImage.fromarray(np.ones((2, 2), np.uint8)).save(path)
    assert read_image(path.as_uri()).pixels.sum() == 4
    with pytest.raises(ValueError, match=r"ftp://host/a\.png is not a local file"):
        read_image("ftp://host/a.png")


def test_an_image_has_one_name_per_channel() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    with pytest.raises(ValueError, match=r"2 channels but 1 name \(DNA\)"):
        Image(pixels, ("DNA",), None, False, "here")
    with pytest.raises(ValueError, match="an RGB image has 3 channels, got 2"):
        Image(pixels, ("a", "b"), None, True, "here")
    assert "channels DNA, ER" in repr(Image(pixels, ("DNA", "ER"), 0.5, False, "here"))
