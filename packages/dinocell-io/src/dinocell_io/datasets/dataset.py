"""The simple dataset folder: `images/`, `masks/` of the same names, and `splits.csv`."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from dinocell_io.datasets.splits import composed, read_splits
from dinocell_io.formats.read_image import read_image
from dinocell_io.images.image import IMAGE_SUFFIXES, Image
from dinocell_io.labels.read_labels import LABEL_SUFFIXES, read_labels
from dinocell_io.plural import listed


@dataclass(frozen=True)
class Sample:
    """One image with its labels.

    Samples of one `group` (tiles of one field, fields of one well) belong into one split. `annotation` says how much of
    the image is labelled: "complete", "partial" (unlabelled objects look like labelled ones) or "derived" (labels made
    by an algorithm). None where `splits.csv` does not say.
    """

    name: str
    image_path: Path
    labels_path: Path
    split: str | None = None
    group: str | None = None
    modality: str | None = None
    annotation: str | None = None


def open_dataset(folder: str | Path, *, split: str | None = None) -> tuple[Sample, ...]:
    """All samples of the folder, or those of one split, sorted by name; no pixel is read.

    `images/<name>.<png|jpg|tif...>` belongs to `masks/<name>.<png|tif|npy...>` whatever their suffixes.
    Hidden files and files with other suffixes are not looked at. `splits.csv` may be absent; its columns
    are `name`, `split`, and where present `field_group` or `group`, `modality`, and `labels` (the annotation); an empty
    cell is None.
    Raises FileNotFoundError without `images/` or `masks/`, and ValueError with a list of the names for images
    without a mask, masks without an image, two files of one name, and names in only one of folder and
    `splits.csv`.
    """
    root = Path(folder)
    images = _files_by_name(root / "images", IMAGE_SUFFIXES)
    masks = _files_by_name(root / "masks", LABEL_SUFFIXES)
    problems = [
        *_only_in("images without a mask of the same name", images.keys() - masks.keys()),
        *_only_in("masks without an image of the same name", masks.keys() - images.keys()),
    ]
    table = root / "splits.csv"
    rows = read_splits(table) if table.exists() or table.is_symlink() else None
    if rows is not None:
        problems += _only_in("names in splits.csv without an image", rows.keys() - images.keys())
        problems += _only_in("images without a row in splits.csv", images.keys() - rows.keys())
    if problems:
        raise ValueError(f"{root} is not a complete dataset: {'; '.join(problems)}. Add or remove these")
    if not images:
        raise ValueError(f"{root / 'images'} holds no images; expected {', '.join(IMAGE_SUFFIXES)}")
    samples = tuple(_sample(name, images[name], masks[name], (rows or {}).get(name, {})) for name in sorted(images))
    return samples if split is None else _of_split(samples, split, root)


def read_sample(sample: Sample) -> tuple[Image, Integer[np.ndarray, "y x"]]:
    """The image and the labels of a sample; ValueError if they differ in height or width."""
    image, labels = read_image(sample.image_path), read_labels(sample.labels_path)
    if image.pixels.shape[1:] != labels.shape:
        raise ValueError(
            f"{sample.image_path} is {image.pixels.shape[1]} x {image.pixels.shape[2]} pixels but "
            f"{sample.labels_path} is {labels.shape[0]} x {labels.shape[1]}; they must be equal"
        )
    return image, labels


def sample_name(path: Path) -> str:
    """The file name without its suffix; `.ome.tif` counts as one suffix."""
    return path.stem[:-4] if path.stem.lower().endswith(".ome") else path.stem


def _files_by_name(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; a dataset is a folder with images/ and masks/ in it")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file():
            found.setdefault(composed(sample_name(path)), []).append(path)
    twice = [", ".join(path.name for path in paths) for paths in found.values() if len(paths) > 1]
    if twice:
        raise ValueError(f"{folder} has several files of one name: {listed(sorted(twice), 10)}; keep one of each")
    return {name: paths[0] for name, paths in found.items()}


def _sample(name: str, image_path: Path, labels_path: Path, row: dict[str, str]) -> Sample:
    group = row.get("group") or row.get("field_group") or None
    modality, labels = (row.get(column) or None for column in ("modality", "labels"))
    return Sample(name, image_path, labels_path, row.get("split") or None, group, modality, labels)


def _of_split(samples: tuple[Sample, ...], split: str, root: Path) -> tuple[Sample, ...]:
    chosen = tuple(sample for sample in samples if sample.split == split)
    if not chosen:
        known = sorted({sample.split or "(none)" for sample in samples})
        raise ValueError(f"{root} has no split {split!r}; it has {', '.join(known)}")
    return chosen


def _only_in(what: str, names: Collection[str]) -> list[str]:
    return [f"{what}: {listed(sorted(names), 10)}"] if names else []
