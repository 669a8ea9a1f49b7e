"""Markers of a predicted distance map that stand out by 0.2, as one pixel each.

Timed: from the map to the marker image. Not timed: making the map, flooding from the markers.
Ours against the h-maxima transform as people write it with scikit-image: reconstruction by dilation of map - h, and the
4-connected components of the domes it leaves. Both find the same maxima; the domes are several pixels wide.
"""

import numpy as np
from scipy import ndimage
from skimage.morphology import reconstruction

from dinocell_kernels import prominent_maxima

PROMINENCE = 0.2
CROSS = ndimage.generate_binary_structure(2, 1)


def ours(distance_map: np.ndarray) -> tuple[np.ndarray, int]:
    return prominent_maxima(distance_map, peak=0.3, fill=0.1, prominence=PROMINENCE)


def scikit_image(distance_map: np.ndarray) -> tuple[np.ndarray, int]:
    floor = np.maximum(distance_map, np.float32(0.1))
    flat = reconstruction(floor - PROMINENCE, floor, method="dilation", footprint=CROSS)
    domes, _ = ndimage.label((floor - flat >= PROMINENCE - 1e-6) & (distance_map > 0.1))
    return domes, int(domes.max())


def test_dinocell(grouped, predicted):
    markers, count = grouped(ours, predicted)
    domes, expected = scikit_image(predicted)
    assert abs(count - expected) <= 0.02 * expected
    assert np.mean(domes[markers > 0] > 0) > 0.98


def test_skimage(grouped, predicted):
    grouped.pedantic(scikit_image, args=(predicted,), rounds=5)
