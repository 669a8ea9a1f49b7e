"""What people use without a trained model: Otsu's threshold and a watershed of the distance transform."""

import numpy as np
from jaxtyping import Int32, Shaped
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.morphology import remove_small_objects
from skimage.segmentation import watershed

DARK_MODALITIES = ("histology", "brightfield")  # cells darker than what surrounds them


def otsu_watershed(
    plane: Shaped[np.ndarray, "y x"], *, dark: bool, min_distance: int = 5, min_size: int = 20
) -> Int32[np.ndarray, "y x"]:
    """Labels of one grey image, with scikit-image throughout; seeds are maxima at least ``min_distance`` apart."""
    smooth = gaussian(plane.astype(np.float32), sigma=1)
    if smooth.min() == smooth.max():
        return np.zeros(plane.shape, np.int32)
    level = threshold_otsu(smooth)
    mask = smooth < level if dark else smooth > level
    mask = remove_small_objects(mask, max_size=min_size - 1)
    distance = gaussian(ndimage.distance_transform_edt(mask), sigma=1)
    components, _ = ndimage.label(mask)
    seeds = np.zeros(plane.shape, np.int32)
    peaks = peak_local_max(distance, min_distance=min_distance, labels=components, exclude_border=False)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, seeds, mask=mask).astype(np.int32)
