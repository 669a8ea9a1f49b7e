"""Training data: complete labelled images in memory, normalised once."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from dinocell_io import Sample, counted, grey_image, open_dataset, read_image, read_labels, refuse_binary_masks
from dinocell_seg.normalize import Normalization, normalize
from dinocell_seg.pixel_weights import Annotation, annotation_of


@dataclass(frozen=True)
class TrainingImage:
    """One labelled image, ready to be cut: network input in half precision, labels, and where its cells are."""

    name: str
    modality: str
    image: Float[np.ndarray, "y x"]
    labels: Integer[np.ndarray, "y x"]
    centers: Float[np.ndarray, "cell 2"]
    median_diameter: float
    pixel_size_um: float | None = None
    annotation: Annotation = "complete"
    ignored_label: int = 0
    """Label of the pixels that carry no loss; 0 where there are none."""
    diameters: Float[np.ndarray, " label"] | None = None
    """Diameter of the cell of each label, in pixels of this image."""


def _cells(image: TrainingImage) -> Integer[np.ndarray, "y x"]:
    """The labels without that of ignored pixels."""
    return np.where(image.labels == image.ignored_label, 0, image.labels) if image.ignored_label else image.labels


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within, a ValueError says which file it is of."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_training_images(
    folders: Sequence[str | Path],
    *,
    split: str,
    normalization: Normalization,
    channel: str | int | None = None,
    ignore_label: int | None = None,
) -> list[TrainingImage]:
    """Read one split of some dataset folders into memory (about 4 bytes a pixel).

    Folders without splits are divided by :func:`with_splits`.

    Raises:
        ValueError: a folder has no image in this split, an image and its labels differ in shape, all masks of a folder
            look binary, or none of the split holds a cell.
    """
    images = []
    for folder in folders:
        all_samples = open_dataset(folder)
        samples = [sample for sample in with_splits(all_samples) if sample.split == split]
        if not samples and len(all_samples) == 1 and all_samples[0].split is None:
            raise ValueError(
                f"{folder} holds 1 image and no splits.csv; one to train on and another to validate on are needed"
            )
        if not samples:
            raise ValueError(
                f"{folder} has no image in the split {split!r}; name the splits 'train', 'val' and 'test' in its "
                "splits.csv (columns name, split)"
            )
        of_folder = [
            read_training_image(
                sample, Path(folder).name, normalization=normalization, channel=channel, ignore_label=ignore_label
            )
            for sample in samples
        ]
        named = zip(samples, of_folder, strict=True)
        refuse_binary_masks((str(sample.labels_path), _cells(image)) for sample, image in named)
        images += of_folder
    if not any(len(image.centers) for image in images):
        raise ValueError(
            f"no mask of the split {split!r} holds a cell ({counted(len(images), 'mask')} in "
            f"{', '.join(map(str, folders))}); there is nothing to learn or to choose by, give label images with cells"
        )
    return images


def with_splits(samples: Sequence[Sample], *, validation_share: float = 0.1) -> list[Sample]:
    """The same samples; where none has a split, a tenth (at least one) becomes 'val' and the rest 'train'.

    The choice depends on the names alone. Samples of one group stay together.
    """
    if any(sample.split is not None for sample in samples):
        return list(samples)
    groups = sorted({sample.group or sample.name for sample in samples}, key=_shuffled)
    validation = set(groups[: max(1, round(validation_share * len(groups)))])
    return [
        replace(sample, split="val" if (sample.group or sample.name) in validation else "train") for sample in samples
    ]


def _shuffled(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def read_training_image(
    sample: Sample,
    dataset: str,
    *,
    normalization: Normalization,
    channel: str | int | None = None,
    ignore_label: int | None = None,
) -> TrainingImage:
    """Read, normalise and index one labelled image; pixels labelled `ignore_label` are not cells and carry no loss."""
    whole = read_image(sample.image_path)
    plane = grey_image(whole, channel=channel)
    with naming(sample.image_path):
        network_input = normalize(plane, normalization).astype(np.float16)
    labels = read_labels(sample.labels_path)
    if plane.shape != labels.shape:
        raise ValueError(
            f"{sample.image_path} is {plane.shape} but {sample.labels_path} is {labels.shape}; they must be the "
            "same field"
        )
    ids, areas = np.unique(labels, return_counts=True)
    cells = ids > 0
    ignored = ids == ignore_label
    if ignored.any():
        cells &= ~ignored
    compact = np.searchsorted(ids, labels).astype(np.int64)
    ys, xs = np.indices(labels.shape)
    centers = np.stack(
        [
            np.bincount(compact.ravel(), weights=coordinate.ravel(), minlength=len(ids)) / areas
            for coordinate in (ys, xs)
        ],
        axis=1,
    )
    diameters = np.sqrt(areas * 4 / np.pi)
    of_label = np.zeros(int(ids.max(initial=0)) + 1)
    of_label[ids[cells]] = diameters[cells]
    return TrainingImage(
        name=sample.name,
        modality=f"{dataset}/{sample.modality or 'all'}",
        image=network_input,
        labels=labels,
        centers=centers[cells],
        median_diameter=float(np.median(diameters[cells])) if cells.any() else 0.0,
        pixel_size_um=whole.pixel_size_um,
        annotation=annotation_of(sample.annotation, f"{dataset}/{sample.name}"),
        ignored_label=int(ids[ignored][0]) if ignored.any() else 0,
        diameters=of_label,
    )


def image_probabilities(
    images: Sequence[TrainingImage],
    *,
    balance: float,
    weights: Mapping[str, float] | None = None,
    set_weights: Mapping[str, float] | None = None,
) -> Float[np.ndarray, " image"]:
    """Probability of each image: modalities in proportion to size ** balance, images of one modality by `weights`.

    `weights` names an image by itself or, where folders share a name, as folder/name. `set_weights` multiplies the
    share of all modalities of a dataset folder. What is not named has weight 1. Raises ValueError for a name that no
    image or folder has, or several images have, and for a modality whose images all have weight 0.
    """
    weights = weights or {}
    whole_names = [f"{image.modality.partition('/')[0]}/{image.name}" for image in images]
    several = Counter(image.name for image in images)
    if ambiguous := sorted(name for name in weights if several[name] > 1):
        raise ValueError(
            f"sampling.image_weights names {ambiguous[0]}, which several folders have; name it as folder/{ambiguous[0]}"
        )
    if unknown := sorted(weights.keys() - {image.name for image in images} - set(whole_names)):
        raise ValueError(
            f"sampling.image_weights names {counted(len(unknown), 'image')} that the train split does not have: "
            f"{', '.join(unknown[:3])}{' ...' if len(unknown) > 3 else ''}; use the names of images/, without suffix"
        )
    names, index, counts = np.unique([image.modality for image in images], return_inverse=True, return_counts=True)
    weight = np.array(
        [weights.get(name, weights.get(image.name, 1.0)) for name, image in zip(whole_names, images, strict=True)]
    )
    total = np.bincount(index, weights=weight)
    if not total.all():
        raise ValueError(f"sampling.image_weights is 0 for all images of {names[total == 0][0]}; give one a weight")
    share = counts**balance * _weights_of_sets(names.tolist(), set_weights or {})
    share = share / np.sum(share)
    return (share / total)[index] * weight


def _weights_of_sets(modalities: Sequence[str], weights: Mapping[str, float]) -> Float[np.ndarray, " modality"]:
    """The weight of each modality's dataset folder."""
    folders = [modality.split("/")[0] for modality in modalities]
    if unknown := sorted(weights.keys() - set(folders)):
        raise ValueError(
            f"sampling.set_weights names {unknown[0]}, but the dataset folders are {', '.join(sorted(set(folders)))}"
        )
    factors = np.array([weights.get(folder, 1.0) for folder in folders])
    if not factors.any():
        raise ValueError("sampling.set_weights is 0 for all dataset folders; give one a weight")
    return factors
