"""Every tracking measure against plain code with sets and exact fractions, on random small sequences.

The sequences hold divisions, gaps, merged and split cells, missed and spurious ones, swapped labels, wrong, missing
and single-child parents, and empty frames.
"""

import math
from collections import Counter
from fractions import Fraction

import jaxtyping
import numpy as np
import pytest

from dinocell_eval.cases.random_sequences import random_sequence
from dinocell_eval.tracking.evaluate_tracking import evaluate_tracking


def plain_measures(truth_frames, truth_tracks, result_frames, result_tracks):
    """All measures from their definitions: vertices are (frame, label), pixels are sets."""
    truth, result = vertices(truth_frames), vertices(result_frames)
    match = {}
    for g, pixels in truth.items():
        for r, others in result.items():
            if g[0] == r[0] and 2 * len(pixels & others) > len(pixels):
                match[g] = r
    times = Counter(match.values())
    unique = {r: g for g, r in match.items() if times[r] == 1}
    ns = sum(m - 1 for m in times.values())
    fn, fp = len(truth) - len(match), len(result) - len(times)
    true_edges, edges = plain_edges(truth_tracks), plain_edges(result_tracks)
    mapped = {(unique[a], unique[b]): kind for (a, b), kind in edges.items() if a in unique and b in unique}
    ed = sum(edge not in true_edges for edge in mapped)
    ec = sum(edge in true_edges and true_edges[edge] != kind for edge, kind in mapped.items())
    ea = sum(edge not in mapped for edge in true_edges)
    vertex_cost, edge_cost = 5 * ns + 10 * fn + fp, ed + Fraction(3, 2) * ea + ec
    vertex_scratch, edge_scratch = 10 * len(truth), Fraction(3, 2) * len(true_edges)
    jaccards = [Fraction(len(truth[g] & result[r]), len(truth[g] | result[r])) for g, r in match.items()]
    ct = plain_ct(truth_tracks, result_tracks, unique)
    cca = plain_cca(truth_tracks, result_tracks)
    return {
        "ns": ns, "fn": fn, "fp": fp, "ed": ed, "ea": ea, "ec": ec,
        "aogm": vertex_cost + edge_cost,
        "seg": Fraction(sum(jaccards), len(truth)) if truth else None,
        "det": share_left(vertex_cost, vertex_scratch),
        "tra": share_left(vertex_cost + edge_cost, vertex_scratch + edge_scratch),
        "lnk": share_left(edge_cost, edge_scratch),
        "ct": ct,
        "tf": plain_tf(truth_tracks, result_tracks, unique, drop=True),
        "tf_stable": plain_tf(truth_tracks, result_tracks, unique, drop=False),
        "bc": tuple(plain_bc(truth_tracks, result_tracks, unique, i) for i in range(4)),
        "cca": cca,
        "chota": plain_chota(truth_tracks, result_tracks, truth, result, match),
    }  # fmt: skip


def vertices(frames):
    return {
        (t, int(label)): set(np.flatnonzero(frame == label).tolist())
        for t, frame in enumerate(frames)
        for label in np.unique(frame)
        if label
    }


def plain_edges(tracks):
    edges = {}
    by_label = {row[0]: row for row in tracks}
    for label, begin, end, parent in tracks:
        for t in range(begin, end):
            edges[(t, label), (t + 1, label)] = "track"
        if parent:
            edges[(by_label[parent][2], parent), (begin, label)] = "parent"
    return edges


def share_left(cost, scratch):
    return Fraction(scratch - min(cost, scratch), 1) / scratch if scratch else None


def plain_ct(truth_tracks, result_tracks, unique):
    if not truth_tracks:
        return None
    complete = sum(
        any(
            (begin, end) == (b, e) and all(unique.get((t, r)) == (t, g) for t in range(begin, end + 1))
            for r, b, e, _ in result_tracks
        )
        for g, begin, end, _ in truth_tracks
    )
    return Fraction(2 * complete, len(truth_tracks) + len(result_tracks))


def plain_tf(truth_tracks, result_tracks, unique, *, drop):
    best = dict.fromkeys((row[0] for row in truth_tracks), Fraction(0))
    for r, b, e, _ in sorted(result_tracks):
        for g, begin, end, _ in sorted(truth_tracks):
            if drop and best[g] == 1:
                continue
            run = longest = 0
            for t in range(b, e + 1):
                run = run + 1 if unique.get((t, r)) == (t, g) else 0
                longest = max(longest, run)
            best[g] = max(best[g], Fraction(longest, end - begin + 1))
            if drop and best[g] == 1:
                break
    found = [value for value in best.values() if value]
    return sum(found) / len(found) if found else None


def forks(tracks):
    families = {}
    for label, _, _, parent in sorted(tracks):
        families.setdefault(parent, []).append(label)
    return {parent: children for parent, children in families.items() if parent and len(children) > 1}


def plain_bc(truth_tracks, result_tracks, unique, i):
    true_forks, found_forks = forks(truth_tracks), forks(result_tracks)
    if not true_forks:
        return None
    begin = [{row[0]: row[1] for row in tracks} for tracks in (truth_tracks, result_tracks)]
    end = [{row[0]: row[2] for row in tracks} for tracks in (truth_tracks, result_tracks)]

    def same(g, r, times, at):
        t = at(times[0][g], times[1][r])
        return abs(times[0][g] - times[1][r]) <= i and unique.get((t, r)) == (t, g)

    used, correct = set(), 0
    for r, children in sorted(found_forks.items()):
        for g, true_children in sorted(true_forks.items()):
            if g in used or len(children) != len(true_children) or not same(g, r, end, min):
                continue
            if all(any(same(a, b, begin, max) for b in children) for a in true_children):
                used.add(g)
                correct += 1
                break
    return Fraction(2 * correct, len(true_forks) + len(found_forks))


def plain_cca(truth_tracks, result_tracks):
    def lengths(tracks):
        dividing = forks(tracks)
        return [end - begin + 1 for label, begin, end, parent in tracks if label in dividing and parent in dividing]

    true, found = lengths(truth_tracks), lengths(result_tracks)
    if not true or not found:
        return None if not true else 0
    return 1 - max(
        abs(Fraction(sum(x <= n for x in true), len(true)) - Fraction(sum(x <= n for x in found), len(found)))
        for n in range(max(true + found) + 1)
    )


def relatives(tracks):
    parent = {row[0]: row[3] for row in tracks}

    def ancestors(label):
        return [] if not parent[label] else [parent[label], *ancestors(parent[label])]

    related = {label: {label} for label in parent}
    for label in parent:
        for above in ancestors(label):
            related[label].add(above)
            related[above].add(label)
    return related


def plain_chota(truth_tracks, result_tracks, truth, result, match):
    pairs = Counter((g[1], r[1]) for g, r in match.items())
    missed = Counter(g[1] for g in truth if g not in match)
    spurious = Counter(r[1] for r in result if r not in set(match.values()))
    total = sum(pairs.values()) + sum(missed.values()) + sum(spurious.values())
    if not total:
        return None
    of_truth, of_result = relatives(truth_tracks), relatives(result_tracks)
    summed = Fraction(0)
    for (a, b), n in pairs.items():
        tpa = sum(m for (g, r), m in pairs.items() if g in of_truth[a] and r in of_result[b])
        of_a = sum(m for (g, _), m in pairs.items() if g in of_truth[a]) + sum(missed[g] for g in of_truth[a])
        of_b = sum(m for (_, r), m in pairs.items() if r in of_result[b]) + sum(spurious[r] for r in of_result[b])
        summed += n * Fraction(tpa, of_a + of_b - tpa)
    return math.sqrt(summed / total)


def approximately(value):
    if isinstance(value, tuple):
        return tuple(map(approximately, value))
    return None if value is None else pytest.approx(float(value), abs=1e-12)


@pytest.fixture
def unchecked():
    """Without the checks of shapes, which take far longer than the measures of a small sequence."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_random_sequences_have_the_measures_of_plain_code_and_arrays_of_the_declared_shapes():
    assert_equal_measures(range(40))


def test_a_thousand_random_sequences_have_the_measures_of_plain_code(unchecked):
    assert_equal_measures(range(40, 1040))


def assert_equal_measures(seeds):
    for seed in seeds:
        case = random_sequence(seed)
        sequence = (case.truth_frames, case.truth_tracks, case.result_frames, case.result_tracks)
        found = evaluate_tracking(*sequence)
        for name, expected in plain_measures(*sequence).items():
            assert getattr(found, name) == approximately(expected), f"{name} of sequence {seed}"
        assert_corrections_are_counted(found)
        assert_means_of_measures(found)


def assert_corrections_are_counted(found):
    lists = [
        getattr(found.corrections, name) for name in ("split", "missed", "spurious", "redundant", "missing", "wrong")
    ]
    assert [len(rows) for rows in lists] == [found.ns, found.fn, found.fp, found.ed, found.ea, found.ec]


def assert_means_of_measures(found):
    def mean(values):
        return None if None in values else pytest.approx(sum(values) / len(values), abs=1e-12)

    assert found.op_csb == mean([found.seg, found.det])
    assert found.op_ctb == mean([found.seg, found.tra])
    for bc, bio, op_clb in zip(found.bc, found.bio, found.op_clb, strict=True):
        defined = [value for value in (found.ct, found.tf, bc, found.cca) if value is not None]
        assert bio == (mean(defined) if defined else None)
        assert op_clb == mean([found.lnk, bio])


def test_the_random_sequences_hold_what_they_should():
    seen = Counter()
    for seed in range(1000):
        case = random_sequence(seed)
        truth_frames, truth_tracks = case.truth_frames, case.truth_tracks
        measures = plain_measures(truth_frames, truth_tracks, case.result_frames, case.result_tracks)
        seen.update(name for name in ("ns", "fn", "fp", "ed", "ea", "ec") if measures[name])
        seen["division"] += bool(forks(truth_tracks))
        seen["between"] += 0 < (measures["bc"][1] or 0) < 1
        seen["late division"] += measures["bc"][0] != measures["bc"][2]
        seen["cycle"] += measures["cca"] not in (None, 0, 1)
        seen["numbering"] += measures["tf"] != measures["tf_stable"]
        seen["gap"] += any(t[0] != t2 - 1 for (t, (t2, _)) in plain_edges(truth_tracks))
        seen["single child"] += any(n == 1 for n in Counter(row[3] for row in truth_tracks if row[3]).values())
        seen["empty frame"] += any(not frame.any() for frame in truth_frames)
        seen["single frame"] += len(truth_frames) == 1
    wanted = {"ns", "fn", "fp", "ed", "ea", "ec", "division", "between", "late division", "cycle", "numbering", "gap",
              "single child", "empty frame", "single frame"}  # fmt: skip
    assert {name for name in wanted if seen[name] < 3} == set(), seen


@pytest.mark.parametrize("seed", range(40))
def test_renumbering_the_tracks_changes_no_measure_but_the_official_tf(seed, unchecked):
    case = random_sequence(seed)
    found = evaluate_tracking(case.truth_frames, case.truth_tracks, case.result_frames, case.result_tracks)
    generator = np.random.default_rng(seed)

    def renumbered(frames, tracks):
        most = 1 + max((row[0] for row in tracks), default=0)
        name = np.append(0, 1 + generator.permutation(3 * most))
        rows = [(int(name[a]), b, e, int(name[p])) for a, b, e, p in tracks]
        return [name[frame] for frame in frames], [rows[k] for k in generator.permutation(len(rows))]

    other = evaluate_tracking(
        *renumbered(case.truth_frames, case.truth_tracks), *renumbered(case.result_frames, case.result_tracks)
    )
    for name in (
        "seg",
        "det",
        "tra",
        "lnk",
        "aogm",
        "ns",
        "fn",
        "fp",
        "ed",
        "ea",
        "ec",
        "ct",
        "tf_stable",
        "cca",
        "chota",
    ):
        assert getattr(other, name) == approximately(getattr(found, name)), name


def test_the_plain_code_itself_can_fail():
    frames = [np.array([[1, 1]]), np.array([[1, 1]])]
    assert plain_measures(frames, [(1, 0, 1, 0)], frames, [(1, 0, 1, 0)])["tra"] == 1
    assert plain_measures(frames, [(1, 0, 1, 0)], [frames[0], 0 * frames[0]], [(1, 0, 0, 0)])["tra"] < 1
