"""The image sets of $DINOCELL_DATA open as they are."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from dinocell_io import convert_dsb2018, grey_image, open_dataset, read_image, read_labels, read_sample

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif("DINOCELL_DATA" not in os.environ, reason="DINOCELL_DATA is not set"),
]


@pytest.fixture
def data() -> Path:
    return Path(os.environ["DINOCELL_DATA"])


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "splits.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("name", "counts"),
    [("dsb2018", {"train": 420, "val": 85, "test": 80}), ("usiigaci_phase", {"train": 30, "val": 6, "test": 6})],
)
def test_datasets_open_with_their_published_splits(data: Path, name: str, counts: dict[str, int]) -> None:
    samples = open_dataset(data / name)
    assert {split: sum(s.split == split for s in samples) for split in counts} == counts


def test_every_dsb2018_pair_reads_and_is_grey_or_rgb(data: Path) -> None:
    rows = rows_of(data / "dsb2018")
    for sample in open_dataset(data / "dsb2018"):
        image, labels = read_sample(sample)
        row = rows[sample.name]
        assert labels.shape == (int(row["height"]), int(row["width"]))
        assert image.pixels.dtype == np.uint8
        assert image.is_rgb == (sample.modality == "histology")
        assert grey_image(image).shape == labels.shape
        assert sample.group == row["field_group"]


def test_object_counts_equal_the_table(data: Path) -> None:
    rows = rows_of(data / "dsb2018")
    for sample in open_dataset(data / "dsb2018")[::15][:40]:
        labels = read_labels(sample.labels_path)
        count = int(rows[sample.name]["n_objects"])
        assert np.unique(labels).tolist() == list(range(count + 1))


def test_every_usiigaci_pair_reads(data: Path) -> None:
    for sample in open_dataset(data / "usiigaci_phase", split="test"):
        image, labels = read_sample(sample)
        assert image.pixels.shape == (1, 1022, 1024)
        assert labels.max() > 10


@pytest.mark.parametrize("folder", ["jump_BR00117006", "pca_BR00143976"])
def test_lzw_tiffs_of_a_plate_hold_16_bit_pixels(data: Path, folder: str) -> None:
    paths = sorted((data / "cellpainting" / folder / "images").glob("*.tiff"))
    assert paths
    for path in paths:
        image = read_image(path)
        assert (image.pixels.dtype, image.pixels.shape, image.is_rgb) == (np.uint16, (1, 1080, 1080), False)
        assert image.pixels.max() > 4095
        with PillowImage.open(path) as opened:
            np.testing.assert_array_equal(image.pixels[0], np.asarray(opened))
        # the resolution tag is the camera's pixel, 6.45 um or more, not the specimen's 0.6
        assert image.pixel_size_um is None


def test_pages_with_imagej_axes_are_channels_which_names_of_files_do_not_name(data: Path) -> None:
    image = read_image(data / "cellpainting" / "bbbc022_crop" / "images" / "IXMtest_A02_s9.tif")
    assert image.pixels.shape == (3, 395, 695)
    assert image.channels == ("C0", "C1", "C2")
    with pytest.raises(ValueError, match=r"C0, .* none was chosen"):
        grey_image(image)


def test_one_file_per_nucleus_converts_back_to_the_published_labels(data: Path, tmp_path: Path) -> None:
    samples = [s for s in open_dataset(data / "dsb2018", split="val") if s.modality == "fluorescence"][:3]
    for sample in samples:
        folder = tmp_path / "stage1_train" / sample.name
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        (folder / "images" / f"{sample.name}.png").write_bytes(sample.image_path.read_bytes())
        labels = read_labels(sample.labels_path)
        for number in range(1, int(labels.max()) + 1):
            nucleus = (labels == number).astype(np.uint8) * np.uint8(255)
            PillowImage.fromarray(nucleus).save(folder / "masks" / f"{number:05d}.png")
    converted = open_dataset(convert_dsb2018(tmp_path / "stage1_train", tmp_path / "out"))
    assert len(converted) == 3
    for before, after in zip(samples, converted, strict=True):
        np.testing.assert_array_equal(read_labels(after.labels_path), read_labels(before.labels_path))
        np.testing.assert_array_equal(read_image(after.image_path).pixels, read_image(before.image_path).pixels)
        assert after.modality == before.modality
