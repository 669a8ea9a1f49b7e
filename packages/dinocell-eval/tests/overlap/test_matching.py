"""Majority, threshold and heaviest matchings."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest

from dinocell_eval.cases.image_cases import drawn
from dinocell_eval.overlap.matching import exact_threshold, heaviest_matching, majority_match, match_at, threshold_key
from dinocell_eval.overlap.pair_table import PairTable, pair_table


def graph(intersections):
    """A table whose pairs share the given pixels; areas are what is shared and no more."""
    shared = np.asarray(intersections, np.int64)
    truth, predicted = np.nonzero(shared)
    return PairTable(
        num_images=1,
        truth_image=np.zeros(shared.shape[0], np.int64),
        truth_label=np.arange(1, shared.shape[0] + 1),
        truth_area=shared.sum(1),
        predicted_image=np.zeros(shared.shape[1], np.int64),
        predicted_label=np.arange(1, shared.shape[1] + 1),
        predicted_area=shared.sum(0),
        pair_truth=truth,
        pair_predicted=predicted,
        intersection=shared[truth, predicted],
    )


def is_one_to_one(table, pairs):
    return len(set(table.pair_truth[pairs])) == len(set(table.pair_predicted[pairs])) == len(pairs)


def test_exactly_half_of_a_true_object_is_no_majority():
    assert majority_match(pair_table(drawn("1111"), drawn("11.."))).tolist() == [-1]
    assert majority_match(pair_table(drawn("1111"), drawn("111."))).tolist() == [0]


def test_one_prediction_may_be_the_majority_of_several_true_objects():
    assert majority_match(pair_table(drawn("112233"), drawn("111111"))).tolist() == [0, 0, 0]


@pytest.mark.parametrize("k", range(1, 21))
def test_floats_near_a_twentieth_are_that_twentieth(k):
    for given in (k / 20, float(np.float32(k / 20)), np.float64(k / 20), k * 0.05, np.nextafter(k / 20, 0)):
        assert exact_threshold(given) == Fraction(k, 20)


def test_the_thresholds_of_arange_are_twentieths():
    wrong = np.arange(0.5, 1, 0.05)
    assert float(wrong[2]) != 0.6  # the trap
    assert [exact_threshold(t) for t in wrong] == [Fraction(k, 20) for k in range(10, 20)]


def test_other_floats_are_their_decimals_and_fractions_stay():
    assert exact_threshold(0.33) == Fraction(33, 100)
    assert exact_threshold(0.123456) == Fraction(123456, 10**6)
    assert exact_threshold(Fraction(1, 3)) == Fraction(1, 3)


@pytest.mark.parametrize("outside", [0.0, -0.5, 1.05, float("nan"), float("inf"), Fraction(0), Fraction(3, 2)])
def test_thresholds_outside_zero_to_one_are_refused(outside):
    with pytest.raises(ValueError, match=r"IoU threshold .* is outside \(0, 1\]; pass thresholds such as"):
        exact_threshold(outside)


def test_threshold_names_have_two_decimals_or_all():
    assert [threshold_key(Fraction(k, 200)) for k in (100, 110, 101)] == ["0.50", "0.55", "0.505"]


def test_a_threshold_with_many_decimals_is_compared_without_overflow():
    table = graph([[2**40]])
    assert match_at(table, Fraction(10**16 - 1, 10**16)).tolist() == [0]
    assert match_at(table, Fraction(1)).tolist() == [0]
    less = graph([[2**40, 1]])
    assert match_at(less, Fraction(10**16 - 1, 10**16)).tolist() == []


def test_stars_of_exact_halves_count_once_each():
    """Two stars in opposite directions: the smaller number of distinct objects would say three."""
    table = pair_table(drawn("1111.2233"), drawn("1122.3333"))
    pairs = match_at(table, Fraction(1, 2))
    assert table.truth_label[table.pair_truth[pairs]].tolist() == [1, 2]
    assert table.predicted_label[table.pair_predicted[pairs]].tolist() == [1, 3]


def test_below_one_half_as_many_objects_as_possible_are_matched():
    """The best IoU first would match the middle pair alone; both ends together are two."""
    table = graph([[4, 0], [5, 4]])
    assert match_at(table, Fraction(1, 4)).size == 2
    table = graph([[3, 3, 0], [3, 0, 0], [0, 3, 3]])
    pairs = match_at(table, Fraction(1, 10))
    assert pairs.size == 3
    assert is_one_to_one(table, pairs)


def plain_heaviest(shared):
    """The greatest sum over all assignments, small matrices only."""
    shared = shared if shared.shape[0] <= shared.shape[1] else shared.T
    rows = range(shared.shape[0])
    return max(sum(shared[i, p[i]] for i in rows) for p in permutations(range(shared.shape[1]), len(rows)))


def test_heaviest_matchings_of_random_graphs_equal_all_assignments_tried():
    generator = np.random.default_rng(3)
    solved = 0
    for _ in range(600):
        shared = generator.integers(1, 9, generator.integers(1, 6, 2))
        shared *= generator.random(shared.shape) < generator.choice([0.3, 0.6, 1.0])
        shared[0, 0] = max(1, shared[0, 0])
        table = graph(shared)
        pairs = heaviest_matching(table, table.intersection)
        assert is_one_to_one(table, pairs)
        assert table.intersection[pairs].sum() == plain_heaviest(shared)
        solved += pairs.size > 2
    assert solved > 100


def test_the_greatest_overlap_first_is_not_the_heaviest_matching():
    table = graph([[5, 4], [4, 0]])
    assert table.intersection[heaviest_matching(table, table.intersection)].sum() == 8


def test_a_grid_shifted_by_half_a_cell_is_assigned_as_one_component():
    """Every cell overlaps four others equally, so nothing is certain before the assignment."""
    truth = np.arange(1, 401).reshape(20, 20).repeat(4, 0).repeat(4, 1)
    predicted = np.roll(truth, (2, 2), (0, 1))
    table = pair_table(truth, predicted)
    pairs = heaviest_matching(table, table.intersection)
    assert is_one_to_one(table, pairs)
    assert pairs.size == 400
    assert table.intersection[pairs].sum() == 400 * 4


def test_no_pairs_give_an_empty_matching():
    table = pair_table(drawn("11.."), drawn("..11"))
    assert heaviest_matching(table, table.intersection).size == 0
    assert match_at(table, Fraction(1, 4)).size == 0
