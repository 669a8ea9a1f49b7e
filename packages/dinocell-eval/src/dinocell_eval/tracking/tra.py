"""AOGM, TRA and LNK of the Cell Tracking Challenge: how many operations would correct the tracks (Matula 2015).

A sequence is a graph. Its vertices are the objects of all frames; track edges join an object with the one of the same
label in the next frame; parental edges join a track's last object with the first object of each child, also over a gap
and also to a single child.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from dinocell_eval.metrics.det import MISSED_WEIGHT, SPLIT_WEIGHT, SPURIOUS_WEIGHT
from dinocell_eval.tracking.correspondence import Correspondence, Lineage

REDUNDANT_EDGE_WEIGHT = 1.0  # ED: an edge has to be deleted
MISSING_EDGE_WEIGHT = 1.5  # EA: an edge has to be added
WRONG_EDGE_WEIGHT = 1.0  # EC: a track edge should be parental, or the reverse


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges between objects, by the label and time of their later end; a track's parental edge comes first."""

    start: Int64[np.ndarray, "edge"]
    stop: Int64[np.ndarray, "edge"]
    parental: Bool[np.ndarray, "edge"]


@dataclass(frozen=True, eq=False)
class Corrections:
    """The operations that turn the result into the truth, one row each.

    Vertices are (frame, label), edges (frame, label, frame, label). `split` has a row for each missing split, so an
    object that matches m true ones is in it m - 1 times. `missed` and `missing` have the truth's labels, the others
    the result's. The edges are None without tracks.
    """

    split: Int64[np.ndarray, "ns 2"]
    missed: Int64[np.ndarray, "fn 2"]
    spurious: Int64[np.ndarray, "fp 2"]
    redundant: Int64[np.ndarray, "ed 4"] | None = None
    missing: Int64[np.ndarray, "ea 4"] | None = None
    wrong: Int64[np.ndarray, "ec 4"] | None = None


def edges(lineage: Lineage) -> Edges:
    """Track and parental edges of a sequence."""
    order, tracks = lineage.order, lineage.tracks
    earlier, later = order[:-1], order[1:]
    joined = (lineage.track[earlier] == lineage.track[later]) & (lineage.frame[later] == lineage.frame[earlier] + 1)
    child = np.flatnonzero(tracks.parent_row >= 0)
    parent = tracks.parent_row[child]
    last, first = lineage.find(parent, tracks.end[parent]), lineage.find(child, tracks.begin[child])
    there = (last >= 0) & (first >= 0)  # a result's track may lie behind the last frame
    start = np.concatenate([last[there], earlier[joined]])
    stop = np.concatenate([first[there], later[joined]])
    parental = np.arange(start.size) < there.sum()
    by_track = np.lexsort((lineage.frame[stop], lineage.track[stop]))
    return Edges(start[by_track], stop[by_track], parental[by_track])


def corrections(
    correspondence: Correspondence, lineages: tuple[Lineage, Lineage] | None
) -> tuple[Corrections, int | None]:
    """The operations, and the number of true edges; `lineages` are those of truth and result, None without tracks."""
    table = correspondence.table
    truth = np.stack([correspondence.truth_frame, table.truth_label], axis=1)
    result = np.stack([correspondence.predicted_frame, table.predicted_label], axis=1)
    split = np.repeat(result, np.maximum(correspondence.num_matches - 1, 0), axis=0)
    missed, spurious = truth[correspondence.match < 0], result[correspondence.num_matches == 0]
    if lineages is None:
        return Corrections(split, missed, spurious), None
    true_edges, result_edges = edges(lineages[0]), edges(lineages[1])
    redundant, missing, wrong = _wrong_edges(true_edges, result_edges, correspondence.truth_of_predicted)

    def ends(objects: Int64[np.ndarray, "object 2"], of: Edges, rows: Bool[np.ndarray, "edge"]) -> np.ndarray:
        return np.concatenate([objects[of.start[rows]], objects[of.stop[rows]]], axis=1)

    found = Corrections(
        split,
        missed,
        spurious,
        ends(result, result_edges, redundant),
        ends(truth, true_edges, missing),
        ends(result, result_edges, wrong),
    )
    return found, int(true_edges.start.size)


def aogm(found: Corrections) -> tuple[float, float | None]:
    """Cost of the operations on vertices, and on edges (None without tracks); AOGM is their sum."""
    vertices = (
        SPLIT_WEIGHT * len(found.split) + MISSED_WEIGHT * len(found.missed) + SPURIOUS_WEIGHT * len(found.spurious)
    )
    if found.redundant is None or found.missing is None or found.wrong is None:
        return float(vertices), None
    return float(vertices), (
        REDUNDANT_EDGE_WEIGHT * len(found.redundant)
        + MISSING_EDGE_WEIGHT * len(found.missing)
        + WRONG_EDGE_WEIGHT * len(found.wrong)
    )


def normalized(cost: float | None, cost_from_scratch: float | None) -> float | None:
    """1 - min(cost, cost_from_scratch) / cost_from_scratch: DET, TRA or LNK; None where there is nothing to build."""
    if cost is None or not cost_from_scratch:
        return None
    return (cost_from_scratch - min(cost, cost_from_scratch)) / cost_from_scratch


def _wrong_edges(
    truth: Edges, result: Edges, truth_of_predicted: Int64[np.ndarray, "predicted"]
) -> tuple[Bool[np.ndarray, "result_edge"], Bool[np.ndarray, "true_edge"], Bool[np.ndarray, "result_edge"]]:
    """Which result edges are redundant, which true edges are missing, which result edges are of the wrong kind.

    A result edge counts only if both of its ends match one true object each.
    """
    start, stop = truth_of_predicted[result.start], truth_of_predicted[result.stop]
    counts = (start >= 0) & (stop >= 0)
    stride = 1 + max(int(stop.max(initial=0)), int(truth.stop.max(initial=0)))
    true_key, key = truth.start * stride + truth.stop, start * stride + stop
    order = np.argsort(true_key)
    place = np.searchsorted(true_key[order], key)
    exists = counts & (np.append(true_key[order], -1)[place] == key)
    same = np.append(order, -1)[place]  # the true edge of each result edge that exists
    is_missing = np.ones(truth.start.size, bool)
    is_missing[same[exists]] = False
    wrong = exists.copy()
    wrong[exists] = truth.parental[same[exists]] != result.parental[exists]
    return counts & ~exists, is_missing, wrong
