"""CCA of the Cell Tracking Challenge: how well the lengths of cell cycles are recovered."""

import numpy as np
from jaxtyping import Int64

from dinocell_eval.tracking.tracks import Tracks


def cca(truth: Tracks, result: Tracks) -> float | None:
    """1 - the greatest difference of the cumulative distributions of cycle lengths, in frames.

    A complete cycle is a track that begins and ends with a division. None without one in the truth, 0 if only the
    result lacks one. Where the cycles are does not count, only how long they are.
    """
    true_lengths, lengths = _cycle_lengths(truth), _cycle_lengths(result)
    if true_lengths.size == 0:
        return None
    if lengths.size == 0:
        return 0.0
    at = np.union1d(true_lengths, lengths)
    # over the common denominator, so that equal distributions differ by exactly 0
    difference = (
        np.searchsorted(true_lengths, at, side="right") * lengths.size
        - np.searchsorted(lengths, at, side="right") * true_lengths.size
    )
    whole = true_lengths.size * lengths.size
    return (whole - int(np.abs(difference).max())) / whole


def _cycle_lengths(tracks: Tracks) -> Int64[np.ndarray, "cycle"]:
    born_of_fork = np.append(tracks.is_fork, False)[tracks.parent_row]
    cycle = tracks.is_fork & born_of_fork
    return np.sort(tracks.end[cycle] - tracks.begin[cycle] + 1)
