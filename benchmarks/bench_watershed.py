"""Instance labels of a predicted float32 distance map.

Timed: from the map to int32 labels (both thresholds, marker components, flooding), one thread.
Not timed: making the map, imports, the comparison of the results.
Against: the same steps with scipy.ndimage.label and skimage.segmentation.watershed, on touching cells and on a
confluent layer (one component of the mask with hundreds of markers). By prominence: against the h-maxima transform
(reconstruction by dilation of map - h, the components of the domes it leaves) and the same flood; domes are wider than
our markers, so results are compared by their cells. And against our own two steps, `prominent_maxima` and
`marker_watershed`.
"""

import numpy as np
from bench_prominent_maxima import PROMINENCE
from bench_prominent_maxima import scikit_image as h_maxima
from scipy import ndimage
from skimage.segmentation import watershed as skimage_watershed

from dinocell_kernels import marker_watershed, prominent_maxima, watershed


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


def domes_pipeline(distances: np.ndarray, peak: float, fill: float) -> np.ndarray:
    domes, _ = h_maxima(distances)
    return skimage_watershed(-distances, np.where(distances > peak, domes, 0), mask=distances > fill)


def test_watershed_by_prominence(contest, predicted):
    kept = {}
    peak, fill = 0.5, 0.1

    def skimage():
        kept["domes"] = domes_pipeline(predicted, peak, fill)

    def two_steps():
        markers, _ = prominent_maxima(predicted, peak=peak, fill=fill, prominence=PROMINENCE)
        mask = predicted > np.float32(fill)
        kept["labels"] = marker_watershed(-predicted, markers, mask=mask, num_threads=1)

    contest(
        f"watershed by prominence {len(predicted)}",
        lambda: watershed(predicted, peak=peak, fill=fill, prominence=PROMINENCE, num_threads=1),
        {"scikit-image": skimage, "our two steps": two_steps},
        bytes_moved=8 * predicted.size,
        least_rounds=1 if len(predicted) > 2048 else 2,
    )
    labels = watershed(predicted, peak=peak, fill=fill, prominence=PROMINENCE)
    np.testing.assert_array_equal(labels, kept["labels"])
    assert abs(int(labels.max()) - len(np.unique(kept["domes"])) + 1) <= 0.02 * labels.max()
