"""Partial and derived labels, pixels to ignore, and the share of each dataset folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dinocell_io import open_dataset, write_labels
from dinocell_seg.augment import Augmentation
from dinocell_seg.crops import Sampling, random_batch, validation_batches
from dinocell_seg.losses import Loss, diameter_loss, distance_loss
from dinocell_seg.normalize import Normalization
from dinocell_seg.pixel_weights import Weighting, annotation_of, pixel_weights
from dinocell_seg.training_images import TrainingImage, image_probabilities, load_training_images

PLAIN = Augmentation(
    flip=False,
    rotation_degrees=0,
    scale=(1, 1),
    wide_scale_probability=0,
    gain=(1, 1),
    offset=(0, 0),
    gamma_probability=0,
    invert_probability=0,
    noise_probability=0,
    blur_probability=0,
    gradient_probability=0,
)


def square_cell(size: int = 64) -> np.ndarray:
    labels = np.zeros((size, size), np.int32)
    labels[20:36, 20:36] = 5
    return labels


def weights_of(labels: np.ndarray, annotation: str, ignored: np.ndarray | None = None) -> np.ndarray | None:
    return pixel_weights(labels, annotation=annotation, ignored=ignored, settings=Weighting(rim_px=3, derived=0.5))


def dataset(folder: Path, labels: np.ndarray, *, annotation: str = "", name: str = "a") -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    pixels = (1000 + 100 * (labels > 0) + np.arange(64)).astype(np.uint16)
    Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    write_labels(folder / "masks" / f"{name}.png", labels)
    (folder / "splits.csv").write_text(f"name,split,labels\n{name},train,{annotation}\n")
    return folder


def test_completely_labelled_images_have_no_weights():
    assert weights_of(square_cell(), "complete") is None


def test_in_partial_images_cells_and_their_rim_count_and_nothing_else():
    weights = weights_of(square_cell(), "partial")
    assert (weights[20:36, 20:36] == 1).all()
    assert weights[28, 17] == weights[28, 38] == 1
    assert weights[28, 16] == weights[28, 39] == 0
    assert weights[0, 0] == 0


def test_a_partial_crop_without_a_cell_counts_nothing():
    assert (weights_of(np.zeros((8, 8), np.int32), "partial") == 0).all()


def test_derived_labels_count_half_everywhere():
    assert (weights_of(square_cell(), "derived") == 0.5).all()


def test_ignored_pixels_count_nothing_whatever_the_annotation():
    ignored = np.zeros((64, 64), bool)
    ignored[:10] = True
    for annotation, elsewhere in (("complete", 1.0), ("derived", 0.5)):
        weights = weights_of(square_cell(), annotation, ignored)
        assert (weights[:10] == 0).all()
        assert (weights[10:] == elsewhere).all()


def test_an_unknown_annotation_is_refused_with_the_image_and_the_known_ones():
    assert annotation_of(None, "set/a") == "complete"
    with pytest.raises(
        ValueError,
        match=r"set/a has 'some' in the column labels of its splits.csv; expected complete, partial or derived",
    ):
        annotation_of("some", "set/a")


def test_splits_csv_tells_the_annotation_and_training_reads_it(tmp_path):
    folder = dataset(tmp_path / "half", square_cell(), annotation="partial")
    assert open_dataset(folder)[0].annotation == "partial"
    (image,) = load_training_images([folder], split="train", normalization=Normalization())
    assert image.annotation == "partial"
    (batch,) = validation_batches([image], sampling=Sampling(crop_px=64, batch_size=1), max_crops=1)
    assert batch.weights is not None
    assert batch.weights[0, 0, 0, 0] == 0
    assert batch.weights[0, 0, 28, 28] == 1


def test_the_ignore_label_is_neither_cell_nor_background(tmp_path):
    labels = square_cell()
    labels[40:, :] = 255
    folder = dataset(tmp_path / "ignored", labels)
    (image,) = load_training_images([folder], split="train", normalization=Normalization(), ignore_label=255)
    assert len(image.centers) == 1
    assert image.median_diameter == pytest.approx(2 * 16 / np.pi**0.5)
    batch = random_batch(
        [image],
        0,
        seed=0,
        sampling=Sampling(crop_px=64, batch_size=1, cell_bias=0),
        augmentation=PLAIN,
        probabilities=np.ones(1),
    )
    assert batch.weights is not None
    assert (batch.weights[0, 0, 40:] == 0).all()
    assert (batch.weights[0, 0, :40] == 1).all()
    assert (batch.targets[0, 0, 40:] == 0).all()
    assert batch.targets[0, 0, 28, 28] > 0.9


def test_without_an_ignore_label_the_same_number_is_a_cell(tmp_path):
    labels = square_cell()
    labels[40:, :] = 255
    (image,) = load_training_images([dataset(tmp_path / "cells", labels)], split="train", normalization=Normalization())
    assert len(image.centers) == 2
    assert image.ignored_label == 0


@pytest.mark.parametrize("distance", ["mse", "cross_entropy"])
def test_a_pixel_of_weight_0_has_no_gradient_and_others_keep_theirs(distance):
    target = torch.tensor([0.0, 0.4, 0.9, 0.0]).reshape(1, 1, 2, 2)
    weights = torch.tensor([1.0, 1.0, 0.0, 0.5]).reshape(1, 1, 2, 2)
    gradients = []
    for used in (None, weights):
        logits = torch.full((1, 1, 2, 2), 0.3, requires_grad=True)
        distance_loss(logits, target, settings=Loss(distance=distance), weights=used).backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(gradients[1], gradients[0] * weights)


def test_diameters_count_only_where_a_cell_is():
    target = torch.tensor([[[[4.0, float("nan")]]]])
    predicted = torch.tensor([[[[4.0, 9.0]]]], requires_grad=True)
    loss = diameter_loss(predicted, target)
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(predicted.grad[0, 0, 0, 1]) == 0
    assert float(diameter_loss(predicted.detach(), torch.full_like(target, float("nan")))) == 0
    assert float(diameter_loss(torch.tensor([[[[5.0, 9.0]]]]), target)) == pytest.approx(0.9)  # |1| less half of beta


def cell_of(diameter: int, size: int = 400) -> TrainingImage:
    y, x = np.indices((size, size))
    labels = ((y - size / 2) ** 2 + (x - size / 2) ** 2 < diameter**2 / 4).astype(np.int32)
    return TrainingImage(
        "a",
        "set/all",
        labels.astype(np.float16),
        labels,
        np.array([[size / 2, size / 2]]),
        float(diameter),
        diameters=np.array([0.0, diameter]),
    )


def longest_run(foreground: np.ndarray) -> int:
    """Pixels of the longest row of foreground: a disc's diameter, also of a disc that is there several times."""
    padded = np.pad(foreground, 1).ravel().astype(int)
    starts, ends = np.flatnonzero(np.diff(padded) == 1), np.flatnonzero(np.diff(padded) == -1)
    return int((ends - starts).max(initial=0))


@pytest.mark.parametrize("diameter", [10, 40, 200])
def test_with_a_target_diameter_cells_of_any_size_come_out_in_its_range(diameter):
    batch = random_batch(
        [cell_of(diameter)],
        0,
        seed=1,
        sampling=Sampling(crop_px=128, batch_size=24, cell_bias=1),
        augmentation=PLAIN.model_copy(update={"target_diameter_px": (20, 40)}),
        probabilities=np.ones(1),
        patch=16,
    )
    assert 30 < max(longest_run(target[0] > 0) for target in batch.targets.numpy()) < 41.5
    told = 2 ** batch.diameters[~batch.diameters.isnan()].numpy()
    assert len(told)
    assert (told > 19.9).all()
    assert (told < 40.1).all()
    # uniform in the logarithm: both halves of the range occur
    assert told.min() < 28 < told.max()


def test_artefacts_change_images_and_cover_no_cell_that_stays_in_the_target():
    batches = [
        random_batch(
            [cell_of(60)],
            0,
            seed=4,
            sampling=Sampling(crop_px=96, batch_size=64, cell_bias=1),
            augmentation=PLAIN.model_copy(update={"artefact_probability": probability}),
            probabilities=np.ones(1),
        )
        for probability in (0.0, 1.0)
    ]
    changed = [not torch.equal(*pair) for pair in zip(batches[0].images, batches[1].images, strict=True)]
    assert sum(changed) > 40  # saturation does not show in a dim crop
    assert torch.isfinite(batches[1].images).all()
    foreground = [batch.targets > 0 for batch in batches]
    assert (foreground[1] <= foreground[0]).all()
    assert foreground[1].sum() < foreground[0].sum()  # black borders cover cells


def test_a_folder_of_weight_2_is_drawn_twice_as_often():
    images = [
        TrainingImage("a", "one/x", np.zeros((2, 2)), np.zeros((2, 2), np.int32), np.zeros((0, 2)), 0.0),
        TrainingImage("b", "two/x", np.zeros((2, 2)), np.zeros((2, 2), np.int32), np.zeros((0, 2)), 0.0),
    ]
    np.testing.assert_allclose(image_probabilities(images, balance=0.5), [0.5, 0.5])
    np.testing.assert_allclose(image_probabilities(images, balance=0.5, set_weights={"two": 2.0}), [1 / 3, 2 / 3])
    with pytest.raises(ValueError, match="set_weights names three, but the dataset folders are one, two"):
        image_probabilities(images, balance=0.5, set_weights={"three": 1.0})
    with pytest.raises(ValueError, match="set_weights is 0 for all dataset folders"):
        image_probabilities(images, balance=0.5, set_weights={"one": 0.0, "two": 0.0})
