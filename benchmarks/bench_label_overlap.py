"""Contingency table of two int32 label images: the truth and the truth moved by three pixels.

Timed: from the two images to the table of pairs with their pixels, one thread.
Not timed: making the labels, imports, the comparison of the results.
Against: numpy.unique of one key per pair; scipy.sparse (coo to csr, as skimage.metrics.contingency_table does).
"""

import numpy as np
from scipy import sparse

from dinocell_kernels import label_overlap


def numpy_pairs(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    span = int(predicted.max()) + 1
    return np.unique(truth.ravel().astype(np.int64) * span + predicted.ravel(), return_counts=True)


def sparse_pairs(truth: np.ndarray, predicted: np.ndarray) -> sparse.csr_array:
    ones = np.ones(truth.size, np.int64)
    return sparse.coo_array((ones, (truth.ravel(), predicted.ravel()))).tocsr()


def moved(labels: np.ndarray) -> np.ndarray:
    return np.roll(labels, (3, 3), axis=(0, 1))


def test_dinocell(grouped, labels):
    predicted = moved(labels)
    result = grouped(label_overlap, labels, predicted)
    keys, pixels = numpy_pairs(labels, predicted)
    np.testing.assert_array_equal(result.truth * (int(predicted.max()) + 1) + result.predicted, keys)
    np.testing.assert_array_equal(result.pixels, pixels)


def test_numpy_unique(grouped, labels):
    grouped(numpy_pairs, labels, moved(labels))


def test_scipy_sparse(grouped, labels):
    grouped(sparse_pairs, labels, moved(labels))
