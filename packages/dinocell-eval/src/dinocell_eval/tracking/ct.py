"""CT of the Cell Tracking Challenge: the share of tracks that are found from beginning to end."""

import numpy as np

from dinocell_eval.tracking.correspondence import Correspondence, Lineage


def ct(correspondence: Correspondence, truth: Lineage, result: Lineage) -> float | None:
    """CT = 2 complete / (true + result tracks); None without true tracks.

    A true track is complete if one result track begins and ends with it and, in every frame between, matches its
    object and no other.
    """
    if truth.tracks.num_tracks == 0:
        return None
    matched = np.flatnonzero(correspondence.predicted_of_truth >= 0)
    pairs = np.stack([truth.track[matched], result.track[correspondence.predicted_of_truth[matched]]])
    (a, b), frames = np.unique(pairs, axis=1, return_counts=True)
    same = (truth.tracks.begin[a] == result.tracks.begin[b]) & (truth.tracks.end[a] == result.tracks.end[b])
    complete = same & (frames == truth.tracks.end[a] - truth.tracks.begin[a] + 1)
    return 2 * int(complete.sum()) / (truth.tracks.num_tracks + result.tracks.num_tracks)
