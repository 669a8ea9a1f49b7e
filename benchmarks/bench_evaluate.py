"""Time to evaluate 50 images of 512 x 512 with 200 cells each, and single ones with 5000 and 20 000.

Timed: everything from two lists of int32 label images in memory to the numbers. `evaluate` computes all metrics and
error classes, without bootstrap intervals, which have a row of their own. It stands beside

- StarDist's `matching_dataset`: AP, precision, recall, F1 and PQ at the same ten thresholds;
- py-ctcmetrics: the matching that its SEG and DET need, once for each as in its `evaluate`, from arrays, not files;
- two plain versions of SEG, DET, AP at ten thresholds, PQ and AJI: one counts pairs with `numpy.unique` and
  `numpy.bincount`, the other fills dense matrices of all pairs and solves an assignment at every threshold.

Not timed: drawing the fields, reading files. All must give the same numbers. The peers are compared where they are
installed, in an environment without torch. Run it without the checks of shapes that the tests switch on:

    python -m pytest -o addopts=--import-mode=importlib --benchmark-timer=time.process_time benchmarks/bench_evaluate.py

Memory of one large image with touching square cells, as a process of its own (side of the image, cells a side):

    python benchmarks/bench_evaluate.py 4096 141
    python benchmarks/bench_evaluate.py 16384 1000
"""

import sys
from pathlib import Path
from time import process_time
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dinocell_eval import evaluate, per_image_values
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
    pooled = benchmark(lambda: evaluate(*fields, num_replicates=0).pooled)
    assert {name: pooled[name] for name in COMPARED} == expected


def test_evaluate_with_bootstrap_intervals(benchmark, fields, expected):
    pooled = benchmark(lambda: evaluate(*fields).pooled)
    assert {name: pooled[name] for name in COMPARED} == expected


def test_per_image_values_of_the_compared_metrics(benchmark, fields):
    values = benchmark(lambda: per_image_values(*fields, metrics=COMPARED))
    images = evaluate(*fields, num_replicates=0).per_image
    assert {name: values[name].tolist() for name in COMPARED} == {name: list(images[name]) for name in COMPARED}


def test_stardist_ap_at_ten_thresholds(benchmark, fields, expected):
    matching = pytest.importorskip("stardist.matching")
    thresholds = [k / 20 for k in TWENTIETHS]
    matching.matching(*[labels[0] for labels in fields])  # compiles
    found = benchmark.pedantic(
        lambda: matching.matching_dataset(*fields, thresh=thresholds, show_progress=False), rounds=3
    )
    assert [one.accuracy for one in found] == pytest.approx([expected[f"ap_{k / 20:.2f}"] for k in TWENTIETHS])


def test_py_ctcmetrics_seg_and_det(benchmark, fields, expected, monkeypatch):
    tools = pytest.importorskip("ctc_metrics.utils.representations")
    from ctc_metrics.metrics import seg

    frames = {}
    for number, pair in enumerate(zip(*fields, strict=True)):
        frames |= {f"{kind}{number}": labels.astype(np.uint16) for kind, labels in zip("gr", pair, strict=True)}
    # It adds an offset in place; a copy costs nothing beside the rest.
    monkeypatch.setattr(tools, "tiff", SimpleNamespace(imread=lambda name: frames[name].copy()))
    monkeypatch.setattr(tools, "os", SimpleNamespace(path=SimpleNamespace(exists=lambda name: True)))

    def matched():
        return [tools.match(f"g{number}", f"r{number}") for number in range(NUM_IMAGES)]

    found = benchmark.pedantic(lambda: (matched(), matched())[0], rounds=1)
    assert seg([one[0] for one in found], [one[4] for one in found]) == pytest.approx(expected["seg"])


def test_evaluate_a_large_image(benchmark, large_image):
    assert benchmark(lambda: evaluate(*large_image, num_replicates=0)).pooled["ap_0.50"] > 0.9


def test_stardist_on_a_large_image_at_one_threshold(benchmark, large_image):
    """About a minute and 11 GB for 20 000 cells; choose the smaller one with -k 2048."""
    matching = pytest.importorskip("stardist.matching")
    expected = evaluate(*large_image, num_replicates=0).pooled["ap_0.50"]
    found = benchmark.pedantic(lambda: matching.matching(large_image[0][0], large_image[1][0]), rounds=1)
    assert found.accuracy == pytest.approx(expected)


def test_only_the_overlap_of_evaluate(benchmark, fields):
    overlaps = benchmark(lambda: [label_overlap(truth, predicted) for truth, predicted in zip(*fields, strict=True)])
    assert sum(overlap.pixels.sum() for overlap in overlaps) == NUM_IMAGES * SIZE**2


def test_plain_unique_and_bincount(benchmark, fields, expected):
    found = benchmark.pedantic(lambda: summed(plain_unique, fields), rounds=3)
    assert found == pytest.approx(expected, abs=1e-12)


def test_dense_matrices_and_assignments(benchmark, fields, expected):
    found = benchmark.pedantic(lambda: summed(dense_assignments, fields), rounds=3)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.fixture(scope="module", params=[(2048, 70), (4096, 141)], ids=["2048", "4096"])
def large_image(request):
    truth, predicted = squares(*request.param)
    return [truth], [predicted]


def squares(size, cells):
    """Touching squares, and the same moved by two pixels with every hundredth lost."""
    pitch = size // cells
    line = np.arange(size, dtype=np.int32) // pitch
    inside = line < cells
    truth = np.where(inside[:, None] & inside[None], line[:, None] * cells + line[None] + 1, 0).astype(np.int32)
    predicted = np.roll(truth, 2, axis=1)
    predicted[predicted % 100 == 0] = 0
    return truth, predicted


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


def measure(size, cells):
    """CPU seconds of `evaluate` and the memory it takes beside the two int32 images (Linux)."""
    truth, predicted = squares(size, cells)
    evaluate([truth[:64, :64]], [predicted[:64, :64]])  # loads SciPy
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of the drawing
    before = peak_mib()
    start = process_time()
    result = evaluate([truth], [predicted])
    seconds = process_time() - start
    print(
        f"{size} x {size} px, {result.counts['n_truth']} cells: {seconds:.2f} s CPU, "
        f"images {truth.nbytes * 2 / 2**20:.0f} MiB, process {before:.0f} MiB before, {peak_mib():.0f} MiB at its peak"
    )


def peak_mib():
    """Peak of the resident memory of this process since it was forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    measure(int(sys.argv[1]), int(sys.argv[2]))
