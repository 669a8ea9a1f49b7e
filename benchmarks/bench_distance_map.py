"""Distance maps of int32 label images, normalised per cell.

Timed: from the label image to the normalised float32 map, allocation of the result included, one thread.
Not timed: making the labels, imports, the comparison of the results.
Against: edt.edt (the fastest exact library) with numpy.maximum.at and a division by the maximum of the label.
"""

import edt
import numpy as np

from dinocell_kernels import distance_map


def edt_normalised(labels: np.ndarray) -> np.ndarray:
    distances = edt.edt(labels, black_border=False)
    deepest = np.zeros(int(labels.max()) + 1, np.float32)
    np.maximum.at(deepest, labels.ravel(), distances.ravel())
    deepest[0] = 1
    return distances / deepest[labels]


def test_distance_map(contest, labels, size):
    np.testing.assert_array_equal(distance_map(labels), edt_normalised(labels))
    contest(
        f"distance_map {size}",
        lambda: distance_map(labels, num_threads=1),
        {"edt + numpy.maximum.at": lambda: edt_normalised(labels)},
        bytes_moved=8 * size**2,
    )
