"""Shapes other than round cells: the truth is in one piece each, of the size asked for, apart or touching as asked."""

import numpy as np
import pytest
from scipy import ndimage

from dinocell_io import simulate_field
from dinocell_io.simulate.simulate_field import CELL_SHAPES

PLACED = [name for name in CELL_SHAPES if name != "tissue"]


def labels_of(cell_shape: str, **settings: object) -> np.ndarray:
    given = {"num_cells": 20, "diameter_px": 24, "channels": ("DNA",), "seed": 2} | settings
    return simulate_field((256, 256), cell_shape=cell_shape, **given).labels


def touching_pairs(labels: np.ndarray) -> set[tuple[int, int]]:
    pairs = set()
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        meets = (a != b) & (a > 0) & (b > 0)
        pairs |= {(min(pair), max(pair)) for pair in zip(a[meets].tolist(), b[meets].tolist(), strict=True)}
    return pairs


@pytest.mark.parametrize("cell_shape", CELL_SHAPES)
def test_cells_and_nuclei_are_one_piece_each_numbered_without_gaps(cell_shape: str) -> None:
    field = simulate_field((256, 256), cell_shape=cell_shape, num_cells=20, diameter_px=24, touching=0.8, seed=2)
    assert np.unique(field.labels).tolist() == list(range(21))
    nuclei = np.unique(field.nuclei_labels[field.nuclei_labels > 0])
    assert len(nuclei) >= 18  # a cell that another one covers may lose its nucleus
    for labels, numbers in ((field.labels, range(1, 21)), (field.nuclei_labels, nuclei)):
        for number in numbers:
            assert ndimage.label(labels == number)[1] == 1
    inside = field.nuclei_labels > 0
    np.testing.assert_array_equal(field.nuclei_labels[inside], field.labels[inside])


@pytest.mark.parametrize("cell_shape", PLACED)
def test_cells_touch_only_where_they_may(cell_shape: str) -> None:
    assert not touching_pairs(labels_of(cell_shape, touching=0.0, num_cells=12))
    assert len(touching_pairs(labels_of(cell_shape, touching=1.0))) >= 10


@pytest.mark.parametrize("cell_shape", CELL_SHAPES)
def test_the_diameter_is_of_the_circle_of_equal_area(cell_shape: str) -> None:
    diameters = []
    for seed in range(4):
        labels = labels_of(cell_shape, touching=0.0, num_cells=14, seed=seed)
        border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        whole = np.setdiff1d(np.arange(1, labels.max() + 1), border)
        diameters += (2 * np.sqrt(np.bincount(labels.ravel())[whole] / np.pi)).tolist()
    # every third yeast cell is a bud
    typical = np.quantile(diameters, 0.65 if cell_shape == "yeast" else 0.5)
    assert typical == pytest.approx(24, rel=0.15)


def test_rods_are_long_and_blood_cells_round() -> None:
    def elongation(labels: np.ndarray) -> float:
        ratios = []
        for number in range(1, labels.max() + 1):
            values = np.linalg.eigvalsh(np.cov(np.argwhere(labels == number).T.astype(float)))
            ratios.append(np.sqrt(values[1] / values[0]))
        return float(np.median(ratios))

    assert elongation(labels_of("rods", touching=0.0, num_cells=12)) > 2
    assert elongation(labels_of("spread", touching=0.0, num_cells=12)) > 1.3
    assert elongation(labels_of("blood", touching=0.0, num_cells=12)) < 1.2


def test_buds_are_smaller_than_their_mothers() -> None:
    areas = np.bincount(labels_of("yeast", num_cells=60, diameter_px=18).ravel())[1:]
    small = np.mean(areas < 0.5 * np.median(areas[areas > np.median(areas)]))
    assert 0.15 < small < 0.55


def test_tissue_has_no_gaps_inside() -> None:
    labels = labels_of("tissue", num_cells=90)
    patch = ndimage.binary_fill_holes(ndimage.binary_closing(labels > 0, iterations=6))
    middle = ndimage.binary_erosion(patch, iterations=12)
    assert middle.sum() > 5000
    assert (labels[middle] > 0).mean() > 0.97


def test_cells_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"40 cells of about 30 px do not fit into 64 x 64 pixels \(\d+ did\)"):
        simulate_field((64, 64), cell_shape="rods", num_cells=40, diameter_px=30)
    with pytest.raises(ValueError, match=r"hold \d+ tissue cells of 60 px, not 80"):
        simulate_field((128, 128), cell_shape="tissue", num_cells=80, diameter_px=60)
    with pytest.raises(ValueError, match="cell_shape is 'star'; choose one of round, rods"):
        simulate_field(cell_shape="star")


def test_the_seed_decides_every_bit() -> None:
    for cell_shape in CELL_SHAPES:
        first, again, other = (labels_of(cell_shape, seed=seed) for seed in (5, 5, 6))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
