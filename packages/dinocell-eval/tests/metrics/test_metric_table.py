"""One entry of the table is enough for a metric: it is computed, printed, drawn and compared from there."""

import io

import numpy as np
import pytest
from rich.console import Console

from dinocell_eval import compare, evaluate
from dinocell_eval.images.evaluate import per_image_values
from dinocell_eval.metrics import metric_table as module
from dinocell_eval.metrics.metric_table import EVERYWHERE, Compared, Metric, higher_is_better, metric_table
from dinocell_eval.overlap.statistics import Column, Statistics, count_by_image
from dinocell_eval.pages.comparison_page import comparison_page
from dinocell_eval.pages.evaluation_page import evaluation_page
from dinocell_eval.reports.printed import print_comparison, print_metrics

TRUTH = np.array([[1, 1, 0, 2], [1, 1, 0, 2]])
PREDICTED = np.array([[1, 1, 0, 0], [1, 1, 0, 3]])


def _pairs(compared: Compared) -> dict[str, Column]:
    return {"pairs": count_by_image(compared.table.pair_image, compared.table.num_images)}


def _num_pairs(statistics: Statistics) -> Column:
    return statistics["pairs"]


def test_a_new_entry_is_computed_printed_drawn_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "num_pairs" not in metric_table(()), "test invalid"
    entry = Metric("pairs/1", "pairs of objects that overlap", _num_pairs, (_pairs,), shown=EVERYWHERE)
    monkeypatch.setitem(module._FIXED, "num_pairs", entry)
    evaluation = evaluate([TRUTH, TRUTH], [PREDICTED, TRUTH], num_replicates=20)
    other = evaluate([TRUTH, TRUTH], [TRUTH, TRUTH], num_replicates=20)
    assert evaluation.pooled["num_pairs"] == 4
    assert per_image_values([TRUTH], [PREDICTED], metrics=["num_pairs"])["num_pairs"].tolist() == [2]
    comparison = compare(evaluation, other)
    console = Console(file=io.StringIO(), width=160)
    print_metrics(console, evaluation)
    print_comparison(console, comparison, ("a", "b"))
    assert console.file.getvalue().count("num_pairs") == 2
    assert "num_pairs" in evaluation_page(evaluation)
    assert "num_pairs" in comparison_page(evaluation, other, comparison)


def test_every_metric_says_whether_high_values_are_good() -> None:
    table = metric_table((), boundary_px=2)
    assert {name for name, metric in table.items() if metric.higher_is_better is False} == {
        "count_error",
        "hausdorff_px",
        "assd_px",
    }
    assert higher_is_better("count_ratio") is None
    assert higher_is_better("op_csb+ap_mean") is True
    assert higher_is_better("op_csb+count_error") is None
    with pytest.raises(ValueError, match="there is no metric sge; choose from"):
        higher_is_better("sge")


def test_a_perfect_prediction_is_best_by_every_metric_that_has_a_direction() -> None:
    worse = evaluate([TRUTH], [PREDICTED], num_replicates=0, boundary_px=1)
    perfect = evaluate([TRUTH], [TRUTH], num_replicates=0, boundary_px=1)
    for name, metric in perfect.definitions.items():
        values = perfect.pooled[name], worse.pooled[name]
        if None in values or metric.higher_is_better is None:
            continue
        assert values[0] >= values[1] if metric.higher_is_better else values[0] <= values[1], name
