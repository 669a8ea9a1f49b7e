"""Label images as they come from users: any integer type, checked once, never silently reinterpreted."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Integer, Shaped

from dinocell_io import check_exact


def as_labels(labels: npt.ArrayLike, *, name: str, role: str) -> Integer[np.ndarray, "y x"]:
    """A label image as an integer array; 0 is background, every other value one object.

    Floats are accepted when every value is a whole number below 2048 in float16, 2**24 in float32, 2**53 in float64:
    from there on different labels become one number. `name` and `role` ("truth" or "predicted") say in
    the error message which array was wrong. Negative labels are refused later, where the occurring labels are
    known (`overlap.pair_table`), so that this function need not read the pixels.
    """
    array = np.asarray(labels)
    where = f"image {name!r}: the {role} labels"
    if array.ndim != 2:
        raise ValueError(
            f"{where} have shape {array.shape}, expected two axes (y, x); "
            "pass a list of label images, also for a single one, and label planes rather than RGB"
        )
    if array.dtype == np.bool_:
        raise ValueError(
            f"{where} are a boolean mask, expected integer labels; "
            "number the cells first, for example with dinocell_kernels.connected_components"
        )
    if np.issubdtype(array.dtype, np.floating):
        return _whole_numbers(array, where)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{where} are of type {array.dtype}, expected integers; convert them to integer labels")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{where} reach {array.max()}, expected at most 2**63 - 1; relabel the image")
    return array


def check_pair(truth: Shaped[np.ndarray, "..."], predicted: Shaped[np.ndarray, "..."], *, name: str) -> None:
    """Raise ValueError with the image's name and both shapes unless the two label images are of one shape."""
    if truth.shape != predicted.shape:
        raise ValueError(
            f"image {name!r}: truth has shape {truth.shape} and prediction {predicted.shape}, expected the same; "
            "check that they were paired rightly and that neither was resized or cropped"
        )


def _whole_numbers(array: Shaped[np.ndarray, "y x"], where: str) -> Integer[np.ndarray, "y x"]:
    if not np.all(np.isfinite(array)) or np.any(array != np.floor(array)):
        raise ValueError(
            f"{where} are {array.dtype} with values that are not whole numbers, expected integer labels; "
            "a distance or probability map has to be turned into labels first"
        )
    check_exact(array, where)
    return array.astype(np.int64)
