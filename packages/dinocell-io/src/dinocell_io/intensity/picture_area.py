"""Where the picture is, in an image that has a frame: black borders, missing tiles of a mosaic, a saturated margin."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Num

_CORNER_PX = 8  # a corner of one intensity, this large, may belong to a frame
_LEAST_SHARE = 0.5  # of an image that is picture, where its frame has no straight edges
_LEAST_BOX_SHARE = 0.25  # where it has
_LEAST_BOX_PX = 128  # or this many rows and columns
_LEAST_BLANK_SHARE = 0.05  # of an image; less may be a saturated cell in a corner
_MOST_INSIDE = 0.01  # of the picture's pixels that may have the frame's intensity


@dataclass(frozen=True)
class PictureArea:
    """The rows and columns that hold the picture, and which of their pixels do not (None where all do)."""

    rows: slice
    columns: slice
    blank: Bool[np.ndarray, "y x"] | None

    def pixels(self, plane: Num[np.ndarray, "y x"]) -> Num[np.ndarray, "..."]:
        """The pixels of the picture alone."""
        box = plane[self.rows, self.columns]
        return box if self.blank is None else box[~self.blank]

    def frame(self, shape: tuple[int, ...]) -> Bool[np.ndarray, "y x"]:
        """Mask of the frame in an image of this shape."""
        mask = np.ones(shape, bool)
        mask[self.rows, self.columns] = False if self.blank is None else self.blank
        return mask


def picture_area(plane: Num[np.ndarray, "y x"]) -> PictureArea | None:
    """The picture inside a frame; None for an image without one.

    A frame is what touches the image's border and holds one single intensity: whole rows and columns, or an area that
    reaches the border straight along its row or column from every pixel of it. A background that was clipped to one
    intensity is not a frame: it also lies between the cells. An image of which little would be left has none.
    """
    if min(plane.shape) < 2 * _CORNER_PX:
        return None
    rows = _between_blank_rows(plane)
    if rows.start == rows.stop:
        return None
    columns = _between_blank_rows(plane[rows].T)
    box = plane[rows, columns]
    if box.size < _LEAST_BOX_SHARE * plane.size and min(box.shape) < _LEAST_BOX_PX:
        return None
    blank = _blank_area(box, num_pixels=plane.size)
    if box.size == plane.size and blank is None:
        return None
    return PictureArea(rows, columns, blank)


def _between_blank_rows(plane: Num[np.ndarray, "line pixel"]) -> slice:
    """The rows between those of one single intensity at either end; no rows if every row is so."""
    first, last = 0, len(plane)
    while first < last and _holds_only(plane[first], plane[0, 0]):
        first += 1
    while first < last and _holds_only(plane[last - 1], plane[-1, 0]):
        last -= 1
    return slice(first, last)


def _holds_only(row: Num[np.ndarray, " x"], value: Any) -> bool:
    return bool(row[0] == value and row[-1] == value and (row == value).all())


def _blank_area(box: Num[np.ndarray, "y x"], *, num_pixels: int) -> Bool[np.ndarray, "y x"] | None:
    corners = [box[rows, columns] for rows in _ENDS for columns in _ENDS]
    values = {corner.flat[0] for corner in corners if corner.size and (corner == corner.flat[0]).all()}
    if not values or min(box.shape) < 2 * _CORNER_PX:
        return None
    same = np.isin(box, list(values))
    blank = np.zeros_like(same)
    for axis in (0, 1):
        blank |= np.logical_and.accumulate(same, axis=axis)
        blank |= np.flip(np.logical_and.accumulate(np.flip(same, axis), axis=axis), axis)
    num_same, num_blank = int(same.sum()), int(blank.sum())
    num_picture = box.size - num_same
    is_frame = (
        num_blank >= _LEAST_BLANK_SHARE * num_pixels
        and num_picture >= _LEAST_SHARE * num_pixels
        and num_same - num_blank <= _MOST_INSIDE * num_picture
    )
    return blank if is_frame else None


_ENDS = (slice(None, _CORNER_PX), slice(-_CORNER_PX, None))
