"""The watershed of the GPU, run thread by thread on this CPU, against that of the CPU."""

import numpy as np
import pytest

from dinocell_kernels import _native, distance_map, marker_watershed, prominent_maxima, watershed
from dinocell_kernels.open_components import flood_open

emulated = _native.device_emulation


def on_device(heights: np.ndarray, *, peak: float, fill: float, prominence: float | None) -> tuple[np.ndarray, int]:
    """Labels as `torch_cuda.watershed` makes them, and how many components were left open."""
    labels, (_, num_open, _) = emulated.watershed(heights, peak, fill, -1.0 if prominence is None else prominence)
    pixels = np.flatnonzero(labels < 0)
    labels.ravel()[pixels] = flood_open(heights.ravel()[pixels], labels.ravel()[pixels], pixels, width=heights.shape[1])
    return labels, num_open


def on_cpu(heights: np.ndarray, *, peak: float, fill: float, prominence: float | None) -> np.ndarray:
    if prominence is None:
        return watershed(heights, peak=peak, fill=fill)
    markers, _ = prominent_maxima(heights, peak=peak, fill=fill, prominence=prominence)
    return marker_watershed(-heights, markers, mask=heights > np.float32(fill))


def random_map(rng: np.random.Generator, *, levels: int | None = None) -> np.ndarray:
    """Smooth noise in [0, 1]; with `levels`, in so many steps, full of equal heights."""
    heights = rng.random(tuple(int(n) for n in rng.integers(1, 40, 2)))
    for _ in range(rng.integers(0, 5)):
        heights = heights + sum(np.roll(heights, step, axis) for step in (-1, 1) for axis in (0, 1))
    heights = (heights - heights.min()) / max(1e-9, float(np.ptp(heights)))
    return (heights if levels is None else np.round(heights * levels) / levels).astype(np.float32)


def random_thresholds(rng: np.random.Generator, prominence: float | None) -> dict[str, float | None]:
    fill = float(rng.choice([0.05, 0.2, 0.4]))
    return {"peak": max(fill, float(rng.choice([0.1, 0.4, 0.6]))), "fill": fill, "prominence": prominence}


@pytest.mark.parametrize("prominence", [None, 0.0, 0.02, 0.15])
def test_labels_of_random_maps_are_those_of_the_cpu_and_none_is_left_open(prominence: float | None) -> None:
    rng = np.random.default_rng(1)
    for _ in range(1800):
        heights, thresholds = random_map(rng), random_thresholds(rng, prominence)
        labels, num_open = on_device(heights, **thresholds)
        assert num_open == 0
        np.testing.assert_array_equal(labels, on_cpu(heights, **thresholds))


@pytest.mark.parametrize("prominence", [None, 0.0, 0.1])
def test_labels_of_maps_full_of_equal_heights_are_those_of_the_cpu(prominence: float | None) -> None:
    rng = np.random.default_rng(2)
    left_open = 0
    for _ in range(1200):
        heights, thresholds = random_map(rng, levels=int(rng.integers(1, 30))), random_thresholds(rng, prominence)
        labels, num_open = on_device(heights, **thresholds)
        left_open += num_open
        np.testing.assert_array_equal(labels, on_cpu(heights, **thresholds))
    assert left_open > 100  # else this tests nothing


def test_only_the_components_that_equal_heights_decide_are_left_open() -> None:
    tied = np.array([[0.5, 0.9, 0.5, 0.3, 0.5, 0.9, 0.5]], np.float32)  # the middle is as near to both
    clear = np.array([[0.5, 0.9, 0.5, 0.3, 0.4, 0.9, 0.5]], np.float32)
    heights = np.zeros((3, 7), np.float32)
    heights[0], heights[2] = tied, clear
    labels, (num_labels, num_open, _) = emulated.watershed(heights, 0.6, 0.1, -1.0)
    assert (num_labels, num_open) == (4, 1)
    np.testing.assert_array_equal(labels[0], [-1, ~1, -1, -1, -1, ~2, -1])
    np.testing.assert_array_equal(labels[2], [3, 3, 3, 3, 4, 4, 4])


@pytest.mark.parametrize("prominence", [None, 0.1])
def test_maps_of_touching_cells_over_many_blocks_are_labelled_as_on_the_cpu(prominence: float | None) -> None:
    rng = np.random.default_rng(3)
    ys, xs = np.indices((150, 230))
    centers, labels = rng.integers(0, (150, 230), (70, 2)), np.zeros((150, 230), np.int32)
    for number, (y, x) in enumerate(centers, start=1):
        labels[(ys - y) ** 2 + (xs - x) ** 2 < rng.integers(40, 250)] = number
    exact = distance_map(labels)
    for heights in (exact, exact + rng.normal(0, 0.03, exact.shape).astype(np.float32)):
        thresholds = {"peak": 0.47, "fill": 0.09, "prominence": prominence}
        np.testing.assert_array_equal(on_device(heights, **thresholds)[0], on_cpu(heights, **thresholds))


def test_a_staircase_of_rising_passes_is_joined_step_by_step() -> None:
    """Each summit's highest pass leads to a lower one, but the last's: one join a round, more than the grid starts."""
    steps = 60
    row = np.zeros(2 * steps + 1, np.float32)
    row[0::2] = 1 - np.arange(steps + 1) / 1000  # falling summits
    row[1::2] = 0.2 + np.arange(steps) / 100  # rising passes
    for prominence in (0.0, 0.3, 0.6):
        thresholds = {"peak": 0.5, "fill": 0.1, "prominence": prominence}
        labels, num_open = on_device(row[None], **thresholds)
        assert num_open == 0
        np.testing.assert_array_equal(labels, on_cpu(row[None], **thresholds))


@pytest.mark.parametrize("prominence", [None, 0.2])
def test_a_map_without_cells_has_no_labels(prominence: float | None) -> None:
    for heights in (np.zeros((4, 300), np.float32), np.full((4, 300), 0.3, np.float32)):
        labels, status = emulated.watershed(heights, 0.5, 0.1, -1.0 if prominence is None else prominence)
        assert not labels.any()
        assert status.tolist() == [0, 0, 0]


def test_nan_is_reported() -> None:
    heights = np.full((3, 3), 0.7, np.float32)
    heights[1, 2] = np.nan
    assert emulated.watershed(heights, 0.5, 0.1, -1.0)[1][2] == 1


@pytest.mark.parametrize("prominence", [None, 0.0, 0.1])
def test_heights_without_bounds_are_flooded_as_on_the_cpu(prominence: float | None) -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        heights, thresholds = random_map(rng), random_thresholds(rng, prominence)
        for value in (np.inf, -np.inf):
            heights[rng.random(heights.shape) < 0.03] = value
        labels, _ = on_device(heights, **thresholds)
        np.testing.assert_array_equal(labels, on_cpu(heights, **thresholds))
