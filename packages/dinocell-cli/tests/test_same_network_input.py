"""Pretraining gives a backbone what training and segmentation give it later."""

import numpy as np
import pytest

from dinocell_io import simulate_field
from dinocell_seg.normalize import normalize
from dinocell_ssl.data.intensity import network_input, scaled_field


def in_pretraining(plane: np.ndarray) -> np.ndarray:
    everything = slice(None)
    return network_input(scaled_field(plane[None], drop_constant=True).values(0, everything, everything))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.float32, np.float64])
def test_every_type_of_pixels_becomes_the_same_input(dtype: type) -> None:
    plane = np.random.default_rng(0).gamma(2, 20, (64, 80)).clip(0, 255).astype(dtype)
    np.testing.assert_allclose(in_pretraining(plane), normalize(plane), atol=2e-6)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e7, 1e8, 1e12])
def test_a_small_signal_on_a_large_offset_keeps_its_digits(offset: float) -> None:
    plane = offset + np.random.default_rng(0).uniform(0, 100, (64, 64))
    np.testing.assert_allclose(in_pretraining(plane), normalize(plane), atol=2e-6)


def test_frames_and_flecks_are_treated_alike() -> None:
    plane = simulate_field((256, 256), num_cells=20, diameter_px=34, channels=("DNA",), seed=3).image.pixels[0].copy()
    plane[60:90, 60:90] = 65_535
    framed = np.zeros((320, 300), np.uint16)
    framed[20:276, 30:286] = plane
    for image in (plane, framed):
        np.testing.assert_allclose(in_pretraining(image), normalize(image), atol=2e-5)
