"""Groups and equal images that lie in several splits are named."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from dinocell_io import Image, LeakWarning, NewSample, Sample, open_dataset, warn_of_leaks, write_dataset


def dataset(folder: Path, *samples: tuple[str, str | None, str | None, np.ndarray]) -> tuple[Sample, ...]:
    """Written and opened again: name, split, group and pixels of each image."""

    def image(pixels: np.ndarray) -> Image:
        planes = pixels if pixels.ndim == 3 else pixels[None]
        return Image(planes, ("red", "green", "blue")[: len(planes)], None, len(planes) == 3, "here")

    labels = np.ones((8, 8), int)
    new = [NewSample(name, image(pixels), labels, split, group) for name, split, group, pixels in samples]
    folder.mkdir(exist_ok=True)
    return open_dataset(write_dataset(folder / "set", new))


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, (8, 8)).astype(np.uint8)


def test_a_group_in_several_splits_is_named(tmp_path: Path) -> None:
    samples = dataset(
        tmp_path,
        ("a", "train", "well A1", noise(1)),
        ("b", "val", "well A1", noise(2)),
        ("c", "train", "well B1", noise(3)),
        ("d", "train", "well B1", noise(4)),
    )
    with pytest.warns(LeakWarning, match=r"some groups lie in several splits: well A1 \(train, val\); put the images"):
        warn_of_leaks(samples)


@pytest.mark.parametrize(
    "copy",
    [noise(1), noise(1).astype(np.uint16), np.repeat(noise(1)[None], 3, axis=0), noise(1).astype(np.float32)[None]],
    ids=["copy", "16 bit", "colour", "float"],
)
def test_equal_images_in_several_splits_are_named(tmp_path: Path, copy: np.ndarray) -> None:
    samples = dataset(tmp_path, ("a", "train", None, noise(1)), ("b", "test", None, copy), ("c", "val", None, noise(3)))
    with pytest.warns(
        LeakWarning, match=r"some images of several splits are equal: a \(train\) = b \(test\); keep one"
    ):
        warn_of_leaks(samples)


def test_groups_of_two_folders_are_not_one(tmp_path: Path) -> None:
    samples = dataset(tmp_path / "one", ("a", "train", "g1", noise(1))) + dataset(
        tmp_path / "two", ("a", "val", "g1", noise(2))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_leaks(samples)
    again = dataset(tmp_path / "three", ("c", "val", None, noise(1)))
    with pytest.warns(LeakWarning, match=r"equal: a \(train\) = c \(val\)"):
        warn_of_leaks(samples + again)


def test_copies_in_one_split_images_of_no_split_and_empty_images_are_no_leak(tmp_path: Path) -> None:
    empty = np.zeros((8, 8), np.uint8)
    samples = dataset(
        tmp_path,
        ("a", "train", "g", noise(1)),
        ("b", "train", "g", noise(1)),
        ("c", None, "g", noise(1)),
        ("d", "train", None, empty),
        ("e", "val", None, empty),
        ("f", "val", None, noise(1)[::-1]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_leaks(samples)
