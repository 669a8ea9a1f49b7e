import edt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree

from dinocell_kernels import distance_map


def plain_distance_map(labels, *, border_is_background=False, normalize=True):
    """One padded Euclidean transform per label, by scipy."""
    result = np.zeros(labels.shape, np.float32)
    for label in np.unique(labels[labels > 0]):
        cell = labels == label
        around = border_is_background or cell.all()
        distance = ndimage.distance_transform_edt(np.pad(cell, 1) if around else cell)
        distance = (distance[1:-1, 1:-1] if around else distance).astype(np.float32)
        result[cell] = (distance / distance.max() if normalize else distance)[cell]
    return result


def blocky_labels(seed, shape, *, num_labels=6, block=5):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, num_labels, (shape[0] // block + 1, shape[1] // block + 1))
    return np.kron(coarse, np.ones((block, block), int))[: shape[0], : shape[1]].astype(np.int32)


def disk(radius):
    y, x = np.mgrid[-radius - 2 : radius + 3, -radius - 2 : radius + 3]
    return (y * y + x * x <= radius * radius).astype(np.int32)


def test_a_square_rises_from_its_edge_to_one():
    labels = np.pad(np.ones((3, 3), np.int32), 1)
    expected = np.pad(np.array([[1, 1, 1], [1, 2, 1], [1, 1, 1]], np.float32) / 2, 1)
    np.testing.assert_array_equal(distance_map(labels), expected)


def test_touching_cells_stay_apart():
    labels = np.array([[1, 1, 1, 2, 2, 2, 2]], np.int32)
    np.testing.assert_array_equal(distance_map(labels, normalize=False), [[3, 2, 1, 1, 2, 3, 4]])
    joined = ndimage.distance_transform_edt(np.pad(labels > 0, 1))[1:-1, 1:-1]
    assert not np.array_equal(distance_map(labels, normalize=False), joined), "test invalid"


def test_a_one_pixel_cell_is_one():
    labels = np.zeros((3, 3), np.int32)
    labels[1, 1] = 7
    assert distance_map(labels)[1, 1] == 1
    assert distance_map(labels).sum() == 1


def test_fragments_of_one_label_share_one_maximum():
    labels = np.array([[0, 5, 0, 5, 5, 5, 0]] * 3, np.int32)
    labels = np.pad(labels, ((1, 1), (0, 0)))
    result = distance_map(labels)
    assert result[2, 4] == 1
    assert result[2, 1] == 0.5


def test_the_image_border_is_no_edge_unless_asked():
    labels = np.array([[3, 3, 3, 0]], np.int32)
    np.testing.assert_array_equal(distance_map(labels, normalize=False), [[3, 2, 1, 0]])
    np.testing.assert_array_equal(distance_map(labels, normalize=False, border_is_background=True), [[1, 1, 1, 0]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (4, 7), (130, 150)])
def test_a_label_that_fills_the_image_takes_the_border_as_its_edge(shape):
    labels = np.full(shape, 4, np.int32)
    expected = plain_distance_map(labels, border_is_background=True)
    np.testing.assert_array_equal(distance_map(labels), expected)
    assert np.isfinite(distance_map(labels)).all()


def test_background_only_and_empty_images_are_zero():
    assert not distance_map(np.zeros((4, 5), np.int32)).any()
    assert distance_map(np.zeros((0, 5), np.int32)).shape == (0, 5)
    assert distance_map(np.zeros((5, 0), np.uint16)).shape == (5, 0)


@pytest.mark.parametrize("border", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_equals_one_scipy_transform_per_cell(seed, border, normalize):
    labels = blocky_labels(seed, (61, 83), block=3 + 3 * seed)
    np.testing.assert_array_equal(
        distance_map(labels, border_is_background=border, normalize=normalize),
        plain_distance_map(labels, border_is_background=border, normalize=normalize),
    )


@pytest.mark.parametrize("border", [False, True])
def test_equals_the_edt_library_on_many_touching_cells(border):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:300, :300]
    labels = cKDTree(rng.uniform(0, 300, (90, 2))).query(np.stack([y, x], -1))[1].astype(np.int32) + 1
    labels[ndimage.gaussian_filter(rng.normal(size=labels.shape), 9) > 0.02] = 0
    np.testing.assert_array_equal(
        distance_map(labels, border_is_background=border, normalize=False),
        edt.edt(labels, black_border=border),
    )


# The search ends at 254 px; deeper cells take another way.
@pytest.mark.parametrize("radius", [60, 253, 254, 255, 256, 300])
def test_large_cells_are_exact(radius):
    labels = disk(radius)
    squares = distance_map(labels, normalize=False).astype(np.float64) ** 2
    assert squares.max() > (radius - 2) ** 2, "test invalid"
    np.testing.assert_array_equal(distance_map(labels, normalize=False), edt.edt(labels, black_border=False))


def test_images_longer_than_32768_pixels_count_in_64_bits():
    labels = np.ones((3, 70_001), np.int32)
    labels[1, 35_000] = 0
    result = distance_map(labels, normalize=False)
    assert result[1, 0] == 35_000
    assert result[0, 0] == np.float32(np.sqrt(35_000**2 + 1))
    np.testing.assert_array_equal(distance_map(np.ascontiguousarray(labels.T), normalize=False), result.T)


def test_squares_past_float32_integers_are_rounded_once():
    labels = np.ones((1, 9_001), np.int32)
    labels[0, 0] = 0
    labels = np.repeat(labels, 3, axis=0)
    labels[1:, 0] = 1
    result = distance_map(labels, normalize=False)
    columns = np.arange(9_001, dtype=np.float64)
    np.testing.assert_array_equal(result[2], np.sqrt(columns**2 + 4).astype(np.float32))


@pytest.mark.parametrize("base", [70_000, 2**31 + 5, 2**40])
def test_labels_of_any_size_cost_and_mean_the_same(base):
    labels = blocky_labels(3, (40, 50))
    large = np.where(labels > 0, labels.astype(np.int64) + base, 0)
    np.testing.assert_array_equal(distance_map(large), distance_map(labels))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", ">u2", "int16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_type_and_memory_order_do_not_matter(dtype, order):
    labels = blocky_labels(1, (30, 44))
    typed = labels.astype(dtype)
    if order == "F":
        typed = np.asfortranarray(typed)
    if order == "strided":
        typed = np.repeat(np.repeat(typed, 2, axis=0), 3, axis=1)[::2, ::3]
        assert not typed.flags.c_contiguous, "test invalid"
    np.testing.assert_array_equal(distance_map(typed), distance_map(labels))


@pytest.mark.parametrize("border", [False, True])
def test_threads_do_not_change_a_bit(border):
    labels = blocky_labels(7, (700, 650), num_labels=500, block=20)
    alone = distance_map(labels, border_is_background=border, num_threads=1)
    for num_threads in (2, 5):
        shared = distance_map(labels, border_is_background=border, num_threads=num_threads)
        np.testing.assert_array_equal(shared, alone)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_small_image_equals_the_plain_transform(seed, height, width, block, border):
    labels = blocky_labels(seed, (height, width), num_labels=4, block=block)
    np.testing.assert_array_equal(
        distance_map(labels, border_is_background=border),
        plain_distance_map(labels, border_is_background=border),
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_every_cell_reaches_one_and_turning_the_image_turns_the_map(seed, block):
    labels = blocky_labels(seed, (33, 27), block=block)
    result = distance_map(labels)
    for label in np.unique(labels[labels > 0]):
        assert result[labels == label].max() == 1
    assert ((result > 0) == (labels > 0)).all()
    turned = distance_map(np.ascontiguousarray(np.rot90(labels)))
    np.testing.assert_array_equal(turned, np.rot90(result))


def test_negative_labels_are_refused():
    with pytest.raises(ValueError, match=r"must not be negative, got -3; 0 is background"):
        distance_map(np.array([[0, -3]], np.int32))


def test_labels_past_63_bits_are_refused():
    with pytest.raises(ValueError, match=r"labels hold 18446744073709551615.*renumber them first"):
        distance_map(np.array([[0, 2**64 - 1]], np.uint64))


def test_zero_threads_are_refused():
    with pytest.raises(ValueError, match="num_threads must be at least 1, got 0; pass None"):
        distance_map(np.ones((2, 2), np.int32), num_threads=0)
