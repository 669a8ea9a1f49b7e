import numpy as np
import pytest

from dinocell_ssl.data.augment import Augmentation, changed_exposure, changed_optics

SIZE = 32


def checkered():
    """Pixels that alternate between 0.2 and 0.8: any blur brings neighbours together."""
    return (np.indices((SIZE, SIZE)).sum(axis=0) % 2 * 0.6 + 0.2).astype(np.float32)


def contrast(v):
    return float(np.abs(np.diff(v, axis=1)).mean())


def only(**changes):
    return Augmentation.none().model_copy(update=changes)


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_probability_of_defocus_is_the_share_of_blurred_crops(probability):
    rng = np.random.default_rng(0)
    settings = only(defocus_probability=probability)
    blurred = [contrast(changed_optics(checkered(), rng, settings)) < 0.55 for _ in range(400)]
    assert np.mean(blurred) == pytest.approx(probability, abs=0.06)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("gradient", {"gradient": 0.5}), ("noise", {"shot_noise": 0.5}), ("saturation", {"saturation": (0.3, 0.5)})],
)
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_every_other_probability_means_what_it_says(name, changes, probability):
    rng = np.random.default_rng(1)
    settings = only(**changes, **{f"{name}_probability": probability})
    changed = [not np.array_equal(changed_optics(checkered(), rng, settings), checkered()) for _ in range(300)]
    assert np.mean(changed) == pytest.approx(probability, abs=0.08)


def test_no_augmentation_changes_nothing():
    rng = np.random.default_rng(0)
    v = checkered()
    exposed = changed_exposure(v.copy(), rng, Augmentation.none())
    np.testing.assert_array_equal(changed_optics(exposed, rng, Augmentation.none()), v)


def test_noise_grows_with_the_light():
    rng = np.random.default_rng(0)
    settings = only(noise_probability=1.0, shot_noise=0.1, read_noise=0.0)
    spread = {
        level: np.mean([changed_optics(np.full((64, 64), level, np.float32), rng, settings).var() for _ in range(200)])
        for level in (0.0, 0.25, 1.0)
    }
    assert spread[0.0] == 0
    assert spread[1.0] / spread[0.25] == pytest.approx(4, rel=0.3)


def test_gain_and_offset_are_those_of_the_ranges():
    rng = np.random.default_rng(0)
    v = changed_exposure(np.array([[0.0, 1.0]], np.float32), rng, only(gain=(2.0, 2.0), offset=(0.1, 0.1)))
    np.testing.assert_allclose(v, [[0.1, 2.1]], rtol=1e-6)


def test_gamma_bends_what_is_above_0_and_leaves_what_is_below():
    rng = np.random.default_rng(0)
    v = np.array([[-0.3, 0.0, 0.25, 1.0]], np.float32)
    np.testing.assert_allclose(
        changed_exposure(v, rng, only(gamma=(2.0, 2.0), gamma_probability=1.0)), [[-0.3, 0, 0.0625, 1]], rtol=1e-6
    )


def test_saturation_cuts_off_and_leaves_the_rest():
    rng = np.random.default_rng(0)
    v = changed_optics(checkered(), rng, only(saturation_probability=1, saturation=(0.5, 0.5)))
    np.testing.assert_allclose(np.unique(v), [0.2, 0.5])


def test_illumination_is_a_ramp_around_1():
    rng = np.random.default_rng(0)
    v = changed_optics(np.ones((65, 65), np.float32), rng, only(gradient_probability=1, gradient=0.3))
    assert v[32, 32] == pytest.approx(1)
    assert 0.57 < v.min() < 0.999
    np.testing.assert_allclose(v + v[::-1, ::-1], 2, rtol=1e-5)
