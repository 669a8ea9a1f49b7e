import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.morphology import remove_small_objects
from skimage.segmentation import relabel_sequential

from dinocell_kernels import relabel, remove_small


def plain_relabel(labels):
    numbers = {0: 0}
    flat = [numbers.setdefault(int(label), len(numbers)) for label in labels.ravel()]
    return np.array(flat, np.int32).reshape(labels.shape), len(numbers) - 1


def plain_remove_small(labels, min_size):
    values, sizes = np.unique(labels, return_counts=True)
    kept = [value for value, size in zip(values, sizes, strict=True) if value != 0 and size >= min_size]
    result = np.zeros(labels.shape, np.int32)
    for number, value in enumerate(kept, start=1):
        result[labels == value] = number
    return result, len(kept)


def test_labels_are_numbered_by_first_appearance():
    labels, count = relabel(np.array([[0, 9, 9], [4, 9, 0], [4, 7, 2]], np.int32))
    assert count == 4
    np.testing.assert_array_equal(labels, [[0, 1, 1], [2, 1, 0], [2, 3, 4]])


def test_small_cells_are_dropped_and_the_others_keep_their_order():
    labels, count = remove_small(np.array([[0, 9, 9], [4, 9, 0], [4, 7, 2]], np.int32), min_size=2)
    assert count == 2
    np.testing.assert_array_equal(labels, [[0, 2, 2], [1, 2, 0], [1, 0, 0]])


def test_fragments_of_a_label_count_together():
    labels = np.array([[3, 0, 3, 0, 5]], np.int32)
    np.testing.assert_array_equal(remove_small(labels, min_size=2)[0], [[1, 0, 1, 0, 0]])


@pytest.mark.parametrize("min_size", [0, 1])
def test_sizes_up_to_one_drop_nothing(min_size):
    labels = np.array([[3, 0, 8]], np.int32)
    np.testing.assert_array_equal(remove_small(labels, min_size=min_size)[0], [[1, 0, 2]])


def test_remove_small_equals_scikit_image():
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 300, (40, 40)), np.ones((3, 2), int)).astype(np.int32)
    kept = remove_small_objects(labels, max_size=29)
    expected, _, _ = relabel_sequential(kept)
    assert 0 < len(np.unique(kept)) < 300, "test invalid"
    np.testing.assert_array_equal(remove_small(labels, min_size=30)[0], expected)


@pytest.mark.parametrize("num_threads", [2, 3, 8])
@pytest.mark.parametrize("dtype", ["uint16", "int32", "int64"])
def test_the_number_of_threads_does_not_show(num_threads, dtype):
    rng = np.random.default_rng(3)
    labels = np.kron(rng.integers(0, 900, (40, 40)), np.ones((3, 5), int)).astype(dtype)
    if dtype == "int64":
        labels[labels % 7 == 3] += 2**40  # beyond the table by label
    for one, several in (
        (relabel(labels, num_threads=1), relabel(labels, num_threads=num_threads)),
        (remove_small(labels, min_size=20, num_threads=1), remove_small(labels, min_size=20, num_threads=num_threads)),
    ):
        np.testing.assert_array_equal(one[0], several[0])
        assert one[1] == several[1] > 100
    np.testing.assert_array_equal(relabel(labels, num_threads=num_threads)[0], plain_relabel(labels)[0])


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_label_that_returns_keeps_its_number(num_threads):
    row = np.array([[5] * 50 + [0] * 200 + [9] * 70 + [5] * 3], np.int32)
    expected = [[1] * 50 + [0] * 200 + [2] * 70 + [1] * 3]
    np.testing.assert_array_equal(relabel(row, num_threads=num_threads)[0], expected)


def test_results_go_to_the_array_given_which_must_fit():
    labels = np.array([[0, 9, 9], [4, 9, 0]], np.int32)
    out = np.full(labels.shape, -1, np.int32)
    assert relabel(labels, out=out)[0] is out
    np.testing.assert_array_equal(out, [[0, 1, 1], [2, 1, 0]])
    assert remove_small(labels, min_size=2, out=out)[0] is out
    np.testing.assert_array_equal(out, [[0, 1, 1], [0, 1, 0]])
    with pytest.raises(ValueError, match=r"out must be a writeable row-major int32 array of shape \(2, 3\)"):
        relabel(labels, out=np.zeros((3, 2), np.int32).T)
    with pytest.raises(ValueError, match="out shares memory with the input"):
        relabel(labels, out=labels)


label_images = arrays(
    np.int64,
    array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=20),
    elements=st.one_of(st.integers(-2, 4), st.sampled_from([65_535, 65_536, 2**31, 2**62, -(2**40)])),
)


@given(label_images, st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_any_labels_equal_plain_python(labels, min_size):
    result, count = relabel(labels)
    expected, expected_count = plain_relabel(labels)
    assert count == expected_count
    np.testing.assert_array_equal(result, expected)
    result, count = remove_small(labels, min_size=min_size)
    expected, expected_count = plain_remove_small(labels, min_size)
    assert count == expected_count
    np.testing.assert_array_equal(result, expected)


def test_many_labels_that_differ_in_high_bits_only():
    labels = (np.arange(40_000, dtype=np.int64) << 40).reshape(200, 200)
    result, count = relabel(labels)
    assert count == 39_999
    np.testing.assert_array_equal(result.ravel(), np.arange(40_000))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", ">u2", "int16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_type_and_memory_order_do_not_matter_to_labels(dtype, order):
    labels = np.random.default_rng(1).integers(0, 90, (21, 33)).astype(np.int32)
    typed = labels.astype(dtype)
    if order == "F":
        typed = np.asfortranarray(typed)
    if order == "strided":
        typed = np.repeat(typed, 2, axis=0)[::2]
    np.testing.assert_array_equal(relabel(typed)[0], relabel(labels)[0])
    np.testing.assert_array_equal(remove_small(typed, min_size=8)[0], remove_small(labels, min_size=8)[0])


def test_one_pixel_label_images():
    assert relabel(np.array([[8]], np.uint16)) == (np.array([[1]]), 1)
    assert remove_small(np.array([[8]], np.uint16), min_size=2)[1] == 0


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="min_size is a number of pixels and must not be negative, got -1"):
        remove_small(np.ones((2, 2), np.int32), min_size=-1)
