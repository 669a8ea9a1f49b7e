import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import watershed as skimage_watershed

from dinocell_kernels import connected_components, distance_map, marker_watershed, watershed

NEIGHBOURS = {1: [(-1, 0), (0, -1), (0, 1), (1, 0)]}
NEIGHBOURS[2] = NEIGHBOURS[1] + [(-1, -1), (-1, 1), (1, -1), (1, 1)]


def canonical_watershed(image, markers, mask=None, connectivity=1):
    """Flooding by (value, age) with Python's heap; markers have age 0 and stand in raster order."""
    height, width = image.shape
    inside = np.ones(image.shape, bool) if mask is None else mask.astype(bool)
    labels = np.where(inside, markers, 0)
    heap = [(image[y, x], 0, y * width + x) for y, x in np.argwhere(labels != 0)]
    heapq.heapify(heap)
    age = 0
    while heap:
        value, _, pixel = heapq.heappop(heap)
        y, x = divmod(pixel, width)
        for dy, dx in NEIGHBOURS[connectivity]:
            ny, nx = y + dy, x + dx
            if 0 <= ny < height and 0 <= nx < width and inside[ny, nx] and labels[ny, nx] == 0:
                age += 1
                labels[ny, nx] = labels[y, x]
                heapq.heappush(heap, (max(image[ny, nx], value), age, ny * width + nx))
    return labels


def plain_watershed(distances, peak, fill):
    markers = ndimage.label(distances > peak)[0]
    return canonical_watershed(-distances, markers, distances > fill)


def smooth_map(seed, shape, *, sigma=2.0, levels=None):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), sigma)
    field = (field - field.min()) / max(np.ptp(field), 1e-9)
    return (np.round(field * levels) / levels if levels else field).astype(np.float32)


def random_markers(seed, shape, density=0.03):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < density, rng.integers(-4, 9, shape), 0).astype(np.int32)


def test_touching_cells_with_two_peaks_become_two_labels():
    distances = np.array([[0, 2, 5, 3, 2, 4, 6, 1, 0]], np.float32) / 10
    np.testing.assert_array_equal(watershed(distances, peak=0.35, fill=0.05), [[0, 1, 1, 1, 2, 2, 2, 2, 0]])
    np.testing.assert_array_equal(watershed(distances, peak=0.15, fill=0.05), [[0, 1, 1, 1, 1, 1, 1, 1, 0]])


def test_a_part_of_the_mask_without_a_marker_stays_background():
    distances = np.array([[0.3, 0.3, 0, 0.6, 0.3]], np.float32)
    np.testing.assert_array_equal(watershed(distances), [[0, 0, 0, 1, 1]])


def test_both_thresholds_are_strict():
    distances = np.array([[0.5, 0.25, 0.25, 0.75]], np.float32)
    np.testing.assert_array_equal(watershed(distances, peak=0.5, fill=0.25), [[0, 0, 0, 1]])


def test_thresholds_are_rounded_to_the_type_of_the_map():
    single = np.array([[0.47]], np.float32)
    assert float(single[0, 0]) < 0.47, "test invalid"
    assert not (single > np.float32(0.47)).any()
    assert watershed(single).max() == 0
    assert watershed(single.astype(np.float64), peak=0.4699, fill=0.0).max() == 1


def test_markers_and_mask_touch_at_corners_only_never_join():
    distances = np.array([[0.9, 0], [0, 0.9]], np.float32)
    np.testing.assert_array_equal(watershed(distances), [[1, 0], [0, 2]])


def test_labels_are_numbered_by_their_markers_in_raster_order():
    distances = np.full((3, 5), 0.2, np.float32)
    distances[2, 0] = distances[0, 4] = 0.9
    labels = watershed(distances)
    assert labels[0, 4] == 1
    assert labels[2, 0] == 2


def test_a_plateau_is_shared_by_age():
    distances = np.array([[0.9, 0.3, 0.3, 0.3, 0.3, 0.3, 0.9]], np.float32)
    np.testing.assert_array_equal(watershed(distances), [[1, 1, 1, 1, 2, 2, 2]])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("thresholds", [(0.47, 0.09), (0.6, 0.4), (0.5, 0.5), (0.7, -1.0)])
def test_random_maps_equal_scikit_image(seed, thresholds):
    peak, fill = thresholds
    distances = smooth_map(seed, (90, 110))
    markers = ndimage.label(distances > peak)[0]
    expected = skimage_watershed(-distances, markers, mask=distances > fill)
    np.testing.assert_array_equal(watershed(distances, peak=peak, fill=fill), expected)


@pytest.mark.parametrize("levels", [3, 8, 40])
@pytest.mark.parametrize("seed", range(3))
def test_maps_full_of_ties_follow_the_canonical_order(seed, levels):
    distances = smooth_map(seed, (45, 50), levels=levels)
    np.testing.assert_array_equal(watershed(distances), plain_watershed(distances, 0.47, 0.09))


def test_distance_maps_of_touching_cells_follow_the_canonical_order():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 80, (25, 2))
    y, x = np.mgrid[:80, :80]
    nearest = ((y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2).argmin(-1)
    distances = ndimage.gaussian_filter(distance_map(nearest + 1), 1.0)
    result = watershed(distances)
    assert result.max() > 10, "test invalid"
    np.testing.assert_array_equal(result, plain_watershed(distances, 0.47, 0.09))


@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(1, 24), st.sampled_from([None, 4, 20, 1000]))
@settings(max_examples=80, deadline=None)
def test_any_small_map_follows_the_canonical_order(seed, height, width, levels):
    distances = smooth_map(seed, (height, width), sigma=1.0, levels=levels)
    np.testing.assert_array_equal(watershed(distances), plain_watershed(distances, 0.47, 0.09))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([1, 2]),
    st.sampled_from([2, 30, None]),
    st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_any_markers_follow_the_canonical_order(seed, height, width, connectivity, levels, masked):
    image = smooth_map(seed, (height, width), sigma=0.7, levels=levels)
    markers = random_markers(seed, (height, width), density=0.1)
    mask = np.random.default_rng(seed).random((height, width)) < 0.7 if masked else None
    np.testing.assert_array_equal(
        marker_watershed(image, markers, mask=mask, connectivity=connectivity),
        canonical_watershed(image, markers, mask, connectivity),
    )


@pytest.mark.parametrize("connectivity", [1, 2])
@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4", "float64"])
def test_marker_watershed_equals_scikit_image(connectivity, dtype):
    shape = (70, 60)
    # A permutation: all values differ, also in float16 where it matters.
    image = np.random.default_rng(2).permutation(shape[0] * shape[1]).reshape(shape)
    image = (image / 2048 if dtype == "float16" else image / 4200).astype(dtype)
    markers = random_markers(5, shape)
    mask = smooth_map(6, shape, sigma=1.0) > 0.3
    if dtype == "float16":
        # Equal-valued markers are the one case scikit-image leaves open.
        first = np.unique(image[markers != 0], return_index=True)[1]
        kept = np.zeros(markers.size, np.int32)
        positions = np.flatnonzero(markers.ravel())[first]
        kept[positions] = markers.ravel()[positions]
        markers = kept.reshape(shape)
    expected = skimage_watershed(image.astype(np.float64), markers, mask=mask, connectivity=connectivity)
    result = marker_watershed(image, markers, mask=mask, connectivity=connectivity)
    assert (result < 0).any(), "test invalid"
    np.testing.assert_array_equal(result, expected)


def test_pits_fill_to_the_level_they_were_reached_from():
    # Without the clamp of scikit-image 0.25.2 the pit's bottom would overtake the second marker.
    image = np.array([[0, 5, 1, 1, 1, 6, 4]], np.float32)
    markers = np.array([[1, 0, 0, 0, 0, 0, 2]], np.int32)
    np.testing.assert_array_equal(marker_watershed(image, markers), skimage_watershed(image.astype(float), markers))
    np.testing.assert_array_equal(marker_watershed(image, markers), canonical_watershed(image, markers))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float64"])
def test_every_type_floods_by_its_exact_values(dtype):
    top = 2**53 if np.dtype(dtype).itemsize == 8 else 100
    image = np.array([[0, 1, 3, 2, 0]]) + top
    markers = np.array([[1, 0, 0, 0, 2]], np.int32)
    typed = image.astype(dtype)
    assert len(np.unique(typed)) >= 3, "test invalid"
    np.testing.assert_array_equal(marker_watershed(typed, markers), canonical_watershed(typed, markers))


def test_unsigned_64_bit_values_above_the_signed_range_keep_their_order():
    image = np.array([[2, 2**63 + 1, 2**63 + 2, 3, 1]], np.uint64)
    markers = np.array([[1, 0, 0, 0, 2]], np.int32)
    np.testing.assert_array_equal(marker_watershed(image, markers), [[1, 1, 2, 2, 2]])


def test_minus_zero_equals_zero():
    image = np.array([[0.0, -0.0, 0.0, -0.0, 0.0, 0.0, -0.0]], np.float32)
    markers = np.array([[1, 0, 0, 0, 0, 0, 2]], np.int32)
    np.testing.assert_array_equal(marker_watershed(image, markers), marker_watershed(np.zeros_like(image), markers))


def test_infinite_values_flood_last():
    image = np.array([[0, np.inf, 1, -np.inf]], np.float32)
    markers = np.array([[1, 0, 0, 2]], np.int32)
    np.testing.assert_array_equal(marker_watershed(image, markers), [[1, 1, 2, 2]])


def test_markers_outside_the_mask_vanish_and_unreached_pixels_stay_zero():
    image = np.zeros((1, 5), np.float32)
    markers = np.array([[1, 0, 2, 0, 0]], np.int32)
    mask = np.array([[1, 1, 0, 1, 1]], np.uint8)
    np.testing.assert_array_equal(marker_watershed(image, markers, mask=mask), [[1, 1, 0, 0, 0]])


def test_the_markers_given_are_not_changed():
    markers = np.array([[1, 0, 0]], np.int32)
    marker_watershed(np.zeros((1, 3), np.float32), markers)
    np.testing.assert_array_equal(markers, [[1, 0, 0]])


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4", "float64"])
@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_type_and_memory_order_do_not_matter_to_the_watershed(dtype, order):
    # Sixteenths are exact in every type.
    distances = smooth_map(4, (40, 52), levels=16)
    typed = distances.astype(dtype)
    if order == "F":
        typed = np.asfortranarray(typed)
    if order == "strided":
        typed = np.repeat(typed, 3, axis=0)[::3]
    expected = watershed(distances, peak=0.5, fill=0.125)
    np.testing.assert_array_equal(watershed(typed, peak=0.5, fill=0.125), expected)


def test_double_precision_maps_are_not_narrowed():
    ridge = 0.3 + np.array([1e-12, 0.0, 2e-12])
    distances = np.array([[0.9, ridge[0], ridge[1], ridge[2], 0.9]])
    assert len(np.unique(distances.astype(np.float32))) == 2, "test invalid"
    np.testing.assert_array_equal(watershed(distances), plain_watershed(distances, 0.47, 0.09))
    np.testing.assert_array_equal(watershed(distances), [[1, 1, 2, 2, 2]])


@pytest.mark.parametrize("fill", [0.09, 0.5])
def test_threads_do_not_change_a_label(fill):
    distances = smooth_map(9, (600, 500), sigma=4.0)
    alone = watershed(distances, peak=0.55, fill=fill, num_threads=1)
    assert alone.max() > 20, "test invalid"
    for num_threads in (2, 5, None):
        shared = watershed(distances, peak=0.55, fill=fill, num_threads=num_threads)
        np.testing.assert_array_equal(shared, alone)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_images_too_large_for_the_cache_are_flooded_strip_by_strip_to_the_same_labels(num_threads):
    distances = smooth_map(13, (70, 9000), sigma=5.0)  # strips of 14 rows, and basins that reach over several
    markers = connected_components(distances > 0.7)[0]
    expected = marker_watershed(-distances, markers, mask=distances > 0.2)
    np.testing.assert_array_equal(watershed(distances, peak=0.7, fill=0.2, num_threads=num_threads), expected)


@pytest.mark.parametrize("connectivity", [1, 2])
@pytest.mark.parametrize("levels", [5, None])
def test_threads_do_not_change_a_label_of_given_markers(connectivity, levels):
    image = smooth_map(12, (150, 130), sigma=0.8, levels=levels)
    markers = random_markers(12, image.shape, density=0.2)
    mask = np.random.default_rng(12).random(image.shape) < 0.55
    assert connected_components(mask, connectivity=connectivity)[1] > 20, "test invalid"
    alone = marker_watershed(image, markers, mask=mask, connectivity=connectivity, num_threads=1)
    for num_threads in (2, 3, 16):
        shared = marker_watershed(image, markers, mask=mask, connectivity=connectivity, num_threads=num_threads)
        np.testing.assert_array_equal(shared, alone)


def test_every_label_is_one_connected_piece_that_holds_its_marker():
    distances = smooth_map(11, (120, 120), sigma=3.0)
    labels = watershed(distances, peak=0.6, fill=0.2)
    markers, count = connected_components(distances > 0.6)
    assert count == labels.max()
    np.testing.assert_array_equal(labels[markers > 0], markers[markers > 0])
    for label in range(1, count + 1):
        assert connected_components(labels == label)[1] == 1


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_images_without_pixels_give_labels_without_pixels(shape):
    empty = np.zeros(shape, np.float32)
    assert watershed(empty).shape == shape
    assert marker_watershed(empty, empty.astype(np.int32)).shape == shape


def test_one_pixel_maps():
    assert watershed(np.array([[0.9]], np.float32))[0, 0] == 1
    assert watershed(np.array([[0.1]], np.float32))[0, 0] == 0


def test_nan_is_refused_wherever_it_lies():
    for position in (0, 7, 12):
        distances = np.zeros((3, 5), np.float32)
        distances.ravel()[position] = np.nan
        with pytest.raises(ValueError, match="the distance map holds NaN"):
            watershed(distances)
        with pytest.raises(ValueError, match="image holds NaN, which has no place in the order of flooding"):
            marker_watershed(distances, np.ones((3, 5), np.int32))


@pytest.mark.parametrize("thresholds", [(0.1, 0.4), (np.nan, 0.1), (0.4, np.nan)])
def test_a_peak_below_the_fill_is_refused(thresholds):
    peak, fill = thresholds
    with pytest.raises(ValueError, match="markers must lie inside the mask: choose peak >= fill"):
        watershed(np.zeros((2, 2), np.float32), peak=peak, fill=fill)


def test_markers_beyond_int32_are_refused():
    with pytest.raises(ValueError, match="markers reach from 0 to 2147483648, but labels are int32; renumber"):
        marker_watershed(np.zeros((1, 2), np.float32), np.array([[0, 2**31]], np.int64))
