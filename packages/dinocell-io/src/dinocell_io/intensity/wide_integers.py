"""Integers that a float64 does not hold exactly: as differences from one of them, they are small again."""

import numpy as np
from jaxtyping import Num

_LARGEST_EXACT = 1 << 53


def from_origin(plane: Num[np.ndarray, "y x"]) -> tuple[Num[np.ndarray, "y x"], int]:
    """The pixels as differences from a whole number, and that number; the plane itself and 0 where floats are exact.

    The number is the picture's median, so that its pixels become small, whatever a frame or a dead pixel holds.
    """
    if plane.dtype.kind not in "iu" or plane.dtype.itemsize < 8:
        return plane, 0
    smallest, largest = int(plane.min()), int(plane.max())
    if max(-smallest, largest) <= _LARGEST_EXACT:
        return plane, 0
    picture = plane[plane != plane[0, 0]]  # a frame may be more than half of the image
    if picture.size == 0:
        picture = plane[:1, 0]
    origin = int(np.partition(picture, picture.size // 2)[picture.size // 2])
    return differences(plane, origin), origin


def differences(plane: Num[np.ndarray, "y x"], origin: int) -> Num[np.ndarray, "y x"]:
    """The pixels less `origin`: int64, or float64 where they are too far apart for it."""
    # modulo 2**64, in which neither step overflows
    above = plane.astype(np.uint64) - np.uint64(origin % (1 << 64))
    if int(plane.max()) - int(plane.min()) < 1 << 63:
        return above.view(np.int64)
    below = np.uint64(origin % (1 << 64)) - plane.astype(np.uint64)
    return np.where(plane >= plane.dtype.type(origin), above.astype(np.float64), -below.astype(np.float64))
