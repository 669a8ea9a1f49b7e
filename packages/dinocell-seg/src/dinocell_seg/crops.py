"""Batches of crops: random ones to train on, a fixed grid to validate on."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Integer
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from dinocell_kernels import distance_map, torch_ops
from dinocell_kernels.arguments import kernel_labels
from dinocell_seg.artefacts import add_artefact
from dinocell_seg.augment import Augmentation, change_intensities, random_affine, warp_crop
from dinocell_seg.devices import as_tensor, kernel_device
from dinocell_seg.empty_field import any_empty_field, empty_field
from dinocell_seg.normalize import Normalization
from dinocell_seg.pixel_weights import Weighting, pixel_weights
from dinocell_seg.training_images import TrainingImage, image_probabilities

_CONTEXT_PX = 48  # labels around a crop that its target may see: a cell cut by the crop keeps its own maximum
_PREFETCHED_BATCHES = 3


class Sampling(BaseModel):
    """Which crops an optimiser step sees."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    crop_px: int = Field(default=256, ge=32)
    batch_size: int = Field(default=8, ge=1)
    cell_bias: float = Field(default=0.8, ge=0, le=1, description="share of crops centred near a labelled cell")
    modality_balance: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="a modality of n images is drawn in proportion to n to this power",
    )
    image_weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default={}, description="how often images are drawn, by name, relative to others of their modality; 1 if absent"
    )
    set_weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default={}, description="how often a dataset folder is drawn, by its name, besides the balance; 1 if absent"
    )
    ignore_label: int | None = Field(
        default=None, ge=1, description="label of pixels that are neither cell nor background: they carry no loss"
    )
    weighting: Weighting = Weighting()
    empty_share: float = Field(
        default=0.0, ge=0, le=1, description="share of crops that are noise alone, in which there is nothing to find"
    )
    empty_kinds: Literal["camera", "any"] = Field(
        default="camera", description="noise of a camera, or also coarse noise, JPEG blocks, stripes, dust, gradients"
    )


@dataclass(frozen=True)
class Batch:
    """Crops and their targets.

    `weights` say how much each pixel counts; None: all 1. `diameters` are log2 of the diameter of the cell at the
    middle of each patch, in pixels of the crop, NaN where there is none.
    """

    images: Float[Tensor, "b 1 y x"]
    targets: Float[Tensor, "b 1 y x"]
    weights: Float[Tensor, "b 1 y x"] | None = None
    diameters: Float[Tensor, "b 1 row column"] | None = None


@dataclass(frozen=True)
class Crop:
    """One crop, the labels with the context that its target needs, and what its pixels count (None: all 1)."""

    pixels: Float32[np.ndarray, "y x"]
    labels: Integer[np.ndarray, "y_context x_context"]
    weights: Float32[np.ndarray, "y x"] | None = None
    diameters: Float32[np.ndarray, "row column"] | None = None


def target_of(labels: Integer[np.ndarray, "y_context x_context"], device: torch.device) -> Float32[Tensor, "y x"]:
    """The distance map of a crop's labels without their context, made on a device with kernels."""
    whole = torch_ops.distance_map(as_tensor(labels, device))
    return whole[_CONTEXT_PX:-_CONTEXT_PX, _CONTEXT_PX:-_CONTEXT_PX]


def _random_crop(
    image: TrainingImage,
    rng: np.random.Generator,
    *,
    sampling: Sampling,
    augmentation: Augmentation,
    patch: int | None = None,
) -> Crop:
    """One augmented crop; with `patch` also the diameters of its cells."""
    height, width = image.labels.shape
    matrix = random_affine(rng, augmentation, median_diameter=image.median_diameter)
    if len(image.centers) and rng.random() < sampling.cell_bias:
        y, x = image.centers[rng.integers(len(image.centers))]
        reach = sampling.crop_px * 0.4
        offset = matrix @ rng.uniform(-reach, reach, size=2)
        y, x = float(y + offset[1]), float(x + offset[0])
    else:
        y, x = rng.uniform(0, height - 1), rng.uniform(0, width - 1)
    # Away from the border where the image is large enough: less of the crop is mirror image.
    half_y, half_x = np.abs(matrix).sum(axis=1)[::-1] * sampling.crop_px / 2
    y = _keep_inside(y, half_y, height)
    x = _keep_inside(x, half_x, width)
    size = sampling.crop_px + 2 * _CONTEXT_PX
    crop, labels = warp_crop(image.image, image.labels, matrix=matrix, center=(y, x), size=size)
    inner = (slice(_CONTEXT_PX, -_CONTEXT_PX),) * 2
    ignored = labels == image.ignored_label if image.ignored_label else None
    if ignored is not None:
        labels[ignored] = 0
    weights = pixel_weights(labels, annotation=image.annotation, ignored=ignored, settings=sampling.weighting)
    pixels = change_intensities(crop[inner], rng, augmentation)
    if augmentation.artefact_probability > 0 and rng.random() < augmentation.artefact_probability:
        pixels, covered = add_artefact(pixels, rng)
        if covered is not None:
            labels[inner][covered] = 0
    diameters = None
    if patch is not None and image.diameters is not None:
        magnification = 1 / math.sqrt(abs(float(np.linalg.det(matrix))))
        at_patches = image.diameters[labels[inner][patch // 2 :: patch, patch // 2 :: patch]] * magnification
        diameters = np.log2(at_patches, out=np.full(at_patches.shape, np.nan), where=at_patches > 0).astype(np.float32)
    return Crop(pixels, kernel_labels(labels), None if weights is None else weights[inner], diameters)


def _keep_inside(position: float, half: float, size: int) -> float:
    if 2 * half >= size:
        return (size - 1) / 2
    return min(max(position, half), size - 1 - half)


def random_batch(
    images: Sequence[TrainingImage],
    step: int,
    *,
    seed: int,
    sampling: Sampling,
    augmentation: Augmentation,
    probabilities: Float[np.ndarray, " image"],
    normalization: Normalization | None = None,
    device: str | torch.device = "cpu",
    patch: int | None = None,
) -> Batch:
    """The batch of one step: a function of seed and step alone, so a resumed run sees the same crops.

    `normalization` is that of the images, for crops that are noise alone. Targets are made on `device` if there are
    kernels for it, with the same result, and stay there. With `patch` the batch holds diameters.
    """
    beside = kernel_device(device, num_pixels=(sampling.crop_px + 2 * _CONTEXT_PX) ** 2)
    crops, targets = [], []
    for index in range(sampling.batch_size):
        rng = np.random.default_rng((seed, step, index))
        if sampling.empty_share > 0 and rng.random() < sampling.empty_share:
            make = empty_field if sampling.empty_kinds == "camera" else any_empty_field
            noise = make(rng, size=sampling.crop_px, normalization=normalization)
            crops.append(Crop(noise, np.zeros((0, 0), np.int32)))
            targets.append(torch.zeros((sampling.crop_px, sampling.crop_px), device=beside))
            continue
        image = images[rng.choice(len(images), p=probabilities)]
        crops.append(_random_crop(image, rng, sampling=sampling, augmentation=augmentation, patch=patch))
        targets.append(target_of(crops[-1].labels, beside))
    return Batch(
        torch.from_numpy(np.stack([crop.pixels for crop in crops])[:, None]),
        torch.stack(targets)[:, None],
        _stacked([crop.weights for crop in crops], (sampling.crop_px,) * 2, fill=1.0),
        _stacked([crop.diameters for crop in crops], (sampling.crop_px // (patch or 1),) * 2, fill=np.nan),
    )


def _stacked(
    arrays: Sequence[Float32[np.ndarray, "y x"] | None], shape: tuple[int, int], *, fill: float
) -> Float[Tensor, "b 1 y x"] | None:
    """The arrays as one tensor, `fill` where there is none; None if there is none at all."""
    if all(array is None for array in arrays):
        return None
    empty = np.full(shape, fill, np.float32)
    return torch.from_numpy(np.stack([empty if array is None else array for array in arrays])[:, None])


def random_batches(
    images: Sequence[TrainingImage],
    *,
    start: int,
    stop: int,
    seed: int,
    sampling: Sampling,
    augmentation: Augmentation,
    normalization: Normalization | None = None,
    device: str | torch.device = "cpu",
    patch: int | None = None,
) -> Iterator[Batch]:
    """Batches of the steps [start, stop), the next few prepared by a thread while the network works."""
    probabilities = image_probabilities(
        images, balance=sampling.modality_balance, weights=sampling.image_weights, set_weights=sampling.set_weights
    )

    def make(step: int) -> Batch:
        return random_batch(
            images,
            step,
            seed=seed,
            sampling=sampling,
            augmentation=augmentation,
            probabilities=probabilities,
            normalization=normalization,
            device=device,
            patch=patch,
        )

    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = [pool.submit(make, step) for step in range(start, min(start + _PREFETCHED_BATCHES, stop))]
        for step in range(start, stop):
            batch = pending.pop(0).result()
            if step + _PREFETCHED_BATCHES < stop:
                pending.append(pool.submit(make, step + _PREFETCHED_BATCHES))
            yield batch


def validation_batches(images: Sequence[TrainingImage], *, sampling: Sampling, max_crops: int) -> list[Batch]:
    """The same unchanged crops at every validation: a grid over each image, thinned evenly to ``max_crops``.

    Beyond the border an image is mirrored as in training, and its labels with it.
    """
    size = sampling.crop_px
    places = [
        (index, y, x)
        for index, image in enumerate(images)
        for y in _grid(max(size, image.labels.shape[0]), size)
        for x in _grid(max(size, image.labels.shape[1]), size)
    ]
    keep = np.unique(np.linspace(0, len(places) - 1, min(max_crops, len(places))).round().astype(int))
    crops, targets, weights = [], [], []
    for index, of_image in groupby((places[k] for k in keep), key=itemgetter(0)):
        pixels, target, counts = _mirrored(images[index], size, sampling.weighting)
        for _, y, x in of_image:
            place = slice(y, y + size), slice(x, x + size)
            crops.append(pixels[place].astype(np.float32))
            targets.append(target[place].copy())
            weights.append(None if counts is None else counts[place].copy())
    return [
        Batch(
            torch.from_numpy(np.stack(crops[start : start + sampling.batch_size])[:, None]),
            torch.from_numpy(np.stack(targets[start : start + sampling.batch_size])[:, None]),
            _stacked(weights[start : start + sampling.batch_size], (size, size), fill=1.0),
        )
        for start in range(0, len(crops), sampling.batch_size)
    ]


def _mirrored(
    image: TrainingImage, size: int, weighting: Weighting
) -> tuple[
    Float16[np.ndarray, "y_out x_out"], Float32[np.ndarray, "y_out x_out"], Float32[np.ndarray, "y_out x_out"] | None
]:
    """An image of at least `size` pixels a side, its target, whose cells at the border go on in the mirror, and the
    weights of its pixels.
    """
    beyond = [(0, max(0, size - side)) for side in image.labels.shape]
    context = [(_CONTEXT_PX, after + _CONTEXT_PX) for _, after in beyond]
    ignored = image.labels == image.ignored_label if image.ignored_label else None
    labels = np.ascontiguousarray(image.labels if ignored is None else np.where(ignored, 0, image.labels))
    target = distance_map(kernel_labels(np.pad(labels, context, mode="reflect")))
    counts = pixel_weights(labels, annotation=image.annotation, ignored=ignored, settings=weighting)
    inner = slice(_CONTEXT_PX, -_CONTEXT_PX)
    return (
        np.pad(image.image, beyond, mode="reflect"),
        target[inner, inner],
        None if counts is None else np.pad(counts, beyond, mode="reflect"),
    )


def _grid(side: int, size: int) -> list[int]:
    return sorted({min(start, side - size) for start in range(0, side, size)})
