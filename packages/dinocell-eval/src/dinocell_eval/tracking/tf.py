"""TF of the Cell Tracking Challenge: how much of the tracks that are found is followed without a break."""

from fractions import Fraction
from math import fsum

import numpy as np

from dinocell_eval.tracking.correspondence import Correspondence, Lineage


def tf(
    correspondence: Correspondence, truth: Lineage, result: Lineage, *, each_result_completes_one: bool = True
) -> float | None:
    """Mean over the true tracks that are found of the longest followed part; None if none is found.

    A part is a run of consecutive frames in which one result track matches the track's object and no other, over the
    length of the true track. Officially, result tracks are taken by ascending label and one that completes a true track
    is dropped, so that it counts for none with a higher label: renumbering changes the value.
    `each_result_completes_one=False` is stable: every result track counts for all true tracks.
    """
    length = (truth.tracks.end - truth.tracks.begin + 1).tolist()
    followed: dict[int, int] = {}
    finished = -1  # the result track that has just completed a true track
    for predicted, true, frames in _longest_runs(correspondence, truth, result):
        if each_result_completes_one and (predicted == finished or followed.get(true, 0) == length[true]):
            continue
        followed[true] = max(followed.get(true, 0), frames)
        if followed[true] == length[true]:
            finished = predicted
    fractions = [float(Fraction(frames, length[true])) for true, frames in followed.items()]
    return fsum(fractions) / len(fractions) if fractions else None


def _longest_runs(correspondence: Correspondence, truth: Lineage, result: Lineage) -> list[list[int]]:
    """(result track, true track, frames) for all pairs of tracks that match somewhere, in ascending order."""
    matched = np.flatnonzero(correspondence.predicted_of_truth >= 0)
    true = truth.track[matched]
    predicted = result.track[correspondence.predicted_of_truth[matched]]
    frame = truth.frame[matched]
    order = np.lexsort((frame, true, predicted))
    true, predicted, frame = true[order], predicted[order], frame[order]
    breaks = (np.diff(predicted) != 0) | (np.diff(true) != 0) | (np.diff(frame) != 1)
    first = np.flatnonzero(np.append(True, breaks)) if order.size else np.zeros(0, np.int64)
    runs = np.diff(np.append(first, order.size))
    pairs, pair = np.unique(np.stack([predicted[first], true[first]]), axis=1, return_inverse=True)
    longest = np.zeros(pairs.shape[1], np.int64)
    np.maximum.at(longest, pair.ravel(), runs)
    return np.column_stack([pairs[0], pairs[1], longest]).tolist()
