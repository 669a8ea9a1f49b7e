import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.morphology import reconstruction

from dinocell_kernels import marker_watershed, prominent_maxima


def plain_prominent_maxima(distance_map, *, peak, fill, prominence):
    """A maximum stands out if it is the highest (then first) pixel of its component of map > its value - prominence."""
    kept = np.zeros(distance_map.shape, bool)
    order = np.lexsort((np.arange(distance_map.size), -distance_map.ravel()))
    rank = np.empty(distance_map.size, int)
    rank[order] = np.arange(distance_map.size)
    rank = rank.reshape(distance_map.shape)
    for index in zip(*np.nonzero(distance_map > peak), strict=True):
        around, _ = ndimage.label(distance_map > max(fill, distance_map[index] - prominence))
        if around[index] and rank[index] == rank[around == around[index]].min():
            kept[index] = True
        elif not around[index]:  # prominence 0: a maximum among its neighbours, plateaus by their first pixel
            level, _ = ndimage.label(distance_map >= distance_map[index])
            kept[index] = rank[index] == rank[level == level[index]].min()
    markers = np.zeros(distance_map.shape, np.int32)
    markers[kept] = np.arange(1, kept.sum() + 1)
    return markers


def row(*values):
    return np.array([values], np.float32)


def test_a_dip_shallower_than_the_prominence_does_not_split_a_cell():
    ridge = row(0, 0.8, 0.75, 0.9, 0)
    markers, count = prominent_maxima(ridge, peak=0.3, fill=0.1, prominence=0.125)
    assert count == 1
    assert markers.tolist() == [[0, 0, 0, 1, 0]]


def test_a_deep_dip_above_every_threshold_splits_two_cells():
    ridge = row(0, 0.8, 0.5, 0.9, 0)
    markers, count = prominent_maxima(ridge, peak=0.3, fill=0.1, prominence=0.125)
    assert count == 2
    assert markers.tolist() == [[0, 1, 0, 2, 0]]


def test_low_cells_and_high_cells_are_found_together():
    cells = row(0.35, 0, 0.9, 0.6, 0.85, 0, 0.2)
    assert prominent_maxima(cells, peak=0.3, fill=0.1, prominence=0.2)[0].tolist() == [[1, 0, 2, 0, 3, 0, 0]]


def test_prominence_is_measured_from_the_lower_maximum_and_reaches_exactly():
    cells = row(1.0, 0.25, 0.5)
    assert prominent_maxima(cells, peak=0.0, fill=0.0, prominence=0.25)[1] == 2
    assert prominent_maxima(cells, peak=0.0, fill=0.0, prominence=0.26)[1] == 1


def test_a_pass_at_or_below_fill_separates_components_that_need_the_peak_alone():
    cells = row(0.5, 0.1, 0.4)
    assert prominent_maxima(cells, peak=0.3, fill=0.1, prominence=5.0)[1] == 2
    assert prominent_maxima(cells, peak=0.45, fill=0.1, prominence=0.0)[1] == 1


def test_of_equal_maxima_the_first_in_raster_order_is_the_higher():
    assert prominent_maxima(row(0.5, 0.4, 0.5), peak=0.1, fill=0.1, prominence=0.3)[0].tolist() == [[1, 0, 0]]


def test_a_plateau_is_one_maximum():
    plateau = np.zeros((4, 5), np.float32)
    plateau[1:3, 1:4] = 0.5
    markers, count = prominent_maxima(plateau, peak=0.2, fill=0.1, prominence=0.0)
    assert (count, int(markers[1, 1])) == (1, 1)


def test_a_plateau_whose_arms_are_seen_before_they_join_is_one_maximum():
    letter_u = np.array([[0.5, 0, 0.5], [0.5, 0.5, 0.5]], np.float32)
    assert prominent_maxima(letter_u, peak=0.2, fill=0.1, prominence=0.0)[0].tolist() == [[1, 0, 0], [0, 0, 0]]


def test_three_regions_that_meet_in_one_pixel_are_compared_one_by_one():
    meeting = np.array([[0, 0.5, 0], [0.9, 0.25, 0.7], [0, 0, 0]], np.float32)
    assert prominent_maxima(meeting, peak=0.1, fill=0.1, prominence=0.25)[1] == 3
    assert prominent_maxima(meeting, peak=0.1, fill=0.1, prominence=0.3)[1] == 2
    assert prominent_maxima(meeting, peak=0.1, fill=0.1, prominence=0.5)[1] == 1


@settings(deadline=None)
@given(
    hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 9)),
    st.integers(0, 6),
    st.integers(0, 9),
    st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_it_equals_the_definition_on_small_images_full_of_ties(levels, prominence, peak, dtype):
    distance_map = (levels / 16).astype(dtype)
    given = {"peak": max(peak, 2) / 16, "fill": 2 / 16, "prominence": prominence / 16}
    markers, count = prominent_maxima(distance_map, **given)
    expected = plain_prominent_maxima(distance_map.astype(np.float64), **given)
    np.testing.assert_array_equal(markers, expected)
    assert count == expected.max()


def test_each_marker_lies_in_one_dome_of_the_h_maxima_transform():
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((96, 96)), 3)
    smooth = ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float64)
    cross = ndimage.generate_binary_structure(2, 1)
    flat = reconstruction(smooth - 0.1, smooth, method="dilation", footprint=cross)
    domes, num_domes = ndimage.label(smooth - flat >= 0.1 - 1e-12)
    markers, count = prominent_maxima(smooth, peak=0.0, fill=0.0, prominence=0.1)
    assert count == num_domes > 5
    assert sorted(domes[markers > 0]) == list(range(1, num_domes + 1))


@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_memory_order_does_not_matter(order):
    values = ndimage.gaussian_filter(np.random.default_rng(1).random((30, 40)), 2).astype(np.float32)
    given = {
        "C": values,
        "F": np.asfortranarray(values),
        "strided": np.repeat(values, 2, axis=1)[:, ::2],
    }[order]
    expected = plain_prominent_maxima(values.astype(np.float64), peak=0.45, fill=0.4, prominence=0.0)
    np.testing.assert_array_equal(prominent_maxima(given, peak=0.45, fill=0.4, prominence=0.0)[0], expected)


def test_an_image_without_pixels_or_with_one_is_no_special_case():
    assert prominent_maxima(np.zeros((0, 3), np.float32), peak=0.5, fill=0.1, prominence=0.1)[1] == 0
    one = np.ones((1, 1), np.float32)
    assert prominent_maxima(one, peak=0.5, fill=0.1, prominence=0.1)[0].tolist() == [[1]]


def test_markers_flood_to_whole_cells():
    ridge = row(0, 0.8, 0.5, 0.9, 0)
    markers, _ = prominent_maxima(ridge, peak=0.3, fill=0.1, prominence=0.125)
    assert marker_watershed(-ridge, markers, mask=ridge > 0.1).tolist() == [[0, 1, 2, 2, 0]]


def test_nan_negative_prominence_and_a_peak_below_fill_are_refused():
    with pytest.raises(ValueError, match="holds NaN"):
        prominent_maxima(row(np.nan, 0.5), peak=0.3, fill=0.1, prominence=0.1)
    with pytest.raises(ValueError, match=r"prominence is -0.1; .* choose 0"):
        prominent_maxima(row(0.5), peak=0.3, fill=0.1, prominence=-0.1)
    with pytest.raises(ValueError, match="prominence is nan"):
        prominent_maxima(row(0.5), peak=0.3, fill=0.1, prominence=float("nan"))
    with pytest.raises(ValueError, match="choose peak >= fill"):
        prominent_maxima(row(0.5), peak=0.1, fill=0.3, prominence=0.1)
