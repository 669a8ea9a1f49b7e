"""Writing the simple dataset folder whole or not at all."""

import csv
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Integer

from dinocell_io.datasets.dataset import sample_name
from dinocell_io.formats.read_image import read_image
from dinocell_io.formats.write_image import write_image
from dinocell_io.images.image import Image
from dinocell_io.labels.write_labels import write_labels
from dinocell_io.system.atomic import atomic_folder

_FIRST_COLUMNS = ("name", "split", "field_group", "modality", "height", "width", "n_objects")


@dataclass(frozen=True, eq=False)
class NewSample:
    """What becomes one sample: an image, or the path of a file that is copied byte for byte; its labels.

    `notes` are further columns of `splits.csv`, the same ones for every sample.
    """

    name: str
    image: Image | Path
    labels: Integer[np.ndarray, "y x"]
    split: str | None = None
    group: str | None = None
    modality: str | None = None
    notes: Mapping[str, str | int] = field(default_factory=dict)


def write_dataset(output_folder: str | Path, samples: Iterable[NewSample]) -> Path:
    """Write `images/`, `masks/` (16- or 32-bit) and `splits.csv`; `open_dataset` reads them.

    The folder appears when everything is in it: a killed conversion leaves none. Labels are
    renumbered 1..n in the order of their first pixels, row by row. Samples are taken one at a time.
    Raises FileExistsError if the folder exists and is not empty, ValueError for no samples, for a name that
    comes twice or is no file name, and for labels of another size than their image.
    """
    target = Path(output_folder)
    rows: list[dict[str, str | int]] = []
    seen: set[str] = set()
    with atomic_folder(target) as building:
        (building / "images").mkdir()
        (building / "masks").mkdir()
        for sample in samples:
            _check_name(sample.name, seen, target)
            seen.add(sample.name)
            rows.append(_write_sample(building, sample))
        if not rows:
            raise ValueError(f"there are no samples to write to {target}; check the source folder")
        with (building / "splits.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return target


def number_in_raster_order(labels: Integer[np.ndarray, "y x"]) -> Int32[np.ndarray, "y x"]:
    """The same objects numbered 1..n in the order in which their first pixel appears, row by row."""
    values, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    new = np.zeros(len(values), np.int32)
    objects = np.flatnonzero(values != 0)
    new[objects[np.argsort(first[objects])]] = np.arange(1, len(objects) + 1, dtype=np.int32)
    return new[inverse].reshape(labels.shape)


def _check_name(name: str, seen: set[str], target: Path) -> None:
    if not name or name.startswith(".") or Path(name).name != name or "\\" in name:
        raise ValueError(f"{name!r} cannot name the files of a sample in {target}; use a plain file name")
    if name in seen:
        raise ValueError(f"two samples are named {name!r}; names in one dataset must differ")


def _write_sample(folder: Path, sample: NewSample) -> dict[str, str | int]:
    image = sample.image if isinstance(sample.image, Image) else read_image(sample.image)
    height, width = image.pixels.shape[1:]
    if sample.labels.shape != (height, width):
        raise ValueError(
            f"{sample.name}: the image is {height} x {width} pixels, its labels {sample.labels.shape[0]} x "
            f"{sample.labels.shape[1]}; they must be equal"
        )
    labels = number_in_raster_order(sample.labels)
    num_objects = int(labels.max())
    write_labels(folder / "masks" / f"{sample.name}{'.png' if num_objects <= 65535 else '.tif'}", labels)
    if isinstance(sample.image, Path):
        ending = sample.image.name[len(sample_name(sample.image)) :]
        shutil.copyfile(sample.image, folder / "images" / f"{sample.name}{ending}")
    else:
        plain = image.pixels.dtype in (np.uint8, np.uint16) and (image.is_rgb or len(image.channels) == 1)
        write_image(folder / "images" / f"{sample.name}{'.png' if plain else '.ome.tif'}", image)
    values = (sample.name, sample.split, sample.group, sample.modality, height, width, num_objects)
    row: dict[str, str | int] = {
        column: value if value is not None else "" for column, value in zip(_FIRST_COLUMNS, values, strict=True)
    }
    return row | dict(sample.notes)
