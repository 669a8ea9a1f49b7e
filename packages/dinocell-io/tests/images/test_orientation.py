"""Images with an orientation tag are read as they are stored, as Fiji, napari and QuPath do, and the tag is noted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from dinocell_io import describe_image, open_image, read_image, read_labels

NOTE = "its orientation tag ({}) is not applied: rows and columns are as stored, as Fiji, napari and QuPath show them"


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["grey", "tiled", "RGB", "palette"])
def test_a_tiff_and_its_labels_are_read_as_tifffile_does(tmp_path: Path, orientation: int, kind: str) -> None:
    stored = np.random.default_rng(0).integers(0, 9, (40, 70, 3) if kind == "RGB" else (40, 70)).astype(np.uint8)
    options: dict[str, Any] = {"photometric": "minisblack" if stored.ndim == 2 else "rgb"}
    if kind == "tiled":
        options |= {"tile": (16, 32), "compression": "zlib"}
    if kind == "palette":
        options |= {"photometric": "palette", "colormap": np.stack([np.arange(256, dtype=np.uint16) * 257] * 3)}
    path = tmp_path / "turned.tif"
    tifffile.imwrite(path, stored, metadata=None, extratags=[(274, 3, 1, orientation, True)], **options)
    expected = np.atleast_3d(stored).transpose(2, 0, 1)
    image = open_image(path)
    assert image.shape[-2:] == (40, 70)
    np.testing.assert_array_equal(image.read(np.s_[3:29, 5:38])[0], expected[0, 3:29, 5:38])
    assert image.notes == read_image(path).notes == describe_image(path).notes == (NOTE.format(orientation),)
    if kind != "RGB":
        np.testing.assert_array_equal(read_labels(path), stored)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_exif_turns_neither_images_nor_labels(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    stored = np.zeros((40, 70), np.uint8)
    stored[:20] = 200
    PillowImage.fromarray(stored).save(path, exif=exif)
    image = read_image(path)
    assert np.abs(image.pixels[0].astype(int) - stored).max() <= 4
    assert image.notes == (NOTE.format(orientation),)
    if suffix == "png":
        np.testing.assert_array_equal(read_labels(path), stored)


@pytest.mark.parametrize("value", [0, 1, 9])
def test_upright_images_and_unknown_tags_have_no_note(tmp_path: Path, value: int) -> None:
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4)
    tifffile.imwrite(tmp_path / "a.tif", stored, extratags=[(274, 3, 1, value, True)])
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels[0], stored)
    assert image.notes == ()
