"""Removing small cells and renumbering the others.

Timed: from int32 labels to consecutive int32 labels without cells below 700 px, one thread.
Not timed: making the labels, imports, the comparison of the results.
Against: fastremap (unique, mask, renumber); skimage remove_small_objects and relabel_sequential.
"""

import numpy as np
import pytest
from skimage.morphology import remove_small_objects
from skimage.segmentation import relabel_sequential

from dinocell_kernels import relabel, remove_small

fastremap = pytest.importorskip("fastremap", reason="pip install -r tools/requirements-benchmarks.txt")


def skimage_pipeline(labels: np.ndarray) -> np.ndarray:
    return relabel_sequential(remove_small_objects(labels, max_size=699))[0]


def fastremap_pipeline(labels: np.ndarray) -> np.ndarray:
    values, pixels = fastremap.unique(labels, return_counts=True)
    return fastremap.renumber(fastremap.mask(labels, values[pixels < 700]), in_place=True)[0]


def test_remove_small(contest, labels, size):
    result, count = remove_small(labels, min_size=700)
    assert 0 < count < labels.max()
    np.testing.assert_array_equal(result, skimage_pipeline(labels))
    assert fastremap_pipeline(labels).max() == count
    contest(
        f"remove_small {size}",
        lambda: remove_small(labels, min_size=700, num_threads=1),
        {"fastremap": lambda: fastremap_pipeline(labels), "scikit-image": lambda: skimage_pipeline(labels)},
        bytes_moved=8 * size**2,
    )


def test_relabel(contest, labels, size):
    expected, names = fastremap.renumber(labels, in_place=False)
    result, count = relabel(labels)
    np.testing.assert_array_equal(result, expected)
    assert count == len(names) - (0 in names)
    contest(
        f"relabel {size}",
        lambda: relabel(labels, num_threads=1),
        {"fastremap.renumber": lambda: fastremap.renumber(labels, in_place=False)},
        bytes_moved=8 * size**2,
    )


def test_relabel_into_memory_at_hand(contest, labels, size):
    out, theirs = np.empty_like(labels), labels.copy()
    relabel(labels, out=out)
    fastremap.renumber(theirs, in_place=True)
    np.testing.assert_array_equal(out, theirs)
    contest(
        f"relabel into memory at hand {size}",
        lambda: relabel(labels, out=out, num_threads=1),
        {"fastremap.renumber in place": lambda: fastremap.renumber(theirs, in_place=True)},
        bytes_moved=8 * size**2,
    )
