"""Bootstrap intervals over images."""

import json

import numpy as np
import pytest

from dinocell_eval import evaluate, summary_json
from dinocell_eval.cases.image_cases import CASES, drawn
from dinocell_eval.images.bootstrap import bootstrap_intervals, resampled_totals
from dinocell_eval.metrics.metric_table import metric_table


def plain_totals(columns, *, num_replicates, seed):
    """The same draws, image by image."""
    generator = np.random.default_rng(seed)
    drawn_images = generator.integers(len(columns), size=(num_replicates, len(columns)))
    return np.array([sum(columns[i] for i in images) for images in drawn_images])


def test_replicates_are_sums_over_images_drawn_with_replacement():
    columns = np.random.default_rng(0).integers(0, 50, (9, 4)).astype(float)
    expected = plain_totals(columns, num_replicates=300, seed=5)
    assert np.array_equal(resampled_totals(columns, num_replicates=300, seed=5), expected)


def test_drawing_in_pieces_changes_nothing(monkeypatch):
    columns = np.random.default_rng(0).integers(0, 50, (9, 4)).astype(float)
    whole = resampled_totals(columns, num_replicates=1000, seed=5)
    monkeypatch.setattr("dinocell_eval.images.bootstrap._DRAWS_AT_ONCE", 100)
    assert np.array_equal(resampled_totals(columns, num_replicates=1000, seed=5), whole)


def test_an_interval_is_the_percentiles_of_the_pooled_metric_of_the_replicates():
    statistics = {
        "n_truth": np.array([4.0, 9.0, 1.0, 7.0]),
        "sum_jaccard": np.array([3.0, 2.5, 0.5, 6.0]),
    }
    seg = {"seg": metric_table(())["seg"]}
    interval = bootstrap_intervals(statistics, seg, num_replicates=500, seed=1)["seg"]
    columns = np.stack(list(statistics.values()), axis=1)
    columns = columns[np.lexsort(columns.T[::-1])]
    totals = plain_totals(columns, num_replicates=500, seed=1)
    expected = np.quantile(totals[:, 1] / totals[:, 0], [0.025, 0.975])
    assert interval == pytest.approx(expected)


def test_intervals_are_the_same_each_time_and_in_any_order_of_images(fields):
    truths, predictions = fields
    first = evaluate(truths, predictions).intervals
    assert first == evaluate(truths, predictions).intervals
    assert first == evaluate(truths[::-1], predictions[::-1]).intervals


def test_intervals_contain_the_pooled_value_and_have_a_width(fields):
    result = evaluate(*fields)
    for name in ("seg", "det", "op_csb", "ap_0.50", "ap_mean", "pq", "aji", "aji_plus", "mma", "dice"):
        low, high = result.intervals[name]
        assert low < result.pooled[name] < high, name


def test_equal_images_give_an_interval_of_no_width():
    case = CASES["missed_cell"]
    result = evaluate([case.truth] * 8, [case.predicted] * 8)
    assert result.intervals["seg"] == (0.5, 0.5)
    assert result.notes == ()


def test_counts_have_no_interval():
    case = CASES["missed_cell"]
    intervals = evaluate([case.truth] * 8, [case.predicted] * 8).intervals
    assert [intervals[name] for name in ("ns", "fn", "fp", "n_truth", "n_predicted")] == [None] * 5


def test_replicates_that_leave_a_metric_undefined_are_left_out():
    """Half of the draws of two images hold both, a quarter only the image without truth."""
    result = evaluate([drawn("11.."), drawn("....")], [drawn("11.."), drawn("..1.")])
    assert result.intervals["seg"] == (1.0, 1.0)
    assert result.intervals["ap_0.50"] == (0.0, 1.0)


def test_one_image_has_no_interval_and_the_notes_say_so():
    case = CASES["missed_cell"]
    result = evaluate([case.truth], [case.predicted])
    assert set(result.intervals.values()) == {None}
    assert result.notes == ("1 image: no bootstrap intervals",)


@pytest.mark.parametrize(("number", "noted"), [(2, True), (7, True), (8, False)])
def test_below_eight_images_the_notes_warn_of_rough_intervals(number, noted):
    case = CASES["missed_cell"]
    notes = evaluate([case.truth] * number, [case.predicted] * number).notes
    assert (f"only {number} images: the bootstrap intervals are rough below 8" in notes) is noted


def test_a_metric_undefined_in_the_whole_set_has_no_interval():
    case = CASES["truth_empty"]
    result = evaluate([case.truth] * 3, [case.predicted] * 3)
    assert result.intervals["seg"] is None
    assert result.intervals["ap_0.50"] == (0.0, 0.0)


def test_without_replicates_there_are_no_intervals_and_the_same_numbers(fields):
    with_intervals, without = evaluate(*fields), evaluate(*fields, num_replicates=0)
    assert without.pooled == with_intervals.pooled
    assert set(without.intervals.values()) == {None}
    assert without.notes[0] == "bootstrap intervals were left out"
    assert json.loads(summary_json(without))["bootstrap"]["replicates"] == 0
    assert json.loads(summary_json(with_intervals))["bootstrap"]["replicates"] == 10_000


def test_a_negative_number_of_replicates_is_refused(fields):
    with pytest.raises(ValueError, match="-1 bootstrap replicates, expected 0"):
        evaluate(*fields, num_replicates=-1)
