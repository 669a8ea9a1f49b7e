"""Data Science Bowl 2018 (BBBC038) folders to the simple dataset folder.

Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl,
Nature Methods 16, 1247-1253 (2019).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dinocell_io.datasets.coco_masks import paint_objects
from dinocell_io.datasets.dataset_write import NewSample, write_dataset
from dinocell_io.formats.read_image import read_image
from dinocell_io.images.image import Image, numbered_channels
from dinocell_io.labels.read_labels import read_labels
from dinocell_io.plural import counted

_BRIGHT_BACKGROUND = 128


def convert_dsb2018(source_folder: str | Path, output_folder: str | Path, *, split: str | None = None) -> Path:
    """Convert `<id>/images/<id>.png` with one binary mask per nucleus in `<id>/masks/`.

    Masks are painted from the largest to the smallest (ties: by file name, the later keeps its pixels), so
    in an overlap the smaller nucleus wins. An image whose red, green and blue are equal becomes grey.
    The modality is by rule: unequal colours histology, else median above 128 brightfield, else fluorescence.
    Raises ValueError for an id without exactly one image, without masks, or with a mask of another size
    or without a pixel.
    """
    source = Path(source_folder)
    if not source.is_dir():
        raise FileNotFoundError(f"{source} does not exist; expected the folder stage1_train")
    folders = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    return write_dataset(output_folder, _samples(folders, split))


def _samples(folders: list[Path], split: str | None) -> Iterator[NewSample]:
    for folder in folders:
        images, masks = (sorted((folder / kind).glob("[!.]*.png")) for kind in ("images", "masks"))
        if len(images) != 1 or not masks:
            raise ValueError(
                f"{folder} holds {counted(len(images), 'image')} and {counted(len(masks), 'mask')}; expected "
                "images/<id>.png and masks/*.png with one nucleus each"
            )
        image = _grey_if_equal(read_image(images[0]))
        shape = (image.pixels.shape[1], image.pixels.shape[2])
        labels = paint_objects([(0, 0, _nucleus(path, shape)) for path in masks], shape)
        yield NewSample(folder.name, image, labels, split, modality=_modality(image))


def _nucleus(path: Path, shape: tuple[int, int]) -> np.ndarray:
    mask = read_labels(path) != 0
    if mask.shape != shape or not mask.any():
        raise ValueError(
            f"{path} is {mask.shape[0]} x {mask.shape[1]} with {mask.sum()} nucleus pixels; expected "
            f"the image's {shape[0]} x {shape[1]} and at least one"
        )
    return mask


def _grey_if_equal(image: Image) -> Image:
    red = image.pixels[0]
    if image.is_rgb and all(np.array_equal(red, other) for other in image.pixels[1:]):
        return Image(image.pixels[:1], numbered_channels(1), image.pixel_size_um, False, image.uri)
    return image


def _modality(image: Image) -> str:
    if image.is_rgb:
        return "histology"
    return "brightfield" if np.median(image.pixels) > _BRIGHT_BACKGROUND else "fluorescence"
