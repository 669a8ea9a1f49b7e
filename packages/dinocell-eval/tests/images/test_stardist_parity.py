"""Against stardist.matching on random fields, where its numbers are right (installed separately, else skipped)."""

import numpy as np
import pytest

from dinocell_eval import evaluate

matching = pytest.importorskip("stardist.matching", reason="stardist is not installed")

THRESHOLDS = [0.3, 0.5, 0.55, 0.6, 0.75, 0.8, 0.9, 0.95]


@pytest.fixture(scope="module")
def nonempty(fields):
    truths, predictions = fields
    return truths[:-1], predictions[:-1]  # stardist gives 0 to an image that is empty on both sides


def test_accuracy_precision_recall_and_f1_are_the_same_pooled_and_per_image(nonempty):
    result = evaluate(*nonempty, iou_thresholds=THRESHOLDS)
    names = {"accuracy": "ap", "precision": "precision", "recall": "recall", "f1": "f1"}
    for threshold in THRESHOLDS:
        theirs = matching.matching_dataset(*nonempty, thresh=threshold, show_progress=False)
        single = [matching.matching(t, p, thresh=threshold) for t, p in zip(*nonempty, strict=True)]
        for name, ours in names.items():
            key = f"{ours}_{threshold:.2f}"
            assert result.pooled[key] == pytest.approx(getattr(theirs, name)), key
            assert list(result.per_image[key]) == pytest.approx([getattr(one, name) for one in single]), key


def test_the_protocol_stardist_gives_its_numbers(nonempty):
    ours = evaluate(*nonempty, protocol="stardist").protocol.values
    pooled = matching.matching_dataset(*nonempty, thresh=0.5, show_progress=False)
    by_image = matching.matching_dataset(*nonempty, thresh=0.5, by_image=True, show_progress=False)
    assert ours["accuracy@.50"] == pytest.approx(pooled.accuracy)
    assert ours["precision@.50"] == pytest.approx(pooled.precision)
    assert ours["recall@.50"] == pytest.approx(pooled.recall)
    assert ours["panoptic_quality@.50"] == pytest.approx(pooled.panoptic_quality)
    assert ours["accuracy@.50, by image"] == pytest.approx(by_image.accuracy)


def test_an_image_empty_on_both_sides_counts_as_zero_by_image():
    empty, labels = np.zeros((4, 4), np.int32), np.ones((4, 4), np.int32)
    ours = evaluate([empty, labels], [empty, labels], protocol="stardist").protocol.values
    theirs = matching.matching_dataset([empty, labels], [empty, labels], by_image=True, show_progress=False)
    assert ours["accuracy@.50, by image"] == pytest.approx(theirs.accuracy) == 0.5
