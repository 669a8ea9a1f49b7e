"""Instance labels of a predicted float32 distance map.

Timed: from the map to int32 labels (both thresholds, marker components, flooding), one thread.
Not timed: making the map, imports, the comparison of the results.
Against: the same steps with scipy.ndimage.label and skimage.segmentation.watershed, on touching cells and on a
confluent layer (one component of the mask with hundreds of markers).
"""

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed as skimage_watershed

from dinocell_kernels import watershed


def skimage_pipeline(distances: np.ndarray, peak: float, fill: float) -> np.ndarray:
    markers = ndimage.label(distances > peak)[0]
    return skimage_watershed(-distances, markers, mask=distances > fill)


def compare(contest, name, distances, peak, fill):
    kept = {}

    def skimage():
        kept["labels"] = skimage_pipeline(distances, peak, fill)

    contest(
        f"{name} {len(distances)}",
        lambda: watershed(distances, peak=peak, fill=fill, num_threads=1),
        {"scikit-image": skimage},
        bytes_moved=8 * distances.size,
        least_rounds=1 if len(distances) > 2048 else 2,
    )
    np.testing.assert_array_equal(watershed(distances, peak=peak, fill=fill), kept["labels"])


def test_watershed(contest, predicted):
    compare(contest, "watershed", predicted, 0.47, 0.09)


def test_watershed_of_a_confluent_layer(contest, confluent):
    compare(contest, "watershed confluent", confluent, 0.6, -1.0)
