"""What must not change the numbers."""

import numpy as np
import pytest

from dinocell_eval import evaluate
from dinocell_eval.overlap.statistics import sum_by_image


def test_sums_over_objects_are_correctly_rounded():
    values = np.array([1.0, 2**-53, 2**-53, 1.0, 0.5])
    assert sum_by_image(values, np.array([0, 0, 0, 2, 2]), 3).tolist() == [1 + 2**-52, 0, 1.5]


def shuffled(labels, seed, *, gap=7):
    """The same objects under other, scattered numbers."""
    names = np.random.default_rng(seed).permutation(np.arange(1, labels.max() + 1)) * gap
    return np.concatenate([[0], names])[labels]


def without(values, *names):
    return {name: value for name, value in values.items() if name not in names}


def test_flips_transposes_and_memory_order_change_nothing(fields):
    truths, predictions = fields
    expected = evaluate(truths, predictions)
    for turn in (np.flipud, np.fliplr, np.transpose, np.asfortranarray, np.rot90):
        found = evaluate([turn(t) for t in truths], [turn(p) for p in predictions])
        assert found.per_image == expected.per_image
        assert found.pooled == expected.pooled
        assert found.intervals == expected.intervals


def test_the_order_of_images_changes_no_pooled_value(fields):
    truths, predictions = fields
    expected = evaluate(truths, predictions)
    order = np.random.default_rng(0).permutation(len(truths)).tolist()
    found = evaluate([truths[i] for i in order], [predictions[i] for i in order])
    assert found.pooled == expected.pooled
    assert found.counts == expected.counts
    assert found.per_image["pq"] == tuple(expected.per_image["pq"][i] for i in order)


def test_numbering_changes_nothing_but_ties_of_aji(fields):
    truths, predictions = fields
    expected = evaluate(truths, predictions)
    found = evaluate([shuffled(t, 1) for t in truths], [shuffled(p, 2) for p in predictions])
    assert without(found.pooled, "aji", "aji_plus") == without(expected.pooled, "aji", "aji_plus")
    assert found.pooled["aji"] == pytest.approx(expected.pooled["aji"], abs=0.01)
    assert found.counts == expected.counts


def test_spreading_labels_in_the_same_order_changes_nothing_at_all(fields):
    truths, predictions = fields
    expected = evaluate(truths, predictions)
    found = evaluate([t.astype(np.int64) * 10**12 for t in truths], [p * 3 for p in predictions])
    assert found.per_image == expected.per_image
    assert found.objects.error_class.tolist() == expected.objects.error_class.tolist()


def test_enlarging_every_pixel_changes_no_ratio(fields):
    truths, predictions = fields
    expected = evaluate(truths, predictions)
    found = evaluate([t.repeat(2, 0).repeat(3, 1) for t in truths], [p.repeat(2, 0).repeat(3, 1) for p in predictions])
    assert found.pooled == expected.pooled


def test_exchanging_truth_and_prediction_exchanges_precision_and_recall(fields):
    truths, predictions = fields
    there, back = evaluate(truths, predictions).pooled, evaluate(predictions, truths).pooled
    assert there["precision_0.50"] == back["recall_0.50"]
    assert there["precision_0.50"] != there["recall_0.50"], "test invalid"
    for name in ("ap_0.50", "ap_0.75", "f1_0.50", "pq", "sq", "rq", "mma", "dice", "foreground_iou"):
        assert there[name] == back[name]


def test_no_number_is_ever_nan_or_infinite(fields):
    result = evaluate(*fields)
    for values in (result.pooled.values(), result.per_image_mean.values(), *result.per_image.values()):
        assert all(value is None or np.isfinite(value) for value in values)
