"""Where objects lie: their bounding boxes, and which of them the image cuts off."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, Integer


@dataclass(frozen=True)
class Geometry:
    """Position of objects, a row each.

    `on_border` says whether an object has a pixel in the first or last row or column. `box` is y0, x0, y1, x1 with
    the ends outside, so `labels[y0:y1, x0:x1]` holds the object; None if boxes were not requested.
    """

    on_border: Bool[np.ndarray, "object"]
    box: Int64[np.ndarray, "object 4"] | None


def image_geometry(labels: Integer[np.ndarray, "y x"], label: Int64[np.ndarray, "object"], *, boxes: bool) -> Geometry:
    """Geometry of the objects of one image; `label` holds all its labels but 0, ascending."""
    return Geometry(_on_border(labels, label), object_boxes(labels, label) if boxes else None)


def object_boxes(
    labels: Integer[np.ndarray, "y x"], label: Int64[np.ndarray, "object"]
) -> Int64[np.ndarray, "object 4"]:
    """Bounding boxes y0, x0, y1, x1 (ends outside) of the ascending labels, all of which occur."""
    from scipy.ndimage import find_objects

    if not label.size:
        return np.zeros((0, 4), np.int64)
    largest = int(label[-1])
    if largest <= 4 * labels.size:
        numbered, row = labels, label - 1
    else:  # find_objects makes a list of as many entries as the largest label
        numbered = np.where(labels == 0, 0, np.searchsorted(label, labels) + 1)
        largest, row = label.size, np.arange(label.size)
    found = find_objects(numbered.astype(np.int32 if largest < 2**31 else np.int64, copy=False), largest)
    slices = [found[number] for number in row.tolist()]
    return np.array([(y.start, x.start, y.stop, x.stop) for y, x in slices], np.int64)


def stack_geometry(parts: list[Geometry]) -> Geometry:
    """Objects of several images below each other."""
    boxes = [part.box for part in parts if part.box is not None]
    return Geometry(
        np.concatenate([np.zeros(0, bool), *(part.on_border for part in parts)]),
        np.concatenate([np.zeros((0, 4), np.int64), *boxes]) if len(boxes) == len(parts) else None,
    )


def _on_border(labels: Integer[np.ndarray, "y x"], label: Int64[np.ndarray, "object"]) -> Bool[np.ndarray, "object"]:
    on_border = np.zeros(label.size, bool)
    line = np.concatenate([edge.ravel() for edge in (labels[:1], labels[-1:], labels[:, :1], labels[:, -1:])])
    runs = line[np.flatnonzero(np.diff(line, append=0))]  # one pixel a run is enough
    on_border[np.searchsorted(label, runs[runs != 0])] = True
    return on_border
