"""Every metric on every drawn case, against fractions computed by hand."""

from fractions import Fraction as F

import pytest

from dinocell_eval import evaluate
from dinocell_eval.cases.image_cases import CASES

COLUMNS = [
    "seg", "det", "ap_0.50", "pq", "sq", "rq", "aji", "aji_plus", "mma", "dice", "foreground_iou", "count_error",
    "ns", "fn", "fp", "n_truth", "n_predicted",
]  # fmt: skip
PERFECT = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]

EXPECTED = {
    "perfect_cell": [*PERFECT, 1, 1],
    "perfect_cells_without_background": [*PERFECT, 2, 2],
    "perfect_disconnected_cell": [*PERFECT, 1, 1],
    "labels_above_16_bits": [*PERFECT, 2, 2],
    "missed_cell": [F(1, 2), F(1, 2), F(1, 2), F(2, 3), 1, F(2, 3), F(1, 2), F(1, 2), F(1, 2), F(2, 3), F(1, 2),
                    F(1, 2), 0, 1, 0, 2, 1],
    "spurious_cell": [1, F(9, 10), F(1, 2), F(2, 3), 1, F(2, 3), F(1, 2), F(1, 2), F(1, 2), F(2, 3), F(1, 2),
                      1, 0, 0, 1, 1, 2],
    "merged_cells": [F(1, 3), F(2, 3), 0, 0, None, 0, F(1, 3), F(1, 5), F(1, 3), 1, 1, F(2, 3), 2, 0, 0, 3, 1],
    "split_cell": [F(5, 8), F(9, 10), F(1, 2), F(5, 12), F(5, 8), F(2, 3), F(5, 11), F(5, 11), F(5, 8), 1, 1,
                   1, 0, 0, 1, 1, 2],
    "cell_in_exact_halves": [0, 0, F(1, 2), 0, None, 0, F(1, 3), F(1, 3), F(1, 2), 1, 1, 1, 0, 1, 2, 1, 2],
    "exact_halves_as_one_cell": [F(1, 2), F(3, 4), F(1, 2), 0, None, 0, F(1, 2), F(1, 3), F(1, 2), 1, 1,
                                 F(1, 2), 1, 0, 0, 2, 1],
    "cell_with_iou_of_three_fifths": [F(3, 5), 1, 1, F(3, 5), F(3, 5), 1, F(3, 5), F(3, 5), F(3, 5), F(3, 4),
                                      F(3, 5), 0, 0, 0, 0, 1, 1],
    "moved_border_without_background": [F(2, 3), 1, 1, F(2, 3), F(2, 3), 1, F(2, 3), F(2, 3), F(4, 5), 1, 1,
                                        0, 0, 0, 0, 2, 2],
    "shattered_cell": [0, 0, 0, 0, None, 0, F(1, 4), F(1, 4), F(1, 3), F(4, 5), F(2, 3), 1, 0, 1, 2, 1, 2],
    "shrunken_cell": [0, 0, 0, 0, None, 0, F(3, 8), F(3, 8), F(3, 8), F(6, 11), F(3, 8), 0, 0, 1, 1, 1, 1],
    "blown_up_cell": [F(1, 5), 1, 0, 0, None, 0, F(1, 5), F(1, 5), F(1, 5), F(1, 3), F(1, 5), 0, 0, 0, 0, 1, 1],
    "greedy_matching_fails": [F(97, 234), F(7, 10), 0, 0, None, 0, F(4, 9), F(4, 9), F(8, 13), 1, 1, 0,
                              1, 0, 1, 2, 2],
    "more_spurious_cells_than_det_counts": [1, 0, F(1, 12), F(2, 13), 1, F(2, 13), F(1, 12), F(1, 12), F(1, 12),
                                            F(2, 13), F(1, 12), 11, 0, 0, 11, 1, 12],
    "both_empty": [None, None, None, None, None, None, None, None, None, None, None, None, 0, 0, 0, 0, 0],
    "truth_empty": [None, None, 0, 0, None, 0, 0, 0, 0, 0, 0, None, 0, 0, 1, 0, 1],
    "prediction_empty": [0, 0, 0, 0, None, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0],
}  # fmt: skip


def test_every_case_has_expected_values():
    assert EXPECTED.keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_metrics_of_the_case_are_those_computed_by_hand(name):
    case = CASES[name]
    pooled = evaluate([case.truth], [case.predicted]).pooled
    for column, expected in zip(COLUMNS, EXPECTED[name], strict=True):
        assert pooled[column] == (None if expected is None else pytest.approx(float(expected), abs=1e-15)), column


@pytest.mark.parametrize("name", CASES)
def test_op_csb_is_the_mean_of_seg_and_det_or_undefined_with_them(name):
    seg, det = EXPECTED[name][:2]
    expected = None if seg is None else pytest.approx(float(F(seg) + F(det)) / 2, abs=1e-15)
    case = CASES[name]
    assert evaluate([case.truth], [case.predicted]).pooled["op_csb"] == expected


def test_all_cases_together_pool_by_adding_before_dividing():
    cases = list(CASES.values())
    pooled = evaluate([case.truth for case in cases], [case.predicted for case in cases]).pooled
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in EXPECTED.values()]
    ns, fn, fp, n_truth, n_predicted = (sum(row[k] for row in rows) for k in COLUMNS[-5:])
    assert [pooled[k] for k in COLUMNS[-5:]] == [ns, fn, fp, n_truth, n_predicted]
    sum_jaccard = sum(F(row["seg"] or 0) * row["n_truth"] for row in rows)
    assert pooled["seg"] == pytest.approx(float(sum_jaccard / n_truth), abs=1e-15)
    assert pooled["det"] == pytest.approx(float(1 - F(5 * ns + 10 * fn + fp, 10 * n_truth)), abs=1e-15)
    sum_iou = sum(F(row["pq"] or 0) * F(row["n_truth"] + row["n_predicted"], 2) for row in rows)
    assert pooled["pq"] == pytest.approx(float(2 * sum_iou / (n_truth + n_predicted)), abs=1e-15)


def test_an_iou_of_exactly_three_fifths_counts_at_0_60_and_not_above():
    case = CASES["cell_with_iou_of_three_fifths"]
    pooled = evaluate([case.truth], [case.predicted]).pooled
    assert pooled["ap_0.60"] == 1
    assert pooled["ap_0.65"] == 0
    assert pooled["ap_mean"] == pytest.approx(3 / 9)
    assert pooled["ap_mean_50_95"] == pytest.approx(3 / 10)


def test_the_cap_of_det_holds_once_for_the_set_when_pooled():
    capped, missed = CASES["more_spurious_cells_than_det_counts"], CASES["missed_cell"]
    result = evaluate([capped.truth, missed.truth], [capped.predicted, missed.predicted])
    assert result.per_image["det"] == (0.0, 0.5)
    assert result.pooled["det"] == pytest.approx(float(1 - F(11 + 10, 30)))
