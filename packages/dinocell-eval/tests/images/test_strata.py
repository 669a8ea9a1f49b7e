"""Metrics by size and position of the objects."""

import numpy as np
import pytest

from dinocell_eval import evaluate
from dinocell_eval.cases.image_cases import drawn
from dinocell_eval.images.strata import size_classes, stratify


def by_name(evaluation):
    return {stratum.name: stratum for stratum in stratify(evaluation, num_replicates=200)}


def test_quarters_of_the_true_areas_hold_as_many_objects():
    labels = np.repeat(np.arange(1, 41), np.arange(1, 41))[None]
    classes = size_classes(evaluate([labels], [labels]).objects)
    assert list(classes) == ["up to 10 px", "11 to 20 px", "21 to 30 px", "from 31 px"]
    assert [int(part[:40].sum()) for part in classes.values()] == [10] * 4


def test_equal_areas_make_fewer_classes():
    labels = drawn("1122334455")
    assert list(size_classes(evaluate([labels], [labels]).objects)) == ["up to 2 px"]


def test_predictions_are_put_into_the_classes_by_their_own_area():
    truth = drawn("1.2.33.444444......")
    predicted = drawn("1.2....444444.55.66")
    strata = by_name(evaluate([truth], [predicted]))
    assert [stratum.n_truth for stratum in strata.values() if stratum.kind == "size"] == [2, 1, 1]
    assert strata["up to 1 px"].values["ap_0.50"] == 1
    assert strata["2 px"].values == {"seg": 0, "ap_0.50": 0, "recall_0.50": 0}
    assert strata["2 px"].n_predicted == 2
    assert strata["from 3 px"].values["seg"] == 1


def test_cells_cut_by_the_border_are_a_stratum_of_their_own():
    truth = drawn("......\n.11.2.\n....2.\n......\n3....4")
    predicted = drawn("......\n.11.2.\n....2.\n......\n3.....")
    strata = by_name(evaluate([truth], [predicted]))
    assert strata["inside"].values == {"seg": 1, "ap_0.50": 1, "recall_0.50": 1}
    assert strata["on the border"].values == {"seg": 0.5, "ap_0.50": 0.5, "recall_0.50": 0.5}


def test_the_strata_of_one_kind_add_up_to_the_set(fields):
    result = evaluate(*fields)
    for kind in ("size", "position"):
        strata = [stratum for stratum in stratify(result, num_replicates=200) if stratum.kind == kind]
        assert sum(stratum.n_truth for stratum in strata) == result.counts["n_truth"]
        assert sum(stratum.n_predicted for stratum in strata) == result.counts["n_predicted"]
        seg = sum(s.values["seg"] * s.n_truth for s in strata) / result.counts["n_truth"]
        assert seg == pytest.approx(result.pooled["seg"])
        for stratum in strata:
            low, high = stratum.intervals["seg"]
            assert low <= stratum.values["seg"] <= high


def test_a_stratum_without_true_objects_is_undefined():
    strata = by_name(evaluate([drawn("11.2")], [drawn("11.2")]))
    assert strata["inside"].values == {"seg": None, "ap_0.50": None, "recall_0.50": None}
    assert stratify(evaluate([], []))[0].n_truth == 0
