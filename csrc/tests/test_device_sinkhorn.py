"""The steps of Sinkhorn-Knopp of the GPU, run thread by thread on this CPU, against sums in double precision."""

import numpy as np
import pytest

from dinocell_kernels import _native

emulated = _native.device_emulation


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (130, 5), (70, 600)])
def test_sums_and_targets_are_those_of_the_whole_matrix(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    temperature = 0.05
    logits = rng.normal(0, 0.3, shape).astype(np.float32)
    u, v = (rng.random(n, np.float32) for n in (shape[1], shape[0]))
    scaled = logits.astype(np.float64) / np.float32(temperature)
    maxima = emulated.sinkhorn_sample_max(logits, temperature)
    np.testing.assert_allclose(maxima, scaled.max(axis=1), rtol=1e-6)
    matrix = np.exp(scaled - maxima[:, None])
    np.testing.assert_allclose(emulated.sinkhorn_prototype_mass(logits, temperature, maxima, v), v @ matrix, rtol=1e-4)
    np.testing.assert_allclose(emulated.sinkhorn_sample_mass(logits, temperature, maxima, u), matrix @ u, rtol=1e-4)
    targets = emulated.sinkhorn_targets(logits, temperature, maxima, u, v)
    np.testing.assert_allclose(targets, v[:, None] * matrix * u, rtol=1e-4, atol=1e-12)


def test_sums_of_many_matrices_are_those_in_double_precision() -> None:
    rng = np.random.default_rng(7)
    for _ in range(10_000):
        shape = (int(rng.integers(1, 8)), int(rng.integers(1, 80)))
        logits = rng.normal(0, 0.3, shape).astype(np.float32)
        u, v = (rng.random(n, np.float32) for n in (shape[1], shape[0]))
        scaled = logits.astype(np.float64) / np.float32(0.05)
        maxima = emulated.sinkhorn_sample_max(logits, 0.05)
        matrix = np.exp(scaled - maxima[:, None])
        of_prototypes = emulated.sinkhorn_prototype_mass(logits, 0.05, maxima, v)
        assert (np.abs(of_prototypes - v @ matrix) <= 1e-4 * (v @ matrix)).all()
        of_samples = emulated.sinkhorn_sample_mass(logits, 0.05, maxima, u)
        assert (np.abs(of_samples - matrix @ u) <= 1e-4 * (matrix @ u)).all()


def test_without_samples_prototypes_have_no_mass() -> None:
    none, one = np.zeros((0, 7), np.float32), np.zeros(0, np.float32)
    assert emulated.sinkhorn_prototype_mass(none, 0.1, one, one).tolist() == [0] * 7


def test_nan_in_a_sample_reaches_its_maximum() -> None:
    logits = np.zeros((2, 500), np.float32)
    logits[1, 333] = np.nan
    maxima = emulated.sinkhorn_sample_max(logits, 0.1)
    assert maxima[0] == 0
    assert np.isnan(maxima[1])
