"""Instance labels of a predicted float32 distance map.

Timed: from the map to int32 labels (both thresholds, marker components, flooding), one thread.
Not timed: making the map, imports, the comparison of the results.
Against: the same steps with scipy.ndimage.label and skimage.segmentation.watershed.
"""

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed as skimage_watershed

from dinocell_kernels import watershed


def skimage_pipeline(distances: np.ndarray) -> np.ndarray:
    markers = ndimage.label(distances > 0.47)[0]
    return skimage_watershed(-distances, markers, mask=distances > 0.09)


def test_dinocell(grouped, predicted):
    result = grouped(watershed, predicted, num_threads=1)
    np.testing.assert_array_equal(result, skimage_pipeline(predicted))


def test_skimage(grouped, predicted):
    grouped.pedantic(skimage_pipeline, args=(predicted,), rounds=5)
