"""Connected components of a boolean mask, four neighbours.

Timed: from the mask to int32 labels and their number, one thread.
Not timed: making the mask, imports, the comparison of the results.
Against: cc3d, OpenCV, scipy.ndimage.label. cc3d and OpenCV number the components otherwise than scipy.
"""

import numpy as np
import pytest
from scipy import ndimage

from dinocell_kernels import connected_components

WANTED = "pip install -r tools/requirements-benchmarks.txt"
cc3d = pytest.importorskip("cc3d", reason=WANTED)
cv2 = pytest.importorskip("cv2", reason=WANTED)


def test_connected_components(contest, predicted, size):
    mask = predicted > 0.09
    labels, count = connected_components(mask)
    expected, expected_count = ndimage.label(mask)
    assert count == expected_count
    np.testing.assert_array_equal(labels, expected)
    contest(
        f"connected_components {size}",
        lambda: connected_components(mask, num_threads=1),
        {
            "cc3d": lambda: cc3d.connected_components(mask, connectivity=4),
            "cv2": lambda: cv2.connectedComponents(mask.view(np.uint8), connectivity=4),
            "scipy": lambda: ndimage.label(mask),
        },
        bytes_moved=5 * size**2,
    )
