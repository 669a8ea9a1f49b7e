"""BC(i) of the Cell Tracking Challenge: how many divisions are found, with a tolerance of i frames."""

import numpy as np

from dinocell_eval.tracking.correspondence import Correspondence, Lineage


def bc(correspondence: Correspondence, truth: Lineage, result: Lineage, *, tolerance: int) -> float | None:
    """BC(i) = 2 correct / (true + result divisions), i the tolerance in frames; None without true divisions.

    A division is a track with two children or more. One is correct if the other has as many children, the parents
    end at most i frames apart and match at the last frame they share, and each true child has a result child that
    begins at most i frames apart and matches it at the first frame they share; matches are one-to-one. Every division
    counts once, in ascending order of labels.
    """
    if not truth.tracks.is_fork.any():
        return None
    free = truth.tracks.is_fork.copy()
    correct = 0
    for parent in np.flatnonzero(result.tracks.is_fork).tolist():
        children = result.tracks.children(parent)
        for true_parent in _matching_parents(correspondence, truth, result, parent, tolerance):
            true_children = truth.tracks.children(true_parent)
            if (
                free[true_parent]
                and len(true_children) == len(children)
                and all(
                    any(_children_match(correspondence, truth, result, true, child, tolerance) for child in children)
                    for true in true_children
                )
            ):
                free[true_parent] = False
                correct += 1
                break
    return 2 * correct / (int(truth.tracks.is_fork.sum()) + int(result.tracks.is_fork.sum()))


def _matching_parents(
    correspondence: Correspondence, truth: Lineage, result: Lineage, parent: int, tolerance: int
) -> list[int]:
    """True divisions whose parent ends about when this one does and matches it in the last frame they share."""
    end = int(result.tracks.end[parent])
    frames = np.arange(end - tolerance, end + 1)
    objects = result.find(np.full(frames.size, parent), frames)
    matched = np.append(correspondence.truth_of_predicted, -1)[objects]
    found = set()
    for frame, true in zip(frames[matched >= 0].tolist(), truth.track[matched[matched >= 0]].tolist(), strict=True):
        true_end = int(truth.tracks.end[true])
        if truth.tracks.is_fork[true] and abs(true_end - end) <= tolerance and min(true_end, end) == frame:
            found.add(true)
    return sorted(found)


def _children_match(
    correspondence: Correspondence, truth: Lineage, result: Lineage, true: int, child: int, tolerance: int
) -> bool:
    begin, true_begin = int(result.tracks.begin[child]), int(truth.tracks.begin[true])
    if abs(begin - true_begin) > tolerance:
        return False
    frame = np.array([max(begin, true_begin)])
    (mine,) = result.find(np.array([child]), frame).tolist()
    (theirs,) = truth.find(np.array([true]), frame).tolist()
    return mine >= 0 and theirs >= 0 and int(correspondence.truth_of_predicted[mine]) == theirs
