"""Every tracking measure on every drawn sequence, against fractions computed by hand."""

from fractions import Fraction as F

import numpy as np
import pytest

from dinocell_eval.cases.tracking_cases import TRACKING_CASES, film, tracks_of
from dinocell_eval.tracking.evaluate_tracking import evaluate_tracking

COLUMNS = [
    "ns",
    "fn",
    "fp",
    "ed",
    "ea",
    "ec",
    "seg",
    "det",
    "tra",
    "lnk",
    "ct",
    "tf",
    "bc(0)",
    "bc(1)",
    "cca",
    "chota²",
]
NO_ERROR = [0, 0, 0, 0, 0, 0, 1, 1, 1]

EXPECTED = {
    "perfect_track": [*NO_ERROR, 1, 1, 1, None, None, None, 1],
    "perfect_division": [*NO_ERROR, 1, 1, 1, 1, 1, None, 1],
    "single_frame": [*NO_ERROR, None, 1, 1, None, None, None, 1],
    # three vertices, two edges: AOGM0 = 33
    "missed_in_the_middle": [0, 1, 0, 0, 2, 0, F(2, 3), F(2, 3), 1 - F(13, 33), 0, 0, F(1, 3), None, None, None,
                             F(2, 9)],
    "gap_closed_by_a_parent": [0, 1, 0, 1, 2, 0, F(2, 3), F(2, 3), 1 - F(14, 33), 0, 0, F(1, 3), None, None, None,
                               F(4, 9)],
    "gap_in_the_truth_too": [*NO_ERROR, 1, 1, 1, None, None, None, 1],
    # six vertices, four edges: AOGM0 = 66
    "merged_for_a_frame": [1, 0, 0, 0, 4, 0, F(4, 5), F(11, 12), F(5, 6), 0, 0, F(1, 3), None, None, None,
                           (3 * F(3, 4) + F(1, 3) + F(1, 6) + F(1, 3)) / 6],
    "split_for_a_frame": [0, 0, 1, 0, 0, 0, F(11, 12), F(29, 30), F(32, 33), 1, F(2, 3), 1, None, None, None, F(3, 4)],
    "spurious_track": [0, 0, 2, 0, 0, 0, 1, F(9, 10), 1 - F(4, 43), 1, F(2, 3), 1, None, None, None, F(1, 2)],
    # eight vertices, six edges: AOGM0 = 89
    "swapped_labels": [0, 0, 0, 2, 2, 0, 1, 1, 1 - F(5, 89), F(4, 9), 0, F(1, 2), None, None, None, F(1, 3)],
    "parent_instead_of_track": [0, 0, 0, 0, 0, 1, 1, 1, 1 - F(2, 43), F(1, 3), 0, F(1, 2), None, None, None, 1],
    "track_instead_of_parent": [0, 0, 0, 0, 0, 1, 1, 1, 1 - F(2, 43), F(1, 3), 0, 1, None, None, None, 1],
    # six vertices, five edges: AOGM0 = 67.5
    "division_without_parents": [0, 0, 0, 0, 2, 0, 1, 1, 1 - F(2, 45), F(3, 5), 1, 1, 0, 0, None, F(4, 9)],
    "division_a_frame_late": [0, 1, 0, 1, 2, 2, F(3, 4), F(5, 6), 1 - F(32, 135), F(1, 5), 0, F(2, 3), 0, 1, None,
                              (2 * F(5, 6) + F(4, 5) + 1 + F(3, 5)) / 6],
    "one_child_missed": [0, 2, 0, 0, 2, 0, F(2, 3), F(2, 3), 1 - F(46, 135), F(3, 5), F(4, 5), 1, 0, 0, None, F(5, 9)],
    "one_track_through_a_division": [0, 0, 0, 0, 1, 1, 1, 1, F(26, 27), F(2, 3), F(2, 5), 1, 0, 0, None, F(13, 18)],
    "whole_cell_cycle": [*NO_ERROR, 1, 1, 1, 1, 1, 1, 1],
    "shorter_cell_cycle": [0, 2, 3, 0, 5, 0, F(3, 4), F(57, 80), 1 - F(61, 181), F(2, 7), F(1, 5), F(23, 30), F(1, 2),
                           1, 0, (F(6, 11) + F(4, 7) + 4 * F(3, 5)) / 11],
    "empty_first_frame": [*NO_ERROR, 1, 1, 1, None, None, None, 1],
    "objects_after_the_truth": [0, 0, 1, 0, 0, 0, 1, F(19, 20), 1 - F(2, 43), 1, 0, 1, None, None, None, F(4, 9)],
    "result_empty": [0, 2, 0, 0, 1, 0, 0, 0, 0, 0, 0, None, None, None, None, 0],
    "truth_empty": [0, 0, 2, 0, 0, 0, None, None, None, None, None, None, None, None, None, 0],
    "both_empty": [0, 0, 0, 0, 0, 0, None, None, None, None, None, None, None, None, None, None],
}  # fmt: skip


def evaluated(name):
    case = TRACKING_CASES[name]
    return evaluate_tracking(case.truth_frames, case.truth_tracks, case.result_frames, case.result_tracks)


def test_every_case_has_expected_values():
    assert EXPECTED.keys() == TRACKING_CASES.keys()


@pytest.mark.parametrize("name", TRACKING_CASES)
def test_measures_of_the_case_are_those_computed_by_hand(name):
    found = evaluated(name)
    values = [getattr(found, column) for column in COLUMNS[:12]]
    values += [*found.bc[:2], found.cca, None if found.chota is None else found.chota**2]
    for column, value, expected in zip(COLUMNS, values, EXPECTED[name], strict=True):
        assert value == (None if expected is None else pytest.approx(float(expected), abs=1e-12)), column


@pytest.mark.parametrize("name", TRACKING_CASES)
def test_aogm_is_the_weighted_sum_of_the_operations(name):
    found = evaluated(name)
    assert found.aogm == 5 * found.ns + 10 * found.fn + found.fp + found.ed + 1.5 * found.ea + found.ec


def test_the_corrections_say_which_objects_and_edges_are_wrong():
    merged = evaluated("merged_for_a_frame").corrections
    assert merged.split.tolist() == [[1, 1]]
    assert merged.missing.tolist() == [[0, 1, 1, 1], [1, 1, 2, 1], [0, 2, 1, 2], [1, 2, 2, 2]]
    late = evaluated("division_a_frame_late").corrections
    assert late.missed.tolist() == [[2, 3]]
    assert late.redundant.tolist() == [[2, 1, 3, 3]]
    assert late.wrong.tolist() == [[1, 1, 2, 1], [2, 1, 3, 2]]
    swapped = evaluated("swapped_labels").corrections
    assert swapped.redundant.tolist() == [[1, 1, 2, 1], [1, 2, 2, 2]]
    assert swapped.missing.tolist() == [[1, 1, 2, 1], [1, 2, 2, 2]]
    assert evaluated("parent_instead_of_track").corrections.wrong.tolist() == [[0, 1, 1, 2]]


def test_every_object_of_seg_is_listed_with_its_j():
    found = evaluated("merged_for_a_frame").segmented
    assert found.frame.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.label.tolist() == [1, 2, 1, 2, 1, 2]
    assert found.jaccard.tolist() == [1, 1, 2 / 5, 2 / 5, 1, 1]


def test_official_tf_depends_on_the_numbers_of_the_truth_and_the_stable_one_does_not():
    # one result track follows one true track wholly and half of another; officially it is dropped after the first
    truth, result = film("11.\n22.\n22."), film("55.\n55.\n...")
    found = evaluate_tracking(truth, tracks_of(truth), result, tracks_of(result))
    assert (found.tf, found.tf_stable) == (1, 3 / 4)
    renumbered = film("22.\n11.\n11.")
    found = evaluate_tracking(renumbered, tracks_of(renumbered), result, tracks_of(result))
    assert (found.tf, found.tf_stable) == (3 / 4, 3 / 4)


def test_det_and_tra_are_capped_once_for_the_sequence():
    truth = film("1" + ".." * 30 + "\n1" + "." * 60)
    spurious = (np.arange(61)[None] + 1) * (np.arange(61)[None] % 2 == 0)
    few = (spurious * (spurious < 12), truth[1])
    found = evaluate_tracking(truth, tracks_of(truth), few, tracks_of(few))
    assert (found.fp, found.det, found.tra) == (5, 1 - 5 / 20, pytest.approx(1 - 5 / 21.5))
    many = (spurious, truth[1])
    found = evaluate_tracking(truth, tracks_of(truth), many, tracks_of(many))
    assert (found.fp, found.det, found.tra, found.aogm) == (30, 0, 0, 30)


def test_a_tolerance_of_two_frames_finds_a_division_two_frames_late():
    truth = film("111111\n222333\n222333\n222333")
    late = film("111111\n111111\n111111\n222333")
    parents = {2: 1, 3: 1}
    found = evaluate_tracking(truth, tracks_of(truth, parents), late, tracks_of(late, parents), max_bc_tolerance=4)
    assert found.bc == (0, 0, 1, 1, 1)
    assert len(found.bio) == len(found.op_clb) == 5
