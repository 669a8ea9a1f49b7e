import numpy as np
import pytest
from scipy import ndimage

from dinocell_seg.enclosed import with_enclosed_filled
from dinocell_seg.watershed import labels_from_distance_map


def drawn(text: str) -> np.ndarray:
    rows = [line.strip() for line in text.split()]
    return np.array([[0 if letter == "." else int(letter) for letter in row] for row in rows], np.int32)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param("..... .111. .1.1. .111. .....", "..... .111. .111. .111. .....", id="a hole inside one cell"),
        pytest.param(
            "11111. 1...1. 1.2.1. 1...1. 11111. ....33",
            "11111. 11111. 11111. 11111. 11111. ....22",
            id="a vacuole that was taken for a cell",
        ),
        pytest.param(
            "11111 11211 11111 11111 .....", "11111 11111 11111 11111 .....", id="a nucleolus that touches its cell"
        ),
        pytest.param("1122 1..2 1122 ....", "1122 1..2 1122 ....", id="a gap between two cells"),
        pytest.param(".11. 1..1 1..1 1..1", ".11. 1..1 1..1 1..1", id="a bay open to the border"),
        pytest.param(
            "....... .11111. .1...1. .1.22.. .1...1. .11111. .......",
            "....... .11111. .1...1. .1.22.. .1...1. .11111. .......",
            id="a ring with an opening",
        ),
        pytest.param(
            "111111 1....1 1.22.1 1.22.1 1....1 111111",
            "111111 111111 111111 111111 111111 111111",
            id="at a border",
        ),
        pytest.param(
            ".1111111. .1.....1. .1.222.1. .1.2.2.1. .1.222.1. .1.....1. .1111111.",
            ".1111111. .1111111. .1111111. .1111111. .1111111. .1111111. .1111111.",
            id="a ring within a ring",
        ),
        pytest.param("... ... ...", "... ... ...", id="nothing"),
    ],
)
def test_what_one_cell_encloses_belongs_to_it(labels: str, expected: str) -> None:
    before = drawn(labels)
    given = before.copy()
    np.testing.assert_array_equal(with_enclosed_filled(given), drawn(expected))
    np.testing.assert_array_equal(given, before)


def test_a_larger_cell_is_not_swallowed_by_a_thin_ring() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[2:38, 2:38] = 1
    labels[3:37, 3:37] = 0
    labels[6:34, 6:34] = 2
    np.testing.assert_array_equal(with_enclosed_filled(labels), labels)


@pytest.mark.parametrize("seed", range(20))
def test_holes_of_random_cells_are_filled_as_scipy_fills_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((300, 310)), 2)  # more rows than one block
    labels = ndimage.label(smooth > np.quantile(smooth, 0.6))[0].astype(np.int32)
    filled = with_enclosed_filled(labels)
    assert filled.max() <= labels.max()
    for label in range(1, int(filled.max()) + 1):
        mask = filled == label
        holes = ndimage.binary_fill_holes(mask) & ~mask
        # what is left is more than this cell: cells that are larger than it, with what lies between
        assert not holes.any() or (filled[holes] > 0).any()
    for label in range(1, int(labels.max()) + 1):
        assert len(np.unique(filled[labels == label])) == 1


def test_holes_stay_where_that_is_asked_for() -> None:
    distance_map = np.zeros((9, 9), np.float32)
    distance_map[1:8, 1:8] = 0.8
    distance_map[4, 4] = 0
    kept = labels_from_distance_map(distance_map, peak=0.5, fill=0.1, fill_holes=False)
    assert kept[4, 4] == 0
    assert labels_from_distance_map(distance_map, peak=0.5, fill=0.1)[4, 4] == 1
