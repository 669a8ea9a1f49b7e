"""Contingency table of two int32 label images: the truth and the truth moved by three pixels.

Timed: from the two images to the table of pairs with their pixels, one thread.
Not timed: making the labels, imports, the comparison of the results.
Against: numpy.unique and fastremap.unique of one key per pair; numpy.bincount of the keys (dense: the product of the
numbers of labels; not at 8192, where it would take 20 GB); scipy.sparse (as skimage.metrics.contingency_table does).
"""

import numpy as np
import pytest
from scipy import sparse

from dinocell_kernels import label_overlap

fastremap = pytest.importorskip("fastremap", reason="pip install -r tools/requirements-benchmarks.txt")


def test_label_overlap(contest, labels, size):
    predicted = np.roll(labels, (3, 3), axis=(0, 1))
    span = int(predicted.max()) + 1

    def keys() -> np.ndarray:
        return labels.ravel().astype(np.int64) * span + predicted.ravel()

    def sparse_pairs() -> sparse.csr_array:
        ones = np.ones(labels.size, np.int64)
        return sparse.coo_array((ones, (labels.ravel(), predicted.ravel()))).tocsr()

    result = label_overlap(labels, predicted)
    pairs, pixels = np.unique(keys(), return_counts=True)
    np.testing.assert_array_equal(result.truth * span + result.predicted, pairs)
    np.testing.assert_array_equal(result.pixels, pixels)
    rivals = {
        "numpy.unique": lambda: np.unique(keys(), return_counts=True),
        "fastremap.unique": lambda: fastremap.unique(keys(), return_counts=True),
        "scipy.sparse": sparse_pairs,
    }
    if size <= 2048:
        rivals["numpy.bincount"] = lambda: np.bincount(keys())
    contest(
        f"label_overlap {size}",
        lambda: label_overlap(labels, predicted, num_threads=1),
        rivals,
        bytes_moved=8 * size**2,
    )
