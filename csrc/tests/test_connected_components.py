import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from dinocell_kernels import connected_components


def drawn(picture):
    return np.array([[pixel == "#" for pixel in row.strip()] for row in picture.strip().splitlines()])


def scipy_components(mask, connectivity):
    return ndimage.label(mask, ndimage.generate_binary_structure(2, connectivity))


def test_corners_join_only_with_eight_neighbours():
    mask = drawn("""
        #..#
        .##.
    """)
    labels, count = connected_components(mask)
    assert count == 3
    np.testing.assert_array_equal(labels, [[1, 0, 0, 2], [0, 3, 3, 0]])
    labels, count = connected_components(mask, connectivity=2)
    assert count == 1
    np.testing.assert_array_equal(labels, mask)


def test_arms_that_meet_below_are_one_component_numbered_by_its_first_pixel():
    mask = drawn("""
        ...#.#
        .#.#.#
        .###..
        #....#
    """)
    labels, count = connected_components(mask)
    expected = [[0, 0, 0, 1, 0, 2], [0, 1, 0, 1, 0, 2], [0, 1, 1, 1, 0, 0], [3, 0, 0, 0, 0, 4]]
    assert count == 4
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("connectivity", [1, 2])
@pytest.mark.parametrize("density", [0.1, 0.4, 0.6, 0.9])
def test_numbering_is_that_of_scipy(connectivity, density):
    mask = np.random.default_rng(int(10 * density)).random((150, 170)) < density
    labels, count = connected_components(mask, connectivity=connectivity)
    expected, expected_count = scipy_components(mask, connectivity)
    assert count == expected_count
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("connectivity", [1, 2])
def test_checkerboards_and_combs_stress_the_union(connectivity):
    checkerboard = np.indices((64, 64)).sum(0) % 2 == 0
    comb = np.ones((64, 64), bool)
    comb[:-1, 1::2] = False
    spiral = np.zeros((65, 65), bool)
    for ring in range(0, 32, 2):
        spiral[ring, ring : 65 - ring] = spiral[64 - ring, ring : 65 - ring] = True
        spiral[ring : 65 - ring, ring] = spiral[ring : 65 - ring, 64 - ring] = True
    for mask in (checkerboard, comb, comb[::-1], spiral):
        labels, _ = connected_components(mask, connectivity=connectivity)
        np.testing.assert_array_equal(labels, scipy_components(mask, connectivity)[0])


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=24)), st.sampled_from([1, 2]))
@settings(max_examples=150, deadline=None)
def test_any_mask_equals_scipy(mask, connectivity):
    labels, count = connected_components(mask, connectivity=connectivity)
    if mask.size == 0:
        assert labels.shape == mask.shape
        assert count == 0
        return
    expected, expected_count = scipy_components(mask, connectivity)
    assert count == expected_count
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int32", ">i4", "int64", "uint64"])
@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_type_and_memory_order_do_not_matter_to_components(dtype, order):
    mask = np.random.default_rng(0).random((30, 41)) < 0.5
    typed = np.where(mask, np.ones((), dtype) * 1, np.zeros((), dtype)).astype(dtype)
    if order == "F":
        typed = np.asfortranarray(typed)
    if order == "strided":
        typed = np.repeat(typed, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(connected_components(typed)[0], connected_components(mask)[0])


def test_every_nonzero_value_is_foreground():
    mask = np.array([[-1, 0, 256, 0, 2]], np.int32)
    np.testing.assert_array_equal(connected_components(mask)[0], [[1, 0, 2, 0, 3]])


def test_one_pixel_images():
    assert connected_components(np.ones((1, 1), bool))[1] == 1
    assert connected_components(np.zeros((1, 1), bool))[1] == 0


def test_a_float_mask_is_refused():
    with pytest.raises(ValueError, match=r"mask must hold booleans or integers, got float32; threshold it"):
        connected_components(np.ones((2, 2), np.float32))


def test_connectivity_four_is_refused():
    with pytest.raises(ValueError, match=r"connectivity must be 1 \(four neighbours\) or 2 .* got 4"):
        connected_components(np.ones((2, 2), bool), connectivity=4)
