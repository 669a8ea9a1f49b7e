"""The pair table: which true and predicted objects share how many pixels.

Every metric of this package is computed from it, so the pixels are read once. One table holds all images of a
set: objects of all images stand below each other, each with the number of its image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64, Integer

from dinocell_kernels import label_overlap


@dataclass(frozen=True)
class PairTable:
    """Objects of a set of images and the pixels they share; background is not an object.

    Objects are sorted by (image, label), pairs by (truth, predicted); `pair_truth` and `pair_predicted` are row
    numbers of the objects. Areas and intersections are exact pixel counts.
    """

    num_images: int
    truth_image: Int64[np.ndarray, "truth"]
    truth_label: Int64[np.ndarray, "truth"]
    truth_area: Int64[np.ndarray, "truth"]
    predicted_image: Int64[np.ndarray, "predicted"]
    predicted_label: Int64[np.ndarray, "predicted"]
    predicted_area: Int64[np.ndarray, "predicted"]
    pair_truth: Int64[np.ndarray, "pair"]
    pair_predicted: Int64[np.ndarray, "pair"]
    intersection: Int64[np.ndarray, "pair"]

    @property
    def num_truth(self) -> int:
        return int(self.truth_label.size)

    @property
    def num_predicted(self) -> int:
        return int(self.predicted_label.size)

    @cached_property
    def pair_image(self) -> Int64[np.ndarray, "pair"]:
        return self.truth_image[self.pair_truth]

    @cached_property
    def union(self) -> Int64[np.ndarray, "pair"]:
        """Pixels of either object of each pair; IoU is the integer pair (intersection, union)."""
        return self.truth_area[self.pair_truth] + self.predicted_area[self.pair_predicted] - self.intersection

    @cached_property
    def iou(self) -> Float64[np.ndarray, "pair"]:
        """IoU rounded to float64, for sums and for showing; thresholds are compared in integers instead."""
        return self.intersection / self.union


def pair_table(truth: Integer[np.ndarray, "*shape"], predicted: Integer[np.ndarray, "*shape"]) -> PairTable:
    """Pair table of one image of any number of axes; all planes of a volume count together.

    A label is one object even if its pixels are disconnected. Raises ValueError if a label is negative.
    """
    overlap = label_overlap(truth, predicted)
    truth_label, truth_row, truth_area = _objects(overlap.truth, overlap.pixels, role="truth")
    predicted_label, predicted_row, predicted_area = _objects(overlap.predicted, overlap.pixels, role="predicted")
    shared = (overlap.truth != 0) & (overlap.predicted != 0)
    return PairTable(
        num_images=1,
        truth_image=np.zeros(truth_label.size, np.int64),
        truth_label=truth_label,
        truth_area=truth_area,
        predicted_image=np.zeros(predicted_label.size, np.int64),
        predicted_label=predicted_label,
        predicted_area=predicted_area,
        pair_truth=truth_row[shared],
        pair_predicted=predicted_row[shared],
        intersection=overlap.pixels[shared],
    )


def stack(tables: Sequence[PairTable]) -> PairTable:
    """One table of several, their images numbered on in the given order."""
    images = _starts([table.num_images for table in tables])
    truths = _starts([table.num_truth for table in tables])
    predictions = _starts([table.num_predicted for table in tables])

    def joined(column: str, starts: list[int] | None = None) -> Int64[np.ndarray, "row"]:
        offsets = starts or [0] * len(tables)
        columns = [getattr(table, column) + offset for table, offset in zip(tables, offsets, strict=True)]
        return np.concatenate([np.zeros(0, np.int64), *columns])

    return PairTable(
        num_images=sum(table.num_images for table in tables),
        truth_image=joined("truth_image", images),
        truth_label=joined("truth_label"),
        truth_area=joined("truth_area"),
        predicted_image=joined("predicted_image", images),
        predicted_label=joined("predicted_label"),
        predicted_area=joined("predicted_area"),
        pair_truth=joined("pair_truth", truths),
        pair_predicted=joined("pair_predicted", predictions),
        intersection=joined("intersection"),
    )


def _objects(
    labels: Int64[np.ndarray, "row"], pixels: Int64[np.ndarray, "row"], *, role: str
) -> tuple[Int64[np.ndarray, "object"], Int64[np.ndarray, "row"], Int64[np.ndarray, "object"]]:
    """Ascending labels without background, each row's object (-1 on background) and the objects' areas."""
    label, row = np.unique(labels, return_inverse=True)
    if label.size and label[0] < 0:
        raise ValueError(
            f"the {role} labels contain {label[0]}, expected 0 for background and positive numbers for objects; "
            "set ignored regions to 0 in truth and prediction"
        )
    area = np.bincount(row, weights=pixels, minlength=label.size).astype(np.int64)
    background = int(label.size > 0 and label[0] == 0)
    return label[background:], row.astype(np.int64) - background, area[background:]


def _starts(sizes: Sequence[int]) -> list[int]:
    return [0, *np.cumsum(sizes, dtype=np.int64).tolist()][: len(sizes)]
