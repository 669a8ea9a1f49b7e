"""CHOTA, the HOTA of dividing cells: detection and the association of complete lineages in one number (Kaiser 2024)."""

from math import fsum, sqrt
from typing import Any

import numpy as np

from dinocell_eval.tracking.correspondence import Correspondence, Lineage
from dinocell_eval.tracking.tracks import Tracks


def chota(correspondence: Correspondence, truth: Lineage, result: Lineage) -> float | None:
    """sqrt(sum of M[a, b] A[a, b] / (TP + FN + FP)); None if truth and result have no object.

    M[a, b] counts the matches of true track a with result track b. A[a, b] is their association: of all matches and
    unmatched objects of a, b and all their ancestors and descendants, the share that are matches between the two. Here
    a match is not one-to-one: an object that matches m true ones makes m matches.
    """
    match = correspondence.match
    matched = np.flatnonzero(match >= 0)
    missed = np.bincount(truth.track[match < 0], minlength=truth.tracks.num_tracks)
    spurious = np.bincount(result.track[correspondence.num_matches == 0], minlength=result.tracks.num_tracks)
    total = int(matched.size + missed.sum() + spurious.sum())
    if total == 0:
        return None
    if matched.size == 0:
        return 0.0

    from scipy.sparse import csr_array

    pairs = (truth.track[matched], result.track[match[matched]])
    shape = (truth.tracks.num_tracks, result.tracks.num_tracks)
    matches = csr_array((np.ones(matched.size, np.int64), pairs), shape=shape)
    matches.sum_duplicates()
    related_truth, related_result = _relations(truth.tracks), _relations(result.tracks)
    of_truth = related_truth @ (matches.sum(axis=1) + missed)
    of_result = related_result @ (matches.sum(axis=0) + spurious)
    shared = (related_truth @ matches @ related_result.T).tocsr()

    found = matches.tocoo()
    a, b = found.coords
    both = np.asarray(shared[a, b]).ravel()
    association = both / (of_truth[a] + of_result[b] - both)
    return sqrt(fsum((found.data * association).tolist()) / total)


def _relations(tracks: Tracks) -> Any:
    """Square matrix, 1 where two tracks are the same, or one is an ancestor of the other."""
    from scipy.sparse import csr_array

    parent = np.append(tracks.parent_row, -1)
    descendant = np.arange(tracks.num_tracks)
    ancestor = descendant
    rows, columns = [descendant], [descendant]
    while True:
        ancestor = parent[ancestor]
        descendant, ancestor = descendant[ancestor >= 0], ancestor[ancestor >= 0]
        if ancestor.size == 0:
            break
        rows += [descendant, ancestor]
        columns += [ancestor, descendant]
    row, column = np.concatenate(rows), np.concatenate(columns)
    return csr_array((np.ones(row.size, np.int64), (row, column)), shape=(tracks.num_tracks, tracks.num_tracks))
