"""Shared drawings and random fields."""

import numpy as np
import pytest


def _field(seed, *, size=96, cells=25):
    """A truth of discs and a prediction with shifted, missed, merged, split and spurious ones."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    truth, predicted = np.zeros((2, size, size), np.int32)
    for label in range(1, cells + 1):
        cy, cx = generator.integers(0, size, 2)
        radius = generator.integers(4, 9)
        truth[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = label
        fate = generator.random()
        shifted = (y - cy - generator.integers(-2, 3)) ** 2 + (x - cx) ** 2 < radius**2
        if fate < 0.1:
            continue
        predicted[shifted] = max(1, label - 1) if fate < 0.2 else label
        if fate > 0.9:
            predicted[shifted & (x < cx)] = cells + label
    predicted[:4, -4:] = 3 * cells
    return truth, predicted


@pytest.fixture
def field():
    return _field


@pytest.fixture(scope="session")
def fields():
    """Twelve fields and one empty image, as truths and predictions."""
    pairs = [_field(seed) for seed in range(12)]
    empty = np.zeros((96, 96), np.int32)
    return [t for t, _ in pairs] + [empty], [p for _, p in pairs] + [empty]
