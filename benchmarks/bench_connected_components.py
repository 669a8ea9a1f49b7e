"""Connected components of a boolean mask, four neighbours.

Timed: from the mask to int32 labels and their number; ours has one thread, as scipy.
Not timed: making the mask, imports, the comparison of the results.
Against: scipy.ndimage.label.
"""

import numpy as np
from scipy import ndimage

from dinocell_kernels import connected_components


def test_dinocell(grouped, predicted):
    mask = predicted > 0.09
    labels, count = grouped(connected_components, mask)
    expected, expected_count = ndimage.label(mask)
    assert count == expected_count
    np.testing.assert_array_equal(labels, expected)


def test_scipy(grouped, predicted):
    grouped(ndimage.label, predicted > 0.09)
