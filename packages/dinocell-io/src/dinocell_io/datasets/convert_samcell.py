"""SAMCell training arrays (`imgs.npy`, `anns.npy`) to the simple dataset folder."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from dinocell_io.datasets.dataset_write import NewSample, write_dataset
from dinocell_io.images.image import RGB_CHANNELS, Image, numbered_channels


def convert_samcell(source_folder: str | Path, output_folder: str | Path, *, split: str | None = None) -> Path:
    """Convert `imgs.npy` [n y x] or [n y x 3] with `anns.npy` [n 2 y x] (instances, crowd) or [n y x].

    Samples are named by their index, `00000` on. Colour is taken as blue, green, red, since these
    arrays are written through OpenCV; three equal planes become grey. The crowd plane is left
    out, `dist_maps.npy` is not read: a target follows from the labels. Arrays are read one sample at a time.
    Raises ValueError for other shapes, unequal numbers, pickled arrays and negative labels (16-bit overflow).
    """
    source = Path(source_folder)
    images, annotations = _load(source / "imgs.npy"), _load(source / "anns.npy")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise ValueError(f"{source / 'imgs.npy'} has shape {images.shape}, expected (n, y, x) or (n, y, x, 3)")
    if annotations.ndim == 4 and annotations.shape[1] == 2:
        annotations = annotations[:, 0]
    if annotations.ndim != 3 or annotations.dtype.kind not in "ui":
        raise ValueError(
            f"{source / 'anns.npy'} holds {annotations.dtype} {annotations.shape}, expected integers "
            "of (n, 2, y, x) or (n, y, x)"
        )
    if images.shape[:3] != annotations.shape:
        raise ValueError(
            f"{source} has images of (n, y, x) {images.shape[:3]} and labels of {annotations.shape}; they must be equal"
        )
    return write_dataset(output_folder, _samples(images, annotations, split, source))


def _samples(
    images: Shaped[np.ndarray, "..."],
    annotations: Shaped[np.ndarray, "n y x"],
    split: str | None,
    source: Path,
) -> Iterator[NewSample]:
    for index, (pixels, labels) in enumerate(zip(images, annotations, strict=True)):
        if labels.min() < 0:
            raise ValueError(
                f"{source / 'anns.npy'}: image {index} has negative labels (down to {labels.min()}); "
                "the array overflowed when it was written, make it again"
            )
        planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)[::-1]
        if len(planes) == 3 and np.array_equal(planes[0], planes[1]) and np.array_equal(planes[0], planes[2]):
            planes = planes[:1]
        is_rgb = len(planes) == 3
        names = RGB_CHANNELS if is_rgb else numbered_channels(1)
        image = Image(np.ascontiguousarray(planes), names, None, is_rgb, f"{source / 'imgs.npy'}[{index}]")
        yield NewSample(f"{index:05d}", image, np.asarray(labels), split)


def _load(path: Path) -> Shaped[np.ndarray, "..."]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected imgs.npy and anns.npy in one folder")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a plain npy array ({error}); it is damaged or pickled") from error
