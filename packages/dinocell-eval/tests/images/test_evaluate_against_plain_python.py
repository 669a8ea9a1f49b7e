"""Every metric against slow code in exact fractions that shares nothing with the package."""

from collections import Counter
from fractions import Fraction as F
from functools import cache, cached_property

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dinocell_eval import evaluate

THRESHOLDS = [F(k, 20) for k in (3, 6, 8, *range(10, 20))]
NAMES = [f"{float(t):.2f}" for t in THRESHOLDS]


class PlainPair:
    """One image, its pixels counted in dictionaries."""

    def __init__(self, truth, predicted):
        pixels = Counter(zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True))
        self.truth, self.predicted, self.shared = Counter(), Counter(), {}
        for (g, r), n in pixels.items():
            if g:
                self.truth[g] += n
            if r:
                self.predicted[r] += n
            if g and r:
                self.shared[g, r] = n
        self.iou = {(g, r): F(n, self.truth[g] + self.predicted[r] - n) for (g, r), n in self.shared.items()}

    def match(self, g):
        return next((r for (h, r), n in self.shared.items() if h == g and 2 * n > self.truth[g]), None)

    @cached_property
    def matchings(self):
        """Every one-to-one matching as a tuple of pairs."""
        truths = sorted(self.truth)

        def extend(position, used):
            if position == len(truths):
                yield ()
                return
            g = truths[position]
            yield from extend(position + 1, used)
            for r in self.predicted:
                if (g, r) in self.shared and r not in used:
                    for rest in extend(position + 1, used | {r}):
                        yield ((g, r), *rest)

        return list(extend(0, frozenset()))

    def union_of_pair(self, g, r):
        return self.truth[g] + self.predicted[r] - self.shared[g, r]

    def aggregate(self, pairs):
        """C and U of AJI."""
        used_g, used_r = {g for g, _ in pairs}, {r for _, r in pairs}
        union = sum(self.union_of_pair(g, r) for g, r in pairs)
        union += sum(n for g, n in self.truth.items() if g not in used_g)
        union += sum(n for r, n in self.predicted.items() if r not in used_r)
        return F(sum(self.shared[pair] for pair in pairs)), F(union)

    @cached_property
    def sums(self):
        matches = {g: self.match(g) for g in self.truth}
        used = Counter(r for r in matches.values() if r is not None)
        best = [
            (g, min((-iou, r) for (h, r), iou in self.iou.items() if h == g)[1])
            for g in self.truth
            if any(h == g for h, _ in self.iou)
        ]
        sums = {
            "n": F(len(self.truth)),
            "m": F(len(self.predicted)),
            "j": sum((self.iou[g, r] for g, r in matches.items() if r is not None), F(0)),
            "ns": F(sum(n - 1 for n in used.values())),
            "fn": F(sum(r is None for r in matches.values())),
            "fp": F(sum(r not in used for r in self.predicted)),
            "pq_tp": F(sum(iou > F(1, 2) for iou in self.iou.values())),
            "pq_iou": sum((iou for iou in self.iou.values() if iou > F(1, 2)), F(0)),
            "a": F(sum(self.truth.values())),
            "b": F(sum(self.predicted.values())),
            "i": F(sum(self.shared.values())),
            "difference": F(abs(len(self.truth) - len(self.predicted))),
        }
        sums["aji_c"], sums["aji_u"] = self.aggregate(best)
        matchings = self.matchings
        sums["mma"] = F(max(sum(self.shared[pair] for pair in pairs) for pairs in matchings))
        for threshold, name in zip(THRESHOLDS, NAMES, strict=True):
            hits = max(len(pairs) for pairs in matchings if all(self.iou[p] >= threshold for p in pairs))
            sums[f"tp_{name}"] = F(hits)
        return sums

    def aji_plus(self):
        """C and U of every assignment with the greatest sum of IoU."""
        scored = [(sum((self.iou[p] for p in pairs), F(0)), pairs) for pairs in self.matchings]
        top = max(score for score, _ in scored)
        return {self.aggregate(pairs) for score, pairs in scored if score == top}


def quotient(a, b):
    return None if b == 0 else F(a) / F(b)


def plain_metrics(s):
    both = s["n"] + s["m"]
    metrics = {
        "seg": quotient(s["j"], s["n"]),
        "det": quotient(max(10 * s["n"] - 5 * s["ns"] - 10 * s["fn"] - s["fp"], F(0)), 10 * s["n"]),
        "pq": quotient(s["pq_iou"], s["pq_tp"] + (s["m"] - s["pq_tp"]) / 2 + (s["n"] - s["pq_tp"]) / 2),
        "sq": quotient(s["pq_iou"], s["pq_tp"]),
        "rq": quotient(s["pq_tp"], both / 2),
        "aji": quotient(s["aji_c"], s["aji_u"]),
        "mma": quotient(s["mma"], s["a"] + s["b"] - s["i"]),
        "dice": quotient(2 * s["i"], s["a"] + s["b"]),
        "foreground_iou": quotient(s["i"], s["a"] + s["b"] - s["i"]),
        "count_ratio": quotient(s["m"], s["n"]),
        "count_error": quotient(s["difference"], s["n"]),
        "ns": s["ns"],
        "fn": s["fn"],
        "fp": s["fp"],
        "n_truth": s["n"],
        "n_predicted": s["m"],
    }
    metrics["op_csb"] = None if s["n"] == 0 else (metrics["seg"] + metrics["det"]) / 2
    for name in NAMES:
        hits = s[f"tp_{name}"]
        metrics[f"ap_{name}"] = quotient(hits, both - hits)
        metrics[f"precision_{name}"] = quotient(hits, s["m"])
        metrics[f"recall_{name}"] = quotient(hits, s["n"])
        metrics[f"f1_{name}"] = quotient(2 * hits, both)
    coco = [metrics[f"ap_{k / 20:.2f}"] for k in range(10, 20)]
    metrics["ap_mean"] = None if both == 0 else sum(coco[:-1]) / 9
    metrics["ap_mean_50_95"] = None if both == 0 else sum(coco) / 10
    return metrics


def same(found, expected):
    if expected is None or found is None:
        return found is expected
    return abs(found - float(expected)) <= 1e-12


def random_pair(generator):
    """Small images of many kinds: noise, blocks, and predictions that disturb the truth."""
    height, width = generator.integers(1, 7, 2)
    labels = generator.integers(0, generator.integers(1, 6), (height, width))
    if generator.random() < 0.5:
        labels = labels.repeat(2, axis=0).repeat(3, axis=1)
    kind = generator.integers(4)
    if kind == 0:
        predicted = generator.integers(0, generator.integers(1, 6), labels.shape)
    elif kind == 1:
        predicted = np.roll(labels, generator.integers(0, 3), axis=generator.integers(2))
    elif kind == 2:
        predicted = generator.integers(0, 6, 6)[labels]
    else:
        predicted = np.where(generator.random(labels.shape) < 0.2, generator.integers(0, 5, labels.shape), labels)
    return labels, predicted


@cache
def random_set(number=3000):
    """Random pairs, each with the plain counts."""
    generator = np.random.default_rng(7)
    pairs = [random_pair(generator) for _ in range(number)]
    return pairs, [PlainPair(*pair) for pair in pairs]


@cache
def random_evaluation():
    pairs, plain = random_set()
    truths, predictions = zip(*pairs, strict=True)
    return evaluate(truths, predictions, iou_thresholds=THRESHOLDS), plain


def test_the_random_set_holds_the_hard_cases():
    _, plain = random_set()
    assert sum(not p.truth and not p.predicted for p in plain) > 20
    assert sum(not p.truth and bool(p.predicted) for p in plain) > 20
    assert sum(any(iou == F(1, 2) for iou in p.iou.values()) for p in plain) > 100
    assert sum(any(iou == F(3, 5) for iou in p.iou.values()) for p in plain) > 30
    assert sum(len(p.shared) > 8 for p in plain) > 100


def test_every_metric_of_each_of_thousands_of_images_equals_plain_python():
    result, plain = random_evaluation()
    for number, image in enumerate(plain):
        for name, expected in plain_metrics(image.sums).items():
            assert same(result.per_image[name][number], expected), (number, name)


def test_aji_plus_of_each_image_is_that_of_a_best_assignment():
    result, plain = random_evaluation()
    for number, image in enumerate(plain):
        allowed = {quotient(c, u) for c, u in image.aji_plus()}
        assert any(same(result.per_image["aji_plus"][number], value) for value in allowed), number


def test_every_pooled_metric_equals_plain_python():
    result, plain = random_evaluation()
    sums = Counter()
    for image in plain:
        for key, value in image.sums.items():
            sums[key] += value
    for name, expected in plain_metrics(sums).items():
        assert same(result.pooled[name], expected), name


def test_per_image_means_leave_out_undefined_images():
    result, plain = random_evaluation()
    values = [plain_metrics(image.sums) for image in plain]
    for name in ("seg", "det", "ap_0.50", "pq", "sq", "aji", "mma", "dice", "count_error"):
        defined = [value[name] for value in values if value[name] is not None]
        assert len(defined) < len(values)
        assert result.per_image_mean[name] == pytest.approx(float(sum(defined) / len(defined)), abs=1e-12)


def test_pooled_aji_plus_adds_the_areas_of_all_images():
    pairs, plain = random_set()
    unique = [
        (pair, next(iter(best)))
        for pair, image in zip(pairs[:600], plain, strict=False)
        if len(best := image.aji_plus()) == 1
    ]
    result = evaluate([pair[0] for pair, _ in unique], [pair[1] for pair, _ in unique])
    assert same(result.pooled["aji_plus"], quotient(sum(c for _, (c, _) in unique), sum(u for _, (_, u) in unique)))


@given(
    labels=arrays(np.int64, (2, 4, 5), elements=st.integers(0, 4)),
    names=st.lists(st.integers(1, 2**62), min_size=4, max_size=4, unique=True),
)
@settings(max_examples=60, deadline=None)
def test_any_small_image_with_any_labels_equals_plain_python(labels, names):
    truth, predicted = labels[0], np.array([0, *names])[labels[1]]
    image = PlainPair(truth, predicted)
    result = evaluate([truth], [predicted], iou_thresholds=THRESHOLDS)
    for name, expected in plain_metrics(image.sums).items():
        assert same(result.pooled[name], expected), name
