import math

import numpy as np
import pytest

from dinocell_seg.augment import Augmentation, _seen, change_intensities, random_affine, warp_crop

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


def checkerboard() -> np.ndarray:
    labels = np.zeros((40, 60), np.int32)
    labels[5:15, 8:20] = 1
    labels[20:36, 30:55] = 70_000
    return labels


def test_an_identity_map_cuts_the_crop_out_unchanged():
    labels = checkerboard()
    image = np.random.default_rng(0).random(labels.shape).astype(np.float32)
    crop, cut = warp_crop(image, labels, matrix=np.eye(2), center=(19.5, 29.5), size=20)
    np.testing.assert_array_equal(crop, image[10:30, 20:40])
    np.testing.assert_array_equal(cut, labels[10:30, 20:40])


def test_labels_are_never_mixed_by_rotation_and_scaling():
    labels = checkerboard()
    angle = math.radians(33)
    matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) / 1.3
    _, cut = warp_crop(labels.astype(np.float32), labels, matrix=matrix, center=(20.0, 30.0), size=64)
    assert set(np.unique(cut)) <= {0, 1, 70_000}
    assert (cut == 70_000).any()


def test_image_and_labels_stay_on_top_of_each_other():
    labels = checkerboard()
    rng = np.random.default_rng(3)
    for _ in range(10):
        matrix = random_affine(rng, Augmentation(), median_diameter=15.0)
        image = (labels > 0).astype(np.float32)
        crop, cut = warp_crop(image, labels, matrix=matrix, center=(20.0, 30.0), size=48)
        assert ((crop > 0.5) == (cut > 0)).mean() > 0.97


def test_beyond_the_border_image_and_labels_are_mirrored_alike():
    labels = np.zeros((8, 8), np.int32)
    labels[:, 0:3] = 1
    crop, cut = warp_crop(labels.astype(np.float32), labels, matrix=np.eye(2), center=(3.5, -0.5), size=6)
    np.testing.assert_array_equal(crop > 0, cut > 0)
    assert cut[0].tolist() == [0, 1, 1, 1, 1, 1]


def test_without_changes_an_image_keeps_its_intensities():
    image = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    np.testing.assert_allclose(change_intensities(image, np.random.default_rng(1), PLAIN), image, atol=1e-6)


def test_inversion_swaps_the_percentiles():
    image = np.full((4, 4), -2.0, np.float32)  # v = 0
    inverted = change_intensities(image, np.random.default_rng(0), PLAIN.model_copy(update={"invert_probability": 1.0}))
    np.testing.assert_allclose(inverted, 2.0, atol=1e-6)


def test_intensities_stay_in_the_range_of_network_input():
    image = np.random.default_rng(0).uniform(-4, 6, size=(32, 32)).astype(np.float32)
    for seed in range(20):
        changed = change_intensities(image, np.random.default_rng(seed), Augmentation())
        assert changed.dtype == np.float32
        assert changed.min() >= -4
        assert changed.max() <= 6


@pytest.mark.parametrize(("diameter", "low", "high"), [(8.0, 6 / 8, 10.0), (100.0, 0.0, 1.2)])
def test_magnification_keeps_the_median_cell_in_the_range_of_diameters(diameter, low, high):
    rng = np.random.default_rng(0)
    settings = Augmentation(scale=(0.2, 5.0))
    for _ in range(200):
        matrix = random_affine(rng, settings, median_diameter=diameter)
        magnification = 1 / math.sqrt(abs(np.linalg.det(matrix)))
        assert low - 1e-9 <= magnification <= high + 1e-9


def test_a_crop_is_that_of_the_whole_image_though_only_a_part_is_worked_on(monkeypatch):
    rng = np.random.default_rng(5)
    parts, wholes = [], []
    for number in range(200):
        shape = tuple(rng.integers(8, 300, 2))
        image, labels = rng.random(shape, np.float32), rng.integers(0, 9, shape).astype(np.int32)
        settings = Augmentation(wide_scale=(0.3, 2.0), wide_scale_probability=0.5)
        matrix = random_affine(rng, settings, median_diameter=0.0)
        center = tuple(float(rng.uniform(-20, side + 20)) for side in shape)
        asked = {"matrix": matrix, "center": center, "size": (16, 48)[number % 2]}
        parts.append(warp_crop(image, labels, **asked))
        with monkeypatch.context() as patch:
            patch.setattr("dinocell_seg.augment._seen", lambda first, last, side: slice(0, side))
            wholes.append(warp_crop(image, labels, **asked))
    for (part, part_labels), (whole, whole_labels) in zip(parts, wholes, strict=True):
        np.testing.assert_allclose(part, whole, atol=0.04)  # OpenCV before 5 rounds positions to 1 / 32 pixel
        assert np.mean(part_labels != whole_labels) < 0.005


def test_what_a_crop_sees_of_an_axis():
    assert _seen(10.5, 20.5, 100) == slice(10, 22)
    assert _seen(-30.0, 5.0, 100) == slice(0, 31)
    assert _seen(90.0, 120.0, 100) == slice(78, 100)
    assert _seen(-5.0, 150.0, 100) == slice(0, 100)
    assert _seen(-250.0, -240.0, 100) == slice(0, 100)
