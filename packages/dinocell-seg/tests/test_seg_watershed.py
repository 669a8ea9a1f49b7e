import numpy as np
import pytest

from dinocell_seg.settings import Thresholds
from dinocell_seg.watershed import confidence, inner_boundaries, labels_from_distance_map, median_diameter


def drawn(picture: str, scale: float = 10) -> np.ndarray:
    """A distance map from rows of digits, in tenths; '.' is 0."""
    rows = [[0 if mark == "." else int(mark) for mark in row.strip()] for row in picture.split()]
    return (np.array(rows) / scale).astype(np.float32)


def test_touching_cells_with_two_peaks_become_two_labels() -> None:
    distance_map = drawn("""
        .........
        .27423720
        .........
    """)
    labels = labels_from_distance_map(distance_map, peak=0.47, fill=0.09)
    assert labels.max() == 2
    assert labels[1, 2] != labels[1, 6]


def test_cells_below_the_smallest_size_are_dropped_and_the_rest_renumbered() -> None:
    distance_map = drawn("""
        .9....
        ......
        .999..
        .999..
    """)
    assert labels_from_distance_map(distance_map, peak=0.5, fill=0.1).max() == 2
    labels = labels_from_distance_map(distance_map, peak=0.5, fill=0.1, min_size=2)
    assert labels.max() == 1
    assert labels[2, 1] == 1
    assert labels[0, 1] == 0


def test_nothing_above_the_peak_gives_no_cells() -> None:
    labels = labels_from_distance_map(np.full((4, 4), 0.4, np.float32), peak=0.47, fill=0.09)
    assert labels.shape == (4, 4)
    assert labels.max() == 0
    assert confidence(np.full((4, 4), 0.4, np.float32), labels).shape == (0,)


def test_confidence_is_the_top_tenth_minus_the_edge() -> None:
    distance_map = drawn("""
        .....
        .222.
        .282.
        .222.
        .....
    """)
    labels = (distance_map > 0).astype(np.int32)
    assert confidence(distance_map, labels) == pytest.approx([0.8 - 0.2], abs=1e-4)


def test_the_top_tenth_of_twenty_pixels_is_two() -> None:
    distance_map = np.zeros((3, 24), np.float32)
    distance_map[1, 2:22] = np.linspace(0.05, 1, 20)
    labels = np.zeros((3, 24), np.int32)
    labels[1, 2:22] = 1
    edge = distance_map[1, 2:22].mean()
    assert confidence(distance_map, labels) == pytest.approx([(1 + 0.95) / 2 - edge], abs=1e-4)


def test_a_cell_cut_along_a_shallow_valley_is_less_sure_than_a_clear_one() -> None:
    clear = drawn("""
        ..............
        .25852..25852.
        .25952..25952.
        .25852..25852.
        ..............
    """)
    shallow = clear.copy()
    shallow[1:4, 4:10] = 0.7
    labels = np.zeros(clear.shape, np.int32)
    labels[1:4, 1:7], labels[1:4, 7:13] = 1, 2
    assert (confidence(shallow, labels) < confidence(clear, labels) - 0.1).all()


def test_confidence_follows_the_numbers_of_the_labels() -> None:
    distance_map = drawn("""
        .......
        .4...9.
        .......
    """)
    labels = np.zeros((3, 7), np.int32)
    labels[1, 5], labels[1, 1] = 1, 3
    distance_map[1, 5] = 1.0
    values = confidence(distance_map, labels)
    assert values.tolist() == [0, 0, 0]  # one-pixel cells are all edge
    wide = np.kron(labels, np.ones((5, 5), np.int32))
    values = confidence(np.kron(distance_map, cone()).astype(np.float32), wide)
    assert values[0] > values[2] > 0
    assert values[1] == 0


def cone() -> np.ndarray:
    y, x = np.mgrid[-2:3, -2:3]
    return 1 - np.maximum(abs(y), abs(x)) / 3


def test_a_cell_that_fills_the_image_has_no_edge() -> None:
    distance_map = np.full((6, 6), 0.9, np.float32)
    assert confidence(distance_map, np.ones((6, 6), np.int32)) == pytest.approx([0.9], abs=1e-4)


def test_inner_boundaries_lie_inside_cells_and_not_at_the_frame() -> None:
    labels = np.array([[1, 1, 1, 2], [1, 1, 1, 2], [1, 1, 1, 0]])
    expected = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0]], bool)
    assert (inner_boundaries(labels) == expected).all()


def test_prominence_splits_cells_that_touch_above_the_peak_and_keeps_low_cells():
    ridge = np.array([[0, 0.9, 0.6, 0.9, 0, 0, 0.35, 0]], np.float32)
    plain = labels_from_distance_map(ridge, peak=0.5, fill=0.1)
    assert plain.tolist() == [[0, 1, 1, 1, 0, 0, 0, 0]]
    prominent = labels_from_distance_map(ridge, peak=0.3, fill=0.1, prominence=0.2)
    assert prominent.tolist() == [[0, 1, 1, 2, 0, 0, 3, 0]]


def test_prominence_keeps_a_cell_with_two_humps_whole():
    humps = np.array([[0, 0.6, 0.45, 0.7, 0]], np.float32)
    assert labels_from_distance_map(humps, peak=0.5, fill=0.1).max() == 2
    assert labels_from_distance_map(humps, peak=0.3, fill=0.1, prominence=0.2).max() == 1


def pairs_of_discs(radius: int, *, depth: float) -> np.ndarray:
    """Four pairs of touching discs, each pair with a valley of that depth between its tops."""
    y, x = np.indices((4 * radius, 4 * radius + 2))
    distance = np.minimum(np.hypot(y - 2 * radius, x - radius), np.hypot(y - 2 * radius, x - 3 * radius))
    pair = np.where(distance <= radius, 1 - depth * distance / radius, 0).astype(np.float32)
    return np.pad(np.tile(pair, (2, 2)), 2)


def test_in_images_of_small_cells_the_prominence_is_lowered():
    thresholds = {"peak": 0.3, "fill": 0.05, "prominence": 0.3, "full_prominence_px": 25.0}
    for radius, num_cells in ((4, 8), (20, 4)):
        distance_map = pairs_of_discs(radius, depth=0.25)
        assert labels_from_distance_map(distance_map, **{**thresholds, "full_prominence_px": 0.0}).max() == 4
        labels = labels_from_distance_map(distance_map, **thresholds)
        assert labels.max() == num_cells
    small = pairs_of_discs(4, depth=0.25)
    lowered = 0.3 * median_diameter(labels_from_distance_map(small, peak=0.3, fill=0.05, prominence=0.3)) / 25
    labels = labels_from_distance_map(small, **thresholds)
    np.testing.assert_array_equal(labels, labels_from_distance_map(small, peak=0.3, fill=0.05, prominence=lowered))


def test_a_map_without_cells_has_none_at_any_prominence():
    empty = np.zeros((6, 6), np.float32)
    assert labels_from_distance_map(empty, peak=0.3, fill=0.1, prominence=0.2, full_prominence_px=25.0).max() == 0


def test_sizes_of_thresholds_follow_the_scale_of_the_map():
    thresholds = Thresholds(peak=0.4, fill=0.1, prominence=0.2, full_prominence_px=24, min_size=5)
    of_map = {"peak": 0.4, "fill": 0.1, "prominence": 0.2, "full_prominence_px": 48, "min_size": 5, "fill_holes": True}
    assert thresholds.for_map(scale=0.5) == of_map
    calibrated = thresholds.model_copy(update={"min_size_of": "network"})
    assert calibrated.for_map(scale=0.5) == {**of_map, "min_size": 20}


def test_median_diameter_leaves_out_background_and_missing_labels():
    labels = np.zeros((700, 9), np.int32)
    labels[0:2, 0:2] = 1
    labels[500:504, 0:4] = 4  # beyond the rows that are counted at once
    labels[600, 0] = 5
    assert median_diameter(labels) == pytest.approx(2 * np.sqrt(4 / np.pi))
    assert median_diameter(np.zeros((0, 5), np.int32)) == 0
