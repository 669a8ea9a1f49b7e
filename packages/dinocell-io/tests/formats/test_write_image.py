"""Images come back as they were written."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from dinocell_io import Image, read_image, write_image


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "f4"])
@pytest.mark.parametrize("channels", [("C0",), ("DNA", "ER"), ("red", "green", "blue")])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".ome.tif"])
def test_pixels_names_and_colour_come_back(tmp_path: Path, dtype: str, channels: tuple[str, ...], suffix: str) -> None:
    is_rgb = channels[0] == "red"
    pixels = np.random.default_rng(0).integers(0, 100, (len(channels), 9, 11)).astype(dtype)
    image = Image(pixels, channels, 0.25, is_rgb, "here")
    path = tmp_path / f"image{suffix}"
    if suffix == ".png" and (dtype not in ("u1", "u2") or len(channels) == 2):
        with pytest.raises(ValueError, match=r"a PNG holds one channel or RGB in uint8 or uint16.*\.ome\.tif"):
            write_image(path, image)
        assert not path.exists()
        return
    write_image(path, image)
    back = read_image(path)
    assert back.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(back.pixels, pixels)
    assert (back.channels, back.is_rgb) == (channels, is_rgb)
    assert back.pixel_size_um == (None if suffix == ".png" else pytest.approx(0.25))


@pytest.mark.parametrize("dtype", ["i1", "i4", "f8", ">u2"])
def test_every_type_of_ome_tiff_comes_back(tmp_path: Path, dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 100, (2, 9, 11)).astype(dtype)
    write_image(tmp_path / "a.tif", Image(pixels, ("a", "b"), None, False, "here"))
    back = read_image(tmp_path / "a.tif").pixels
    assert back.dtype == pixels.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, pixels)


@pytest.mark.parametrize("dtype", ["bool", "float16", "int64", "uint64", "complex64"])
def test_types_that_ome_tiff_does_not_hold_are_refused_before_a_file_is_made(tmp_path: Path, dtype: str) -> None:
    image = Image(np.ones((1, 4, 5), dtype), ("C0",), None, False, "here")
    message = rf"a\.tif: an OME-TIFF holds uint8, .* float64, got {dtype}; convert the pixels to one of these"
    with pytest.raises(ValueError, match=message):
        write_image(tmp_path / "a.tif", image)
    assert list(tmp_path.iterdir()) == []


def test_other_readers_see_the_same(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (3, 9, 11)).astype(np.uint8)
    write_image(tmp_path / "a.png", Image(pixels, ("red", "green", "blue"), None, True, "here"))
    with PillowImage.open(tmp_path / "a.png") as opened:
        np.testing.assert_array_equal(np.asarray(opened), np.moveaxis(pixels, 0, 2))
    write_image(tmp_path / "a.tif", Image(pixels, ("a", "b", "c"), None, False, "here"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), pixels)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    image = Image(np.zeros((1, 2, 2), np.uint8), ("C0",), None, False, "here")
    with pytest.raises(ValueError, match=r"a\.jpg: images are written as \.png, \.tif"):
        write_image(tmp_path / "a.jpg", image)
