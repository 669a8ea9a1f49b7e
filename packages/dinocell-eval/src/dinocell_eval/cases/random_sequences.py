"""Random small sequences with every kind of mistake, to compare implementations of tracking measures.

They hold divisions, gaps, merged and split cells, missed and spurious ones, swapped labels, wrong, missing and
single-child parents, and frames without object. The tracks are consistent with the frames.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np
from jaxtyping import Int64

from dinocell_eval.cases.tracking_cases import TrackingCase
from dinocell_eval.tracking.tracks import Row

_SLOTS, _SLOT_WIDTH = 5, 4  # a frame is a row of places for cells
_Grid = Int64[np.ndarray, "frame slot"]


def random_sequence(seed: int) -> TrackingCase:
    """A truth of one to seven frames and a result that is made from it by random mistakes."""
    generator = np.random.default_rng(seed)
    truth, parents = _random_truth(generator)
    result = _with_mistakes(truth, generator)
    true_tracks, truth = _consistent(truth, parents, generator, wrong_parents=0.0)
    result_tracks, result = _consistent(result, parents, generator, wrong_parents=float(generator.choice([0.0, 0.3])))
    if generator.random() < 0.1:  # no true object from some frame on
        truth[int(generator.integers(len(truth))) :] = 0
        true_tracks, truth = _consistent(truth, {}, generator, wrong_parents=0.5)
    return TrackingCase(
        _painted(truth, generator, most_shift=0), true_tracks, _painted(result, generator, most_shift=2), result_tracks
    )


def _random_truth(generator: np.random.Generator) -> tuple[_Grid, dict[int, int]]:
    """Labels by frame and slot, and parents of the cells that are born of or are another one."""
    truth = np.zeros((int(generator.integers(1, 8)), _SLOTS), np.int64)
    parents: dict[int, int] = {}
    free = 1
    for slot in range(_SLOTS):
        if generator.random() < 0.5:
            truth[0, slot], free = free, free + 1
    for frame, slot in product(range(1, len(truth)), range(_SLOTS)):
        label, fate = int(truth[frame - 1, slot]), generator.random()
        if label == 0:
            lost = [int(other) for other in np.unique(truth[:frame]) if other and other not in truth[frame - 1 :]]
            if lost and fate < 0.4:
                parents[free] = int(generator.choice(lost))  # found again after a gap
            if fate < (0.4 if lost else 0.1):
                truth[frame, slot], free = free, free + 1
            continue
        places = [other for other in range(_SLOTS) if not truth[frame, other] and not truth[frame - 1, other]]
        if fate < 0.2 and places:
            for place in (slot, int(generator.choice(places))):
                parents[free] = label
                truth[frame, place], free = free, free + 1
        elif fate < 0.9:
            truth[frame, slot] = label
    return truth, parents


def _with_mistakes(truth: _Grid, generator: np.random.Generator) -> _Grid:
    result, free = truth.copy(), int(truth.max()) + 1
    for frame, slot in product(range(len(result)), range(_SLOTS)):
        fate = generator.random()
        if fate < 0.06:
            result[frame, slot] = 0
        elif fate < 0.12:
            result[frame, slot] = result[frame, slot - 1]  # merged, or found twice
        elif fate < 0.16:
            one, other = generator.choice(np.arange(1, free + 1), 2).tolist()
            later = result[frame:].copy()
            result[frame:][later == one], result[frame:][later == other] = other, one
        elif fate < 0.2:
            result[frame, slot] = free + int(generator.integers(0, 2))
    return result


def _consistent(
    grid: _Grid, parents: Mapping[int, int], generator: np.random.Generator, *, wrong_parents: float
) -> tuple[tuple[Row, ...], _Grid]:
    """Tracks without holes whose parents end before they begin, and their labels, which are in no order."""
    out = np.zeros_like(grid)
    rows: list[list[int]] = [[-1, -1, 0]]  # begin, end, parent of each new label; 0 is background
    newest: dict[int, int] = {}
    for frame, labels in enumerate(grid):
        for label in np.unique(labels[labels > 0]).tolist():
            if frame == 0 or label not in grid[frame - 1]:
                before = newest.get(label) or newest.get(parents.get(label, 0)) or 0
                newest[label] = len(rows)
                rows.append([frame, frame, before])
            rows[newest[label]][1] = frame
            out[frame, labels == label] = newest[label]
    for row in rows[1:]:
        ended = [label for label, (_, end, _) in enumerate(rows) if label and end < row[0]]
        if generator.random() < wrong_parents:
            row[2] = int(generator.choice([0, *ended]))
        elif row[2] not in ended:
            row[2] = 0
    names = np.append(0, generator.permutation(np.arange(1, 2 * len(rows))))
    tracks = [(int(names[label]), begin, end, int(names[parent])) for label, (begin, end, parent) in enumerate(rows)]
    return tuple(tracks[1:]), names[out]


def _painted(grid: _Grid, generator: np.random.Generator, *, most_shift: int) -> tuple[Int64[np.ndarray, "y x"], ...]:
    """Each slot as an interval, some of them shifted, so that true objects are covered completely, half or less."""
    frames = np.zeros((len(grid), 1, _SLOTS * _SLOT_WIDTH + 2), np.int64)
    for frame, slot in product(range(len(grid)), range(_SLOTS)):
        if grid[frame, slot]:
            shift = int(generator.integers(0, most_shift + 1)) * int(generator.random() < 0.4)
            start = slot * _SLOT_WIDTH + shift
            row = frames[frame, 0, start : start + _SLOT_WIDTH]
            row[row == 0] = grid[frame, slot]
    return tuple(frames)
