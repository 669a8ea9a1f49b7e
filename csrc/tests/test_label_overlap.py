import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dinocell_kernels import Overlap, label_overlap


def rows(overlap):
    return list(zip(overlap.truth.tolist(), overlap.predicted.tolist(), overlap.pixels.tolist(), strict=True))


def plain_overlap(truth, predicted):
    counts = {}
    for pair in zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True):
        counts[pair] = counts.get(pair, 0) + 1
    return [(*pair, counts[pair]) for pair in sorted(counts)]


def test_a_split_cell_shares_pixels_with_both_halves():
    truth = np.array([[0, 1, 1, 1], [0, 1, 1, 2]], np.int32)
    predicted = np.array([[0, 5, 5, 6], [0, 5, 0, 6]], np.int32)
    assert rows(label_overlap(truth, predicted)) == [(0, 0, 2), (1, 0, 1), (1, 5, 3), (1, 6, 1), (2, 6, 1)]


def test_columns_are_int64_and_count_every_pixel_once():
    truth = np.random.default_rng(0).integers(0, 9, (30, 40)).astype(np.uint16)
    overlap = label_overlap(truth, truth)
    assert isinstance(overlap, Overlap)
    assert overlap.truth.dtype == overlap.predicted.dtype == overlap.pixels.dtype == np.int64
    assert overlap.pixels.sum() == truth.size
    np.testing.assert_array_equal(overlap.truth, overlap.predicted)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_two_images_equal_plain_counting(data):
    shape = data.draw(array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=8))
    labels = st.one_of(
        st.integers(-2, 3), st.sampled_from([65_536, 2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**62, -(2**63)])
    )
    truth = data.draw(arrays(np.int64, shape, elements=labels))
    predicted = data.draw(arrays(np.int64, shape, elements=labels))
    assert rows(label_overlap(truth, predicted)) == plain_overlap(truth, predicted)


@pytest.mark.parametrize("truth_dtype", ["uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("predicted_dtype", ["uint16", ">i4", "int64"])
@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_types_may_differ_and_memory_order_does_not_matter(truth_dtype, predicted_dtype, order):
    rng = np.random.default_rng(2)
    truth, predicted = rng.integers(0, 12, (2, 17, 23))
    a, b = truth.astype(truth_dtype), predicted.astype(predicted_dtype)
    if order == "F":
        a = np.asfortranarray(a)
    if order == "strided":
        b = np.repeat(b, 2, axis=1)[:, ::2]
    assert rows(label_overlap(a, b)) == plain_overlap(truth, predicted)


def test_every_pixel_may_be_a_pair_of_its_own():
    truth = np.arange(50_000, dtype=np.int32)
    overlap = label_overlap(truth, truth[::-1])
    assert len(overlap.pixels) == 50_000
    np.testing.assert_array_equal(overlap.predicted, truth[::-1])


@pytest.mark.parametrize("dtype", ["uint16", "int32", "int64"])
@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_pairs_that_return_again_and_again_are_summed_however_many_they_are(dtype, num_threads):
    truth, predicted = np.random.default_rng(4).integers(0, 300, (2, 500, 600)).astype(dtype)
    pairs, pixels = np.unique(truth.astype(np.int64) * 300 + predicted, return_counts=True)
    assert len(pairs) > 65_536, "test invalid"
    overlap = label_overlap(truth, predicted, num_threads=num_threads)
    np.testing.assert_array_equal(overlap.truth * 300 + overlap.predicted, pairs)
    np.testing.assert_array_equal(overlap.pixels, pixels)


def test_negative_int32_labels_keep_their_sign():
    truth = np.array([-1, 0, -1], np.int32)
    assert rows(label_overlap(truth, -truth)) == [(-1, 1, 2), (0, 0, 1)]


def test_images_without_pixels_have_no_pairs():
    assert rows(label_overlap(np.zeros((0, 4), np.int32), np.zeros((0, 4), np.int32))) == []
