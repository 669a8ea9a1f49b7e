"""Training data: whole labelled images in memory, normalised once."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from dinocell_io import Sample, grey_image, open_dataset, read_image, read_labels
from dinocell_io.counted import counted
from dinocell_seg.normalize import Normalization, normalize


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


def load_training_images(
    folders: Sequence[str | Path],
    *,
    split: str,
    normalization: Normalization,
    channel: str | int | None = None,
) -> list[TrainingImage]:
    """Read one split of some dataset folders into memory (about 4 bytes a pixel).

    Folders without splits are divided by :func:`with_splits`.

    Raises:
        ValueError: a folder has no image in this split, or an image and its labels differ in shape.
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
        images += [
            read_training_image(sample, Path(folder).name, normalization=normalization, channel=channel)
            for sample in samples
        ]
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
    sample: Sample, dataset: str, *, normalization: Normalization, channel: str | int | None = None
) -> TrainingImage:
    """Read, normalise and index one labelled image."""
    whole = read_image(sample.image_path)
    plane = grey_image(whole, channel=channel)
    labels = read_labels(sample.labels_path)
    if plane.shape != labels.shape:
        raise ValueError(
            f"{sample.image_path} is {plane.shape} but {sample.labels_path} is {labels.shape}; they must be the "
            "same field"
        )
    ids, areas = np.unique(labels, return_counts=True)
    cells = ids > 0
    compact = np.searchsorted(ids, labels).astype(np.int64)
    ys, xs = np.indices(labels.shape)
    centers = np.stack(
        [
            np.bincount(compact.ravel(), weights=coordinate.ravel(), minlength=len(ids)) / areas
            for coordinate in (ys, xs)
        ],
        axis=1,
    )
    return TrainingImage(
        name=sample.name,
        modality=f"{dataset}/{sample.modality or 'all'}",
        image=normalize(plane, normalization).astype(np.float16),
        labels=labels,
        centers=centers[cells],
        median_diameter=float(np.median(np.sqrt(areas[cells] * 4 / np.pi))) if cells.any() else 0.0,
        pixel_size_um=whole.pixel_size_um,
    )


def image_probabilities(
    images: Sequence[TrainingImage], *, balance: float, weights: Mapping[str, float] | None = None
) -> Float[np.ndarray, " image"]:
    """Probability of each image: modalities in proportion to size ** balance, images of one modality by `weights`.

    An image that `weights` does not name has weight 1. Raises ValueError for a name that no image has, and for a
    modality whose images all have weight 0.
    """
    weights = weights or {}
    if unknown := sorted(weights.keys() - {image.name for image in images}):
        raise ValueError(
            f"sampling.image_weights names {counted(len(unknown), 'image')} that the train split does not have: "
            f"{', '.join(unknown[:3])}{' ...' if len(unknown) > 3 else ''}; use the names of images/, without suffix"
        )
    names, index, counts = np.unique([image.modality for image in images], return_inverse=True, return_counts=True)
    weight = np.array([weights.get(image.name, 1.0) for image in images])
    total = np.bincount(index, weights=weight)
    if not total.all():
        raise ValueError(f"sampling.image_weights is 0 for all images of {names[total == 0][0]}; give one a weight")
    share = counts**balance / np.sum(counts**balance)
    return (share / total)[index] * weight
