"""Which true and predicted objects belong together: by majority, by IoU threshold, by the best total weight.

SciPy's graphs are imported where they are needed: they take longer to import than everything else here, and the
`dinocell` command imports this package to show its help.
"""

from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Int64, Num

from dinocell_eval.overlap.pair_table import PairTable


def majority_match(table: PairTable) -> Int64[np.ndarray, "truth"]:
    """Predicted object that covers more than half of each true object, -1 where there is none.

    The rule of the Cell Tracking Challenge: `2 * intersection > area of truth`, strictly, no IoU. A true object has
    at most one match; one predicted object may match several.
    """
    match = np.full(table.num_truth, -1, np.int64)
    majority = 2 * table.intersection > table.truth_area[table.pair_truth]
    match[table.pair_truth[majority]] = table.pair_predicted[majority]
    return match


def exact_threshold(threshold: float | Fraction) -> Fraction:
    """An IoU threshold as the fraction that was meant: k/20 for a float within 1e-6 of it, else its decimals.

    `numpy.arange(.5, 1, .05)` holds 0.6000000000000001, and a comparison with that misses an IoU of exactly 3/5.
    Raises ValueError outside (0, 1].
    """
    if isinstance(threshold, Fraction):
        exact = threshold
    elif not np.isfinite(threshold):
        exact = Fraction(0)
    else:
        twentieths = round(20 * float(threshold))
        near = abs(20 * float(threshold) - twentieths) < 1e-6
        exact = Fraction(twentieths, 20) if near else Fraction(str(float(threshold)))
    if not 0 < exact <= 1:
        raise ValueError(f"IoU threshold {threshold} is outside (0, 1]; pass thresholds such as 0.5 and 0.75")
    return exact


def threshold_key(threshold: Fraction) -> str:
    """`0.50` for hundredths, all decimals otherwise: the end of a metric's name."""
    return f"{float(threshold):.2f}" if (100 * threshold).denominator == 1 else str(float(threshold))


def reaches(table: PairTable, threshold: Fraction) -> Bool[np.ndarray, "pair"]:
    """Whether each pair's IoU is at least the threshold, compared in integers: `q * I >= p * U` for p/q."""
    intersection, union = table.intersection, table.union
    if threshold.denominator * int(union.max(initial=0)) >= 2**63:
        intersection, union = intersection.astype(object), union.astype(object)
    return np.asarray(threshold.denominator * intersection >= threshold.numerator * union, bool)


def match_at(table: PairTable, threshold: Fraction) -> Int64[np.ndarray, "match"]:
    """Pairs of a largest one-to-one matching among the pairs with IoU >= threshold, as rows of the table.

    From 1/2 on, an object is in two such pairs only when it falls into two exact halves, each with IoU 1/2; the
    lower label is taken. Below 1/2 the number of pairs is the maximum; which ones is not specified.
    """
    kept = np.flatnonzero(reaches(table, threshold))
    truth, predicted = table.pair_truth[kept], table.pair_predicted[kept]
    if threshold >= Fraction(1, 2):
        return kept[_is_first(truth) & _is_first(predicted)]
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    edges = np.stack([truth, predicted]).astype(np.int32)  # SciPy before 1.15 matches no graph of 64-bit indices
    graph = csr_array((np.ones(kept.size, np.int8), edges), shape=(table.num_truth, table.num_predicted))
    partner = maximum_bipartite_matching(graph, perm_type="column")
    return kept[partner[truth] == predicted]


def heaviest_matching(table: PairTable, weight: Num[np.ndarray, "pair"]) -> Int64[np.ndarray, "match"]:
    """Pairs of a one-to-one matching with the greatest sum of weights, as rows of the table; weights are positive.

    A pair that weighs at least as much as the best alternatives of both its objects together is part of a
    heaviest matching (exchange them for it), so such pairs are taken first, again and again; in real images this
    leaves little. The rest is an assignment problem, solved image by image on sparse graphs (Jonker-Volgenant),
    because one component can hold thousands of cells and a dense matrix would not fit.
    """
    chosen = [np.zeros(0, np.int64)]
    rows = np.arange(weight.size)
    while rows.size:
        truth, predicted = table.pair_truth[rows], table.pair_predicted[rows]
        best_of_truth, rival_of_truth = _best_two(truth, weight[rows], table.num_truth)
        best_of_predicted, rival_of_predicted = _best_two(predicted, weight[rows], table.num_predicted)
        here = np.arange(rows.size)
        sure = (
            (best_of_truth[truth] == here)
            & (best_of_predicted[predicted] == here)
            & (weight[rows] >= rival_of_truth[truth] + rival_of_predicted[predicted])
        )
        if not sure.any():
            chosen.extend(
                _assign(table, rows[table.pair_image[rows] == image], weight)
                for image in np.unique(table.pair_image[rows])
            )
            break
        chosen.append(rows[sure])
        free_truth = np.ones(table.num_truth, bool)
        free_predicted = np.ones(table.num_predicted, bool)
        free_truth[truth[sure]] = False
        free_predicted[predicted[sure]] = False
        rows = rows[free_truth[truth] & free_predicted[predicted]]
    return np.sort(np.concatenate(chosen))


def _best_two(
    group: Int64[np.ndarray, "row"], weight: Num[np.ndarray, "row"], num_groups: int
) -> tuple[Int64[np.ndarray, "group"], Num[np.ndarray, "group"]]:
    """Each group's heaviest row (the first of equals) and the weight of its next one, 0 where there is none."""
    top = np.zeros(num_groups, weight.dtype)
    np.maximum.at(top, group, weight)
    at_top = np.flatnonzero(weight == top[group])[::-1]
    best = np.full(num_groups, -1, np.int64)
    best[group[at_top]] = at_top  # the last write wins, so the rows run backwards
    others = np.ones(weight.size, bool)
    others[best[group]] = False
    rival = np.zeros(num_groups, weight.dtype)
    np.maximum.at(rival, group[others], weight[others])
    return best, rival


def _assign(
    table: PairTable, rows: Int64[np.ndarray, "row"], weight: Num[np.ndarray, "pair"]
) -> Int64[np.ndarray, "match"]:
    """Heaviest matching of these pairs as a full assignment: every true object may also take a blank of its own.

    One more on every edge changes no comparison, since each true object takes exactly one, and keeps blanks from
    weighing 0, which a sparse graph would not store.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    truths, truth = np.unique(table.pair_truth[rows], return_inverse=True)
    predictions, predicted = np.unique(table.pair_predicted[rows], return_inverse=True)
    blank = np.arange(truths.size)
    gain = np.concatenate([weight[rows] + 1.0, np.ones(blank.size)])
    edges = np.stack([np.append(truth, blank), np.append(predicted, predictions.size + blank)])
    shape = (truths.size, predictions.size + truths.size)
    graph = csr_array((gain, edges.astype(np.int32)), shape=shape)  # 32 bits as in match_at
    left, right = min_weight_full_bipartite_matching(graph, maximize=True)
    partner = np.full(truths.size, -1, np.int64)
    partner[left] = right
    return rows[partner[truth] == predicted]


def _is_first(values: Int64[np.ndarray, "row"]) -> Bool[np.ndarray, "row"]:
    first = np.zeros(values.size, bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first
