"""Cellpose folders to the simple dataset folder.

Stringer et al., Cellpose: a generalist algorithm for cellular segmentation,
Nature Methods 18, 100-106 (2021).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from dinocell_io.datasets.dataset_write import NewSample, write_dataset
from dinocell_io.images.image import IMAGE_SUFFIXES
from dinocell_io.labels.read_labels import read_labels
from dinocell_io.plural import listed

_MASKS, _IMAGE = "_masks", "_img"


def convert_cellpose(folders: Mapping[str, str | Path], output_folder: str | Path) -> Path:
    """Convert folders of pairs, one per split ({"train": ".../train", "test": ".../test"}).

    Pairs are `000_img.png` with `000_masks.png` (the published set; gaps in the numbers are fine) or
    `<name>.<suffix>` with `<name>_masks.<suffix>` (Cellpose's own training folders). Images are copied
    byte for byte; in the published set green is the cytoplasm and blue the nuclei, and an RGB file stays
    one colour image. `_flows` files are not looked at. With several folders the split is put before the
    name (`train_000`), since each folder counts from 000.
    Raises ValueError with a list for images without masks and masks without images.
    """
    return write_dataset(
        output_folder,
        (
            sample
            for split, folder in folders.items()
            for sample in _samples(Path(folder), split, prefix=f"{split}_" if len(folders) > 1 else "")
        ),
    )


def _samples(folder: Path, split: str, *, prefix: str) -> Iterator[NewSample]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; expected a folder of images and their _masks files")
    images, masks = _by_name(folder)
    alone = sorted(f"{images[name].name} has no masks" for name in images.keys() - masks.keys())
    alone += sorted(f"{masks[name].name} has no image" for name in masks.keys() - images.keys())
    if alone:
        raise ValueError(f"{folder} holds unpaired files: {listed(alone, 10)}; add or remove these")
    for name in sorted(images):
        yield NewSample(prefix + name, images[name], read_labels(masks[name]), split)


def _by_name(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = path.stem
        if path.suffix.lower() not in IMAGE_SUFFIXES or stem.startswith(".") or stem.endswith("_flows"):
            continue
        kind, name = (
            (masks, stem.removesuffix(_MASKS)) if stem.endswith(_MASKS) else (images, stem.removesuffix(_IMAGE))
        )
        if name in kind:
            raise ValueError(f"{folder} has several files for {name}: {kind[name].name}, {path.name}; keep one")
        kind[name] = path
    return images, masks
