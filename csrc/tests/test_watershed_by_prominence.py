"""`watershed` from the maxima that stand out: the labels of `prominent_maxima` followed by `marker_watershed`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from dinocell_kernels import marker_watershed, prominent_maxima, watershed


def two_steps(distance_map, *, peak, fill, prominence):
    markers, _ = prominent_maxima(distance_map, peak=peak, fill=fill, prominence=prominence)
    return marker_watershed(-distance_map, markers, mask=distance_map > distance_map.dtype.type(fill))


def row(*values):
    return np.array([values], np.float32)


def smooth_map(seed, shape, *, sigma=2.0, levels=None):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), sigma)
    field = (field - field.min()) / np.ptp(field)
    return (field if levels is None else np.round(field * levels) / levels).astype(np.float32)


def test_cells_that_meet_above_the_peak_are_told_apart():
    ridge = row(0, 0.8, 0.6, 0.9, 0)
    assert watershed(ridge, peak=0.5, fill=0.1).tolist() == [[0, 1, 1, 1, 0]]
    assert watershed(ridge, peak=0.5, fill=0.1, prominence=0.1).tolist() == [[0, 1, 2, 2, 0]]


def test_a_maximum_that_does_not_stand_out_belongs_to_the_cell_it_leads_to():
    ridge = row(0.8, 0.7, 0.75, 0.3, 0.9)
    assert watershed(ridge, peak=0.5, fill=0.1, prominence=0.2).tolist() == [[1, 1, 1, 2, 2]]


def test_a_part_of_the_mask_below_the_peak_stays_background():
    assert watershed(row(0.9, 0, 0.4, 0, 0.6), peak=0.5, fill=0.1, prominence=0.0).tolist() == [[1, 0, 0, 0, 2]]


def test_labels_are_numbered_by_their_maxima_and_not_by_their_first_pixels():
    distances = np.array([[0.3, 0.3, 0.4, 0.9], [0.8, 0.5, 0.3, 0.3]], np.float32)
    assert watershed(distances, peak=0.6, fill=0.1, prominence=0.3).tolist() == [[2, 2, 1, 1], [2, 2, 2, 1]]


def test_a_plateau_is_one_cell_whatever_its_shape():
    plateau = np.array([[0.5, 0, 0.5, 0.5], [0.5, 0.5, 0.5, 0]], np.float32)
    assert watershed(plateau, peak=0.2, fill=0.1, prominence=0.0).tolist() == [[1, 0, 1, 1], [1, 1, 1, 0]]


@settings(max_examples=300, deadline=None)
@given(
    distances=hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.sampled_from([0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0]),
    ),
    fill=st.sampled_from([-1.0, 0.0, 0.25]),
    peak=st.sampled_from([0.25, 0.5]),
    prominence=st.sampled_from([0.0, 0.125, 0.25, 0.6]),
    num_threads=st.sampled_from([1, 2]),
)
def test_any_small_map_gets_the_labels_of_the_two_steps(distances, fill, peak, prominence, num_threads):
    settings_ = {"peak": peak, "fill": fill, "prominence": prominence}
    np.testing.assert_array_equal(
        watershed(distances, **settings_, num_threads=num_threads), two_steps(distances, **settings_)
    )


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("levels", [None, 12])
def test_images_of_many_strips_and_bands_get_the_labels_of_the_two_steps(levels, num_threads):
    distances = smooth_map(0, (700, 600), levels=levels)
    settings_ = {"peak": 0.5, "fill": 0.3, "prominence": 0.05}
    labels = watershed(distances, **settings_, num_threads=num_threads)
    assert labels.max() > 100
    np.testing.assert_array_equal(labels, two_steps(distances, **settings_))


def test_half_precision_is_widened_and_double_precision_is_not_narrowed():
    half = smooth_map(1, (40, 50)).astype(np.float16)
    settings_ = {"peak": 0.5, "fill": 0.3, "prominence": 0.1}
    np.testing.assert_array_equal(watershed(half, **settings_), watershed(half.astype(np.float32), **settings_))
    close = np.array([[0.9, 0.9 - 1e-12, 0.9]])
    assert watershed(close, peak=0.5, fill=0.1, prominence=1e-13).max() == 2


def test_an_image_too_large_for_numbers_of_32_bits_takes_the_two_steps(monkeypatch):
    distances = smooth_map(2, (60, 70))
    settings_ = {"peak": 0.5, "fill": 0.3, "prominence": 0.1}
    expected = watershed(distances, **settings_)
    monkeypatch.setitem(watershed.__globals__, "_MOST_PIXELS", 100)
    np.testing.assert_array_equal(watershed(distances, **settings_), expected)
    assert expected.max() > 3


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 0)])
def test_images_without_pixels_give_labels_without_pixels(shape):
    assert watershed(np.zeros(shape, np.float32), peak=0.5, fill=0.1, prominence=0.1).shape == shape


@pytest.mark.parametrize("prominence", [-0.1, float("nan"), float("inf")])
def test_a_prominence_that_is_no_height_is_refused(prominence):
    with pytest.raises(ValueError, match=r"prominence is .*choose 0 \(every maximum\) or more"):
        watershed(row(0.5), peak=0.4, fill=0.1, prominence=prominence)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        watershed(row(0.5, np.nan), peak=0.4, fill=0.1, prominence=0.1)
