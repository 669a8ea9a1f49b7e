"""Instance labels by flooding."""

import math

import numpy as np
from jaxtyping import Float, Int32, Integer, Num, Shaped

from dinocell_kernels import _native
from dinocell_kernels.arguments import native_order, require_2d, require_connectivity, thread_count
from dinocell_kernels.connected_components import native_mask

# The thresholds of SAMCell, the default everywhere.
PEAK, FILL = 0.47, 0.09

# Above this, the numbers of pixels and maxima together no longer fit int32.
_MOST_PIXELS = 2**31 - 4


def watershed(
    distance_map: Float[np.ndarray, "y x"],
    *,
    peak: float = PEAK,
    fill: float = FILL,
    prominence: float | None = None,
    num_threads: int | None = None,
) -> Int32[np.ndarray, "y x"]:
    """Instance labels of a predicted distance map.

    Markers are the 4-connected components of `distance_map > peak` or, with `prominence`, the maxima above `peak`
    that `prominent_maxima` keeps; they grow downhill with 4 neighbours over `distance_map > fill`. Labels are 1..n
    in raster order of the markers' first pixels (scipy's numbering); parts of the mask without a marker stay 0.
    Pixels are taken in canonical order: (value, age), ties in raster order.

    float32 and float64 are used as they are, float16 is widened; thresholds are rounded to the map's type,
    as NumPy compares. `num_threads=None` uses one thread below half a megapixel, otherwise every core; the result
    is the same. Raises ValueError for NaN in map or thresholds, a negative `prominence`, and if `peak` is below
    `fill`.
    """
    require_2d(distance_map, name="distance_map")
    require_thresholds(peak, fill)
    heights = native_map(distance_map)
    threads = thread_count(num_threads)
    if prominence is None:
        return _native.watershed(heights, float(peak), float(fill), -1.0, threads)
    require_prominence(prominence)
    if heights.size <= _MOST_PIXELS:
        return _native.watershed(heights, float(peak), float(fill), float(prominence), threads)
    labels, _ = _native.prominent_maxima(heights, float(peak), float(fill), float(prominence))
    _native.marker_watershed(-heights, labels, native_mask(heights > heights.dtype.type(fill)), 1, threads)
    return labels


def require_thresholds(peak: float, fill: float) -> None:
    """Raise ValueError unless markers lie inside the mask."""
    if np.isnan(peak) or np.isnan(fill) or peak < fill:
        raise ValueError(
            f"peak is {peak} and fill is {fill}, but markers must lie inside the mask: choose peak >= fill"
        )


def require_prominence(prominence: float) -> None:
    """Raise ValueError unless `prominence` is a finite number of 0 or more."""
    if not 0 <= prominence < math.inf:
        raise ValueError(f"prominence is {prominence}; it is a height of the map: choose 0 (every maximum) or more")


def native_map(distance_map: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    """`distance_map` as row-major float32 or float64; arrays of these types are not copied."""
    if distance_map.dtype.kind != "f" or distance_map.dtype.itemsize > 8:
        raise ValueError(
            f"distance_map must be float16, float32 or float64, got {distance_map.dtype}; "
            "convert with distance_map.astype(numpy.float32)"
        )
    kind = np.float64 if distance_map.dtype.itemsize == 8 else np.float32
    return np.ascontiguousarray(distance_map, dtype=kind)


def marker_watershed(
    image: Num[np.ndarray, "y x"],
    markers: Integer[np.ndarray, "y x"],
    *,
    mask: Shaped[np.ndarray, "y x"] | None = None,
    connectivity: int = 1,
    num_threads: int | None = None,
) -> Int32[np.ndarray, "y x"]:
    """Flood `image` from `markers` towards higher values.

    Every nonzero marker is a label, including negative ones. Markers outside `mask` (nonzero = inside) are dropped;
    pixels that no marker reaches stay 0. `connectivity` 1 floods over sides, 2 also over corners. Values of every
    real type are compared exactly (64-bit integers are not rounded to float64). Threads share the connected
    parts of `mask`; `num_threads=None` uses one below half a megapixel, otherwise every core, with the same result.

    Equals `skimage.segmentation.watershed` (0.25.2 and later) except that markers of equal value stand in
    raster order, where scikit-image leaves their order to its heap. Raises ValueError for NaN in the image,
    markers beyond int32, and shapes that differ.
    """
    labels, inside = _flood_arguments(image, markers, mask, connectivity)
    _native.marker_watershed(_flood_values(image), labels, inside, connectivity, thread_count(num_threads))
    return labels


def heap_watershed(
    image: Num[np.ndarray, "y x"],
    markers: Integer[np.ndarray, "y x"],
    *,
    mask: Shaped[np.ndarray, "y x"] | None = None,
    connectivity: int = 1,
) -> Int32[np.ndarray, "y x"]:
    """As `marker_watershed`, but equal to `skimage.segmentation.watershed` (0.25.2, 0.26) for any input, ties included.

    Markers of equal value come in the order in which scikit-image's heap happens to return them, which depends on
    the whole image: cropping it may change labels far away. Values are compared as float64, as scikit-image
    does. Use it where results must match scikit-image pixel by pixel; it is several times slower than
    `marker_watershed`.
    """
    labels, inside = _flood_arguments(image, markers, mask, connectivity)
    _flood_values(image)  # for its checks
    _native.heap_watershed(np.ascontiguousarray(image, dtype=np.float64), labels, inside, connectivity)
    return labels


def _flood_arguments(
    image: Num[np.ndarray, "y x"],
    markers: Integer[np.ndarray, "y x"],
    mask: Shaped[np.ndarray, "y x"] | None,
    connectivity: int,
) -> tuple[Int32[np.ndarray, "y x"], Shaped[np.ndarray, "y x"] | None]:
    """A copy of the markers to flood in place, and the mask as the kernel takes it."""
    require_2d(image, name="image")
    require_connectivity(connectivity)
    for name, other in (("markers", markers), ("mask", mask)):
        if other is not None and other.shape != image.shape:
            raise ValueError(f"{name} has shape {other.shape}, but the image has {image.shape}; they must be equal")
    return _marker_labels(markers), None if mask is None else native_mask(mask)


def _marker_labels(markers: Integer[np.ndarray, "y x"]) -> Int32[np.ndarray, "y x"]:
    """A copy of the markers as int32, for the kernel to flood in place."""
    if markers.dtype.kind not in "iu":
        raise ValueError(f"markers must hold integers, got {markers.dtype}; convert with markers.astype(numpy.int32)")
    limits = np.iinfo(np.int32)
    if markers.dtype.itemsize >= 4 and markers.size:
        low, high = int(markers.min()), int(markers.max())
        if low < limits.min or high > limits.max:
            raise ValueError(
                f"markers reach from {low} to {high}, but labels are int32; renumber them with dinocell_kernels.relabel"
            )
    return np.array(markers, dtype=np.int32, order="C")


def _flood_values(image: Num[np.ndarray, "y x"]) -> Num[np.ndarray, "y x"]:
    """Values in the smallest of float32, float64 and int64 that holds the image's type exactly."""
    kind, size = image.dtype.kind, image.dtype.itemsize
    if kind == "f" and size <= 8:
        values = np.ascontiguousarray(image, dtype=np.float64 if size == 8 else np.float32)
        if np.isnan(values).any():
            raise ValueError("image holds NaN, which has no place in the order of flooding; fill or mask it first")
        return values
    if kind not in "biu":
        raise ValueError(f"image must hold real numbers of at most 64 bits, got {image.dtype}; convert it first")
    if size <= 2:
        return np.ascontiguousarray(image, dtype=np.float32)
    if kind == "u" and size == 8:
        # Flipping the highest bit turns unsigned order into signed order.
        flipped = np.ascontiguousarray(native_order(image)) ^ np.uint64(1 << 63)
        return flipped.view(np.int64)
    return np.ascontiguousarray(image, dtype=np.int64)
