"""Time to evaluate 50 images of 512 x 512 with 200 cells each.

Timed: everything from two lists of int32 label images in memory to the numbers. `evaluate` computes all metrics, error
classes and bootstrap intervals. The plain versions compute only SEG, DET, AP at ten thresholds, PQ and AJI, so the
comparison favours them: one counts pairs with `numpy.unique` and `numpy.bincount`, the other fills dense matrices of
all pairs and solves an assignment at every threshold, as StarDist does. Not timed: drawing the fields, reading files.
All three must give the same numbers. Run it without the checks of shapes that the tests switch on:

    python -m pytest -o addopts=--import-mode=importlib benchmarks/bench_evaluate.py
"""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dinocell_eval import evaluate
from dinocell_kernels import label_overlap

NUM_IMAGES, SIZE, NUM_CELLS = 50, 512, 200
TWENTIETHS = range(10, 20)
COMPARED = ("seg", "det", "pq", "aji", *(f"ap_{k / 20:.2f}" for k in TWENTIETHS))


def draw_field(seed):
    """Discs, and the same discs a little moved and resized, some lost, some merged."""
    generator = np.random.default_rng(seed)
    truth, predicted = np.zeros((2, SIZE, SIZE), np.int32)
    y, x = np.mgrid[:SIZE, :SIZE]
    for label in range(1, NUM_CELLS + 1):
        cy, cx = generator.integers(0, SIZE, 2)
        radius = generator.integers(8, 18)
        window = np.s_[max(0, cy - 25) : cy + 25, max(0, cx - 25) : cx + 25]
        distance = (y[window] - cy) ** 2 + (x[window] - cx) ** 2
        truth[window][distance < radius**2] = label
        moved = (y[window] - cy - generator.integers(-3, 4)) ** 2 + (x[window] - cx) ** 2
        fate = generator.random()
        if fate > 0.05:
            predicted[window][moved < (radius + generator.integers(-2, 3)) ** 2] = max(1, label - (fate > 0.95))
    return truth, predicted


@pytest.fixture(scope="module")
def fields():
    truths, predictions = zip(*(draw_field(seed) for seed in range(NUM_IMAGES)), strict=True)
    return list(truths), list(predictions)


@pytest.fixture(scope="module")
def expected(fields):
    pooled = evaluate(*fields).pooled
    return {name: pooled[name] for name in COMPARED}


def test_evaluate(benchmark, fields, expected):
    pooled = benchmark(lambda: evaluate(*fields).pooled)
    assert {name: pooled[name] for name in COMPARED} == expected


def test_only_the_overlap_of_evaluate(benchmark, fields):
    overlaps = benchmark(lambda: [label_overlap(truth, predicted) for truth, predicted in zip(*fields, strict=True)])
    assert sum(overlap.pixels.sum() for overlap in overlaps) == NUM_IMAGES * SIZE**2


def test_plain_unique_and_bincount(benchmark, fields, expected):
    found = benchmark.pedantic(lambda: summed(plain_unique, fields), rounds=3)
    assert found == pytest.approx(expected, abs=1e-12)


def test_dense_matrices_and_assignments(benchmark, fields, expected):
    found = benchmark.pedantic(lambda: summed(dense_assignments, fields), rounds=3)
    assert found == pytest.approx(expected, abs=1e-12)


def summed(count, fields):
    """Pooled metrics from the counts of single images."""
    rows = [count(truth, predicted) for truth, predicted in zip(*fields, strict=True)]
    total = {name: sum(row[name] for row in rows) for name in rows[0]}
    n, m = total["n"], total["m"]
    cost = 5 * total["ns"] + 10 * total["fn"] + total["fp"]
    pooled = {
        "seg": total["jaccard"] / n,
        "det": 1 - min(cost, 10 * n) / (10 * n),
        "pq": 2 * total["pq_iou"] / (n + m),
        "aji": total["aji_i"] / total["aji_u"],
    }
    for k in TWENTIETHS:
        hits = total[f"tp_{k}"]
        pooled[f"ap_{k / 20:.2f}"] = hits / (n + m - hits)
    return pooled


def plain_unique(truth, predicted):
    """Pairs by `numpy.unique` of a joint number, areas by `numpy.bincount`."""
    width = int(predicted.max()) + 1
    joint, shared = np.unique(truth.ravel().astype(np.int64) * width + predicted.ravel(), return_counts=True)
    g, r = joint // width, joint % width
    area_g, area_r = np.bincount(g, weights=shared), np.bincount(r, weights=shared)
    objects_g, objects_r = (area_g[1:] > 0).sum(), (area_r[1:] > 0).sum()
    cell = (g > 0) & (r > 0)
    g, r, shared = g[cell], r[cell], shared[cell]
    union = area_g[g] + area_r[r] - shared
    iou = shared / union
    major = 2 * shared > area_g[g]
    matches = np.bincount(r[major], minlength=width)
    order = np.lexsort((r, -iou, g))
    best = order[np.unique(g[order], return_index=True)[1]]
    free_g, free_r = area_g.copy(), area_r.copy()
    free_g[[0, *g[best]]], free_r[[0, *r[best]]] = 0, 0
    counts = {
        "n": int(objects_g),
        "m": int(objects_r),
        "jaccard": iou[major].sum(),
        "ns": int(np.maximum(matches - 1, 0).sum()),
        "fn": int(objects_g - major.sum()),
        "fp": int(((area_r > 0) & (matches == 0))[1:].sum()),
        "pq_iou": iou[2 * shared > union].sum(),
        "aji_i": shared[best].sum(),
        "aji_u": union[best].sum() + free_g.sum() + free_r.sum(),
    }
    for k in TWENTIETHS:
        hit = 20 * shared >= k * union
        counts[f"tp_{k}"] = min(np.unique(g[hit]).size, np.unique(r[hit]).size)
    return counts


def dense_assignments(truth, predicted):
    """Consecutive labels, a dense overlap matrix, and one linear assignment at every threshold."""
    names_g, g = np.unique(truth, return_inverse=True)
    names_r, r = np.unique(predicted, return_inverse=True)
    overlap = np.zeros((names_g.size, names_r.size), np.int64)
    np.add.at(overlap, (g.ravel(), r.ravel()), 1)
    area_g, area_r = overlap.sum(1)[1:], overlap.sum(0)[1:]
    overlap = overlap[1:, 1:]
    union = area_g[:, None] + area_r[None, :] - overlap
    iou = overlap / union
    major = 2 * overlap > area_g[:, None]
    touched = iou.any(1)
    best = (np.flatnonzero(touched), iou.argmax(1)[touched])
    used = np.zeros(area_r.size, bool)
    used[best[1]] = True
    matches = major.sum(0)
    counts = {
        "n": area_g.size,
        "m": area_r.size,
        "jaccard": iou[major].sum(),
        "ns": int(np.maximum(matches - 1, 0).sum()),
        "fn": int((~major.any(1)).sum()),
        "fp": int((matches == 0).sum()),
        "pq_iou": iou[2 * overlap > union].sum(),
        "aji_i": overlap[best].sum(),
        "aji_u": union[best].sum() + area_g[~touched].sum() + area_r[~used].sum(),
    }
    for k in TWENTIETHS:
        hit = 20 * overlap >= k * union
        rows, columns = linear_sum_assignment(-hit.astype(float) - iou / (2 * min(iou.shape)))
        counts[f"tp_{k}"] = int(hit[rows, columns].sum())
    return counts
