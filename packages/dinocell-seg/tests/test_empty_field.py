"""Fields of noise alone, and batches that hold some."""

import numpy as np
import pytest
import torch

from dinocell_seg.augment import Augmentation
from dinocell_seg.crops import Sampling, random_batch
from dinocell_seg.empty_field import any_empty_field, empty_field
from dinocell_seg.normalize import Normalization, normalize
from dinocell_seg.training_images import TrainingImage


def field(seed: int, size: int = 96) -> np.ndarray:
    return empty_field(np.random.default_rng(seed), size=size)


@pytest.mark.parametrize("seed", range(8))
def test_it_is_normalised_as_a_whole_image_is(seed):
    pixels = field(seed)
    # 0 to 1 between the percentiles is -2 to 2 for the network
    np.testing.assert_allclose(np.percentile(pixels, (1, 99.8)), (-2, 2), atol=0.02)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_in_it_is_larger_than_a_few_pixels(seed):
    """Means of 12 x 12 pixels hardly differ, beyond a plane of light; those of cells would."""
    pixels = field(seed)
    means = pixels.reshape(8, 12, 8, 12).mean(axis=(1, 3))
    y, x = np.indices(means.shape)
    design = np.stack([np.ones(64), y.ravel(), x.ravel()], axis=1)
    rest = means.ravel() - design @ np.linalg.lstsq(design, means.ravel(), rcond=None)[0]
    assert rest.std() < 0.5 * pixels.std()


def test_the_same_generator_state_gives_the_same_field():
    np.testing.assert_array_equal(field(3), field(3))
    assert not np.array_equal(field(3), field(4))


def batch(share: float):
    pixels = np.random.default_rng(0).normal(100, 5, (64, 64))
    pixels[20:40, 20:40] += 100
    labels = np.zeros((64, 64), np.int32)
    labels[20:40, 20:40] = 1
    image = TrainingImage(
        name="one",
        modality="all",
        image=normalize(pixels.astype(np.float32), Normalization()).astype(np.float16),
        labels=labels,
        centers=np.array([[29.5, 29.5]]),
        median_diameter=22.0,
    )
    return random_batch(
        [image],
        0,
        seed=0,
        sampling=Sampling(crop_px=32, batch_size=24, empty_share=share),
        augmentation=Augmentation(),
        probabilities=np.ones(1),
    )


def test_the_share_of_empty_crops_is_as_asked_and_they_have_nothing_to_find():
    assert torch.count_nonzero(batch(1.0).targets) == 0
    found = batch(0.5).targets.flatten(1).amax(dim=1) > 0
    assert 4 <= int(found.sum()) <= 20


def test_by_default_crops_are_cut_from_the_images():
    assert (batch(0.0).targets.flatten(1).amax(dim=1) > 0).float().mean() > 0.8
    assert Sampling().empty_share == 0


def test_any_empty_field_is_network_input_of_many_kinds_without_a_cell_in_its_target():
    fields = [any_empty_field(np.random.default_rng(seed), size=64) for seed in range(60)]
    assert all(np.isfinite(pixels).all() and pixels.shape == (64, 64) for pixels in fields)
    # neighbouring pixels of camera noise are independent, those of coarse noise and of uneven light are not
    correlation = [np.corrcoef(pixels[:, :-1].ravel(), pixels[:, 1:].ravel())[0, 1] for pixels in fields]
    assert min(correlation) < 0.1
    assert max(correlation) > 0.9
    np.testing.assert_array_equal(fields[7], any_empty_field(np.random.default_rng(7), size=64))
