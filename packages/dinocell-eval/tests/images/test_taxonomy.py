"""Every object has one class, and the classes add up."""

import numpy as np
import pytest

from dinocell_eval import evaluate
from dinocell_eval.cases.image_cases import CASES, drawn
from dinocell_eval.images.taxonomy import PREDICTED_CLASSES, TRUTH_CLASSES

EXPECTED = {
    "perfect_cell": (["correct"], ["correct"]),
    "perfect_cells_without_background": (["correct"] * 2, ["correct"] * 2),
    "perfect_disconnected_cell": (["correct"], ["correct"]),
    "labels_above_16_bits": (["correct"] * 2, ["correct"] * 2),
    "missed_cell": (["correct", "missed"], ["correct"]),
    "spurious_cell": (["correct"], ["correct", "spurious"]),
    "merged_cells": (["merged"] * 3, ["merging"]),
    "split_cell": (["correct"], ["correct", "fragment"]),
    "cell_in_exact_halves": (["correct"], ["correct", "fragment"]),
    "exact_halves_as_one_cell": (["correct", "merged"], ["correct"]),
    "cell_with_iou_of_three_fifths": (["correct"], ["correct"]),
    "moved_border_without_background": (["correct"] * 2, ["correct"] * 2),
    "shattered_cell": (["split"], ["fragment"] * 2),
    "shrunken_cell": (["missed"], ["other"]),
    "blown_up_cell": (["poorly outlined"], ["poorly outlined"]),
    "greedy_matching_fails": (["merged"] * 2, ["merging", "fragment"]),
    "more_spurious_cells_than_det_counts": (["correct"], ["correct"] + ["spurious"] * 11),
    "both_empty": ([], []),
    "truth_empty": ([], ["spurious"]),
    "prediction_empty": (["missed"], []),
}


def classes(truth, predicted):
    objects = evaluate([truth], [predicted]).objects
    return tuple(objects.error_class[objects.kind == kind].tolist() for kind in ("truth", "predicted"))


@pytest.mark.parametrize("name", CASES)
def test_classes_of_the_case(name):
    assert classes(CASES[name].truth, CASES[name].predicted) == EXPECTED[name]


def test_a_cell_with_two_specks_in_it_is_split_and_with_one_speck_missed():
    assert classes(drawn("1111111111"), drawn("..1...2...")) == (["split"], ["fragment", "fragment"])
    assert classes(drawn("1111111111"), drawn("..1.......")) == (["missed"], ["other"])


def test_a_prediction_half_on_background_is_other_and_more_than_half_spurious():
    assert classes(drawn("1111111..."), drawn("......11..")) == (["missed"], ["other"])
    assert classes(drawn("1111111..."), drawn("......111.")) == (["missed"], ["spurious"])


def test_a_cell_covered_to_exactly_half_without_majority_is_split_and_to_less_missed():
    half, less = drawn("1111111111....."), drawn("11111111111....")
    assert classes(half, drawn(".....1111111111")) == (["split"], ["other"])
    assert classes(less, drawn("......111111111")) == (["missed"], ["other"])


def test_a_matched_cell_with_iou_below_one_half_is_poorly_outlined():
    assert classes(drawn("111111...."), drawn("..11111111")) == (["poorly outlined"], ["poorly outlined"])
    assert classes(drawn("111111..."), drawn("..1111...")) == (["correct"], ["correct"])


def test_one_of_two_merged_cells_can_be_correct():
    assert classes(drawn("11111122"), drawn("11111111")) == (["correct", "merged"], ["correct"])


def test_columns_of_the_objects_of_a_drawn_pair():
    result = evaluate([drawn("1111.22.3")], [drawn("555..6666")], names=["field"])
    objects = result.objects
    assert len(objects) == 5
    rows = zip(
        objects.kind.tolist(), objects.label.tolist(), objects.area.tolist(), objects.matched_label.tolist(),
        objects.iou.tolist(), objects.jaccard.tolist(), objects.error_class.tolist(), strict=True,
    )  # fmt: skip
    assert list(rows) == [
        ("truth", 1, 4, 5, 3 / 4, 3 / 4, "correct"),
        ("truth", 2, 2, 6, 1 / 2, 1 / 2, "correct"),
        ("truth", 3, 1, 6, 1 / 4, 1 / 4, "merged"),
        ("predicted", 5, 3, 1, 3 / 4, 3 / 4, "correct"),
        ("predicted", 6, 4, 2, 1 / 2, 1 / 2, "correct"),
    ]
    assert objects.image.tolist() == [0] * 5


def test_an_unmatched_object_keeps_its_iou_but_has_no_match_and_no_jaccard():
    objects = evaluate([drawn("11111111")], [drawn("..111...")]).objects
    assert objects.matched_label.tolist() == [0, 0]
    assert objects.iou.tolist() == [3 / 8, 3 / 8]
    assert objects.jaccard.tolist() == [0, 0]


def test_classes_sum_to_the_numbers_of_objects_and_give_ns_fn_fp_and_seg(fields):
    result = evaluate(*fields)
    counts, objects = result.counts, result.objects
    assert sum(counts[f"truth_{c.replace(' ', '_')}"] for c in TRUTH_CLASSES) == counts["n_truth"]
    assert sum(counts[f"predicted_{c.replace(' ', '_')}"] for c in PREDICTED_CLASSES) == counts["n_predicted"]
    assert counts["truth_correct"] == counts["predicted_correct"] == counts["tp_0.50"]

    truth, predicted = objects.kind == "truth", objects.kind == "predicted"
    matched = truth & (objects.matched_label > 0)
    assert (truth & ~matched).sum() == counts["fn"]
    assert (predicted & (objects.matched_label == 0)).sum() == counts["fp"]
    used = set(zip(objects.image[matched].tolist(), objects.matched_label[matched].tolist(), strict=True))
    assert matched.sum() - len(used) == counts["ns"]
    assert objects.jaccard[truth].mean() == pytest.approx(result.pooled["seg"], abs=1e-13)
    assert min(counts[f"truth_{c.replace(' ', '_')}"] for c in TRUTH_CLASSES) > 0, "test invalid"
    assert counts["predicted_merging"] > 0, "test invalid"


def test_classes_sum_on_noise_where_every_rule_meets_every_other():
    generator = np.random.default_rng(1)
    truths = [generator.integers(0, generator.integers(2, 9), (5, 6)) for _ in range(500)]
    predictions = [generator.integers(0, generator.integers(2, 9), (5, 6)) for _ in range(500)]
    result = evaluate(truths, predictions)
    for kind, names, total in (
        ("truth", TRUTH_CLASSES, "n_truth"),
        ("predicted", PREDICTED_CLASSES, "n_predicted"),
    ):
        found = [result.counts[f"{kind}_{name.replace(' ', '_')}"] for name in names]
        assert sum(found) == result.counts[total]
        assert min(found) > 0, "test invalid"
    objects = result.objects
    spurious = objects.error_class == "spurious"
    assert not objects.matched_label[spurious].any()
    poor = objects.error_class == "poorly outlined"
    assert (objects.jaccard[poor & (objects.kind == "truth")] < 0.5).all()
    assert (objects.matched_label[poor] > 0).all()
    missed = objects.error_class == "missed"
    assert not objects.matched_label[missed].any()
