"""The separate pieces of label images: they distinguish binary masks from labels, and can become labels."""

import warnings
from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer

from dinocell_io.plural import counted, listed

_WHITE = (255, 65535)  # what programs write for "foreground" in 8 and in 16 bits
_SIZEABLE = 0.1  # of the largest piece of its number; smaller ones are stray pixels of a cell
_PIECES_OF_A_CLASS = 3  # a cell may lie in two pieces, before and behind another one


class BinaryMaskWarning(UserWarning):
    """Some label images look like binary masks: all cells have one number."""


def binary_mask_sign(labels: Integer[np.ndarray, "y x"]) -> str | None:
    """Why `labels` look like a mask without a number for each cell, or None if they look like labels or are empty.

    The signs: the only number is 255 or 65535, or lies in several separate pieces; or half of the numbers lie in
    three pieces or more each, as in masks of classes, in masks that were smoothed when resized, and in pictures.
    """
    numbers, areas = _pieces(labels)[1:]
    if not numbers.size:
        return None
    different, index = np.unique(numbers, return_inverse=True)
    largest = np.zeros(len(different), areas.dtype)
    np.maximum.at(largest, index, areas)
    num_pieces = np.bincount(index[areas >= _SIZEABLE * largest[index]])
    if len(different) > 1:
        is_class = np.median(num_pieces) >= _PIECES_OF_A_CLASS
        return f"its {len(different)} numbers lie in {num_pieces.sum()} separate pieces" if is_class else None
    if num_pieces[0] > 1:
        return f"its only number, {different[0]}, lies in {num_pieces[0]} separate pieces"
    return f"its only number is {different[0]}" if different[0] in _WHITE else None


def refuse_binary_masks(masks: Iterable[tuple[str, Integer[np.ndarray, "y x"]]]) -> None:
    """Raise ValueError if all label images of a data set that hold cells, given with their names, look like binary
    masks; warn (BinaryMaskWarning) if only some do.
    """
    signs = {name: binary_mask_sign(labels) for name, labels in masks if labels.any()}
    found = [f"{name} ({sign})" for name, sign in signs.items() if sign]
    if not found:
        return
    expected = (
        "expected a number of its own for each cell; export label images, or make each separate piece a cell with "
        "'dinocell data split-pieces' (cells that touch become one)"
    )
    if len(found) == len(signs):
        raise ValueError(f"the masks look binary: {listed(found, 5)}; {expected}")
    warnings.warn(
        f"{counted(len(found), 'mask')} of {len(signs)} look binary: {listed(found, 5)}; {expected}",
        BinaryMaskWarning,
        stacklevel=2,
    )


def split_pieces(labels: Integer[np.ndarray, "y x"]) -> Int32[np.ndarray, "y x"]:
    """Each connected piece (over edges and corners) of each number as a label of its own, 1..n by its first pixel."""
    return _pieces(labels)[0]


def _pieces(
    labels: Integer[np.ndarray, "y x"],
) -> tuple[Int32[np.ndarray, "y x"], Integer[np.ndarray, " piece"], Int64[np.ndarray, " piece"]]:
    """The pieces numbered 1..n by their first pixel; their numbers in `labels` and their areas."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    starts = np.ones(labels.shape, bool)  # of runs of one number in a row: what is joined are runs
    np.not_equal(labels[:, 1:], labels[:, :-1], out=starts[:, 1:])
    run = np.cumsum(starts, dtype=np.int64).reshape(labels.shape) - 1
    number = labels[starts]
    above, below = (np.concatenate(ends) for ends in zip(*_touching(labels, starts, run), strict=True))
    graph = coo_array((np.ones(len(above), bool), (above, below)), shape=(len(number), len(number)))
    component = connected_components(graph, directed=False)[1]
    cells = np.flatnonzero(number)
    _, first, piece_of_cell = np.unique(component[cells], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1, dtype=np.int32)
    piece = np.zeros(len(number), np.int32)
    piece[cells] = rank[piece_of_cell]
    length = np.bincount(run.ravel(), minlength=len(number))
    areas = np.bincount(piece, weights=length, minlength=len(first) + 1)[1:].astype(np.int64)
    return piece[run], number[cells[np.sort(first)]], areas


def _touching(
    labels: Integer[np.ndarray, "y x"], starts: Bool[np.ndarray, "y x"], run: Int64[np.ndarray, "y x"]
) -> Iterable[tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"]]]:
    """Pairs of runs of one number that touch, one above the other, over an edge and over either corner."""
    sides = [
        (np.s_[:-1, :], np.s_[1:, :], starts[:-1] | starts[1:]),
        (np.s_[:-1, :-1], np.s_[1:, 1:], starts[1:, 1:]),
        (np.s_[:-1, 1:], np.s_[1:, :-1], starts[:-1, 1:]),
    ]
    for above, below, is_first in sides:
        touching = is_first & (labels[above] != 0) & (labels[above] == labels[below])
        yield run[above][touching], run[below][touching]
