"""Removing small cells and renumbering the others.

Timed: from int32 labels to consecutive int32 labels without cells below 700 px, one thread.
Not timed: making the labels, imports, the comparison of the results.
Against: skimage.morphology.remove_small_objects and skimage.segmentation.relabel_sequential.
"""

import numpy as np
from skimage.morphology import remove_small_objects
from skimage.segmentation import relabel_sequential

from dinocell_kernels import remove_small


def skimage_pipeline(labels: np.ndarray) -> np.ndarray:
    return relabel_sequential(remove_small_objects(labels, max_size=699))[0]


def test_dinocell(grouped, labels):
    result, count = grouped(remove_small, labels, min_size=700)
    assert 0 < count < labels.max()
    np.testing.assert_array_equal(result, skimage_pipeline(labels))


def test_skimage(grouped, labels):
    grouped(skimage_pipeline, labels)
