"""Masks of the COCO format: polygons and run lengths, drawn into label images.

Polygons are drawn by pycocotools, so that masks are those with which published scores were computed. Run lengths are
decoded here: pycocotools takes those that are cut short for a mask with fewer pixels. Source of both run-length forms:
the MS COCO API, maskApi.c.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int32

_Piece = tuple[int, int, Bool[np.ndarray, "_ _"]]  # first row, first column, mask from there
_FARTHEST = 10  # sides of the image that a corner may lie away


def paint_objects(pieces: Sequence[_Piece], shape: tuple[int, int]) -> Int32[np.ndarray, "y x"]:
    """Labels 1..n of the pieces, painted from the largest to the smallest.

    So in an overlap the smaller object keeps its pixels; of equal sizes the later one does. An object hidden
    whole has no pixel in the result.
    """
    labels = np.zeros(shape, np.int32)
    order = sorted(range(len(pieces)), key=lambda index: -int(pieces[index][2].sum()))
    for index in order:
        row, column, mask = pieces[index]
        labels[row : row + mask.shape[0], column : column + mask.shape[1]][mask] = index + 1
    return labels


def segmentation_piece(segmentation: Any, shape: tuple[int, int], *, name: str) -> _Piece:
    """The mask of one annotation: a list of polygons (their union), or a run-length dictionary.

    What lies outside the image is cut off. Raises ValueError, naming the annotation, for another form.
    """
    if isinstance(segmentation, Mapping):
        return _cropped(decode_run_lengths(segmentation, shape, name=name))
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError(f"{name} has the segmentation {segmentation!r:.60}; expected polygons or run lengths")
    from pycocotools import mask as coco  # only who converts COCO files needs it

    polygons = [_checked_polygon(polygon, shape, name).tolist() for polygon in segmentation]
    run_lengths = coco.merge(coco.frPyObjects(polygons, *shape))
    return _cropped(decode_run_lengths(run_lengths, shape, name=name))


def decode_run_lengths(encoded: Mapping[str, Any], shape: tuple[int, int], *, name: str) -> Bool[np.ndarray, "y x"]:
    """The mask of run lengths, column by column, background first: a list, or COCO's compressed text."""
    counts, size = encoded.get("counts"), encoded.get("size")
    if list(size or ()) != list(shape):
        raise ValueError(f"{name} has run lengths for size {size}, its image is {shape[0]} x {shape[1]}")
    if isinstance(counts, bytes):
        counts = counts.decode("ascii")
    runs = _decompressed(counts, name) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or any(not isinstance(run, int) or run < 0 for run in runs):
        raise ValueError(f"{name} has run lengths that are not counts; expected numbers from 0 up")
    if sum(runs) != shape[0] * shape[1]:
        raise ValueError(f"{name} has run lengths for {sum(runs)} pixels, expected {shape[0] * shape[1]}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(shape[1], shape[0]).T


def _decompressed(text: str, name: str) -> list[int]:
    """Numbers in groups of 5 bits, low first, 48 added; from the fourth on, differences to two before."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        group = ord(letter) - 48
        if not 0 <= group < 64:
            raise ValueError(f"{name} has run lengths with the letter {letter!r}, which the format lacks")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError(f"{name} has run lengths that end in the middle of a number; the file is cut short")
    return runs


def _checked_polygon(polygon: Any, shape: tuple[int, int], name: str) -> Float64[np.ndarray, "_"]:
    flat = np.asarray(polygon, dtype=np.float64)
    if flat.ndim != 1 or flat.size < 6 or flat.size % 2 or not np.isfinite(flat).all():
        raise ValueError(f"{name} has a polygon of {flat.size} numbers; expected x, y of at least three points")
    farthest = _FARTHEST * max(shape)  # pycocotools takes memory for each pixel of the outline
    if np.abs(flat).max() > farthest:
        raise ValueError(
            f"{name} has a polygon with the coordinate {flat[np.abs(flat).argmax()]:g}, its image is "
            f"{shape[0]} x {shape[1]}; expected pixels, at most {farthest} from its origin"
        )
    return flat


def _cropped(mask: Bool[np.ndarray, "y x"]) -> _Piece:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return 0, 0, mask[:0, :0]
    piece = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return int(rows[0]), int(columns[0]), piece
