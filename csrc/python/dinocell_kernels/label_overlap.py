"""Contingency table of two label images."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Integer

from dinocell_kernels import _native
from dinocell_kernels.arguments import kernel_labels, thread_count


@dataclass(frozen=True, eq=False)
class Overlap:
    """Pairs of labels that share pixels: row i says that `truth[i]` and `predicted[i]` share `pixels[i]`.

    Background (0) is included. Rows are sorted by (truth, predicted).
    """

    truth: Int64[np.ndarray, "pair"]
    predicted: Int64[np.ndarray, "pair"]
    pixels: Int64[np.ndarray, "pair"]


def label_overlap(
    truth: Integer[np.ndarray, "*shape"], predicted: Integer[np.ndarray, "*shape"], *, num_threads: int | None = None
) -> Overlap:
    """Count the pixels that each pair of labels shares, over images of any number of axes.

    Only pairs that occur are listed, so memory grows with the cells, not with their product. Labels are exact
    up to 2**63 - 1; images without pixels have no pairs. `num_threads=None` uses one thread below half a megapixel,
    otherwise every core. Raises ValueError if the shapes differ.
    """
    if truth.shape != predicted.shape:
        raise ValueError(
            f"truth has shape {truth.shape} and predicted {predicted.shape}; both must label the same "
            "pixels, so crop or resize one (with nearest neighbours) first"
        )
    a, b = kernel_labels(truth, name="truth"), kernel_labels(predicted, name="predicted")
    # uint16 with int32 is int32, so promotion never leaves the kernel's types
    wide = np.promote_types(a.dtype, b.dtype)
    pairs = _native.label_overlap(a.astype(wide, copy=False), b.astype(wide, copy=False), thread_count(num_threads))
    return Overlap(*pairs)
