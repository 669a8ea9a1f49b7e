"""Inputs of the kernel benchmarks: a dense field of touching cells and what a network makes of it."""

from functools import lru_cache

import jaxtyping
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from dinocell_kernels import distance_map

# The tests check shapes on every call; times are of the functions as users run them.
jaxtyping.config.update("jaxtyping_disable", True)

SIZES = [512, 2048]


@lru_cache
def touching_cells(size: int) -> np.ndarray:
    """int32 labels of roundish, touching cells, one per 37 x 37 px: Voronoi cells on warped coordinates, cut at a
    radius of their own; about half the image is covered and a label run is about 25 px long."""
    rng = np.random.default_rng(size)
    spacing = 37
    grid = np.stack(np.meshgrid(*[np.arange(spacing / 2, size, spacing)] * 2, indexing="ij"), -1).reshape(-1, 2)
    centres = grid + rng.uniform(-12, 12, grid.shape)
    warp = [60 * ndimage.gaussian_filter(rng.normal(size=(size, size)), 6) for _ in range(2)]
    positions = np.stack(np.mgrid[:size, :size] + np.array(warp), -1)
    distance, nearest = cKDTree(centres).query(positions)
    radius = rng.uniform(0.35, 0.6, len(centres)) * spacing
    return np.where(distance < radius[nearest], nearest + 1, 0).astype(np.int32)


@lru_cache
def predicted_map(size: int) -> np.ndarray:
    """float32 distance map as a network predicts it: the exact one blurred, with smooth noise of 3.5 %."""
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(size, size)), 3)
    exact = distance_map(touching_cells(size))
    return (ndimage.gaussian_filter(exact, 1.2) + 0.035 * noise / noise.std()).astype(np.float32)


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def labels(size: int) -> np.ndarray:
    return touching_cells(size)


@pytest.fixture
def predicted(size: int) -> np.ndarray:
    return predicted_map(size)


@pytest.fixture
def grouped(benchmark, size: int, request: pytest.FixtureRequest):
    """The benchmark fixture, grouped so that libraries stand beside each other for one size."""
    benchmark.group = f"{request.node.path.stem.removeprefix('bench_')} {size}"
    return benchmark
