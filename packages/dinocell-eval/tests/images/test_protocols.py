"""Named protocols: what each reports, and the published AP with its flaws."""

import json

import numpy as np
import pytest

from dinocell_eval import evaluate, summary_json
from dinocell_eval.cases.image_cases import CASES, drawn
from dinocell_eval.images.protocols import PROTOCOLS
from dinocell_eval.metrics.published_ap import published_average_precision

PUBLISHED = "AP@.50 as published"


def plain_published_ap(truth, predicted):
    """What the published code does, in other words: all predicted labels but the smallest, any label of the truth."""
    names = np.unique(predicted)[1:]
    hits = 0
    for name in names:
        mask = predicted == name
        ious = [(mask & (truth == g)).sum() / (mask | (truth == g)).sum() for g in np.unique(truth[mask])]
        hits += max(ious) >= 0.5
    return hits / (len(names) + len(np.unique(truth)) - hits)


def published(truth, predicted):
    return evaluate([truth], [predicted], protocol="dinocell-2026").protocol.values[PUBLISHED]


@pytest.mark.parametrize("number", [1, 4, 9])
def test_the_published_ap_of_a_perfect_prediction_of_n_cells_is_n_of_n_plus_one(number):
    labels = np.zeros((3, 2 * number), np.int64)
    labels[1, ::2] = np.arange(1, number + 1)
    assert published(labels, labels) == pytest.approx(number / (number + 1))
    corrected = evaluate([labels], [labels], protocol="dinocell-2026").protocol.values
    assert corrected["AP@.50 corrected, mean of images"] == 1


def test_the_published_ap_takes_both_halves_of_a_split_cell_and_half_of_the_background():
    assert published(drawn("1111...."), drawn("1122....")) == pytest.approx(2 / 2)
    assert published(drawn("1111...."), drawn("....222.")) == pytest.approx(1 / 2)


def test_the_published_ap_of_each_image_equals_plain_code_on_random_images():
    generator = np.random.default_rng(3)
    highest = generator.integers(1, 7, (300, 2, 1, 1))
    shift = generator.integers(0, 2, (300, 2, 1, 1))  # without background, the smallest label is a cell
    truths, predictions = np.moveaxis(generator.integers(0, highest, (300, 2, 3, 4)) + shift, 1, 0)
    result = evaluate(truths, predictions, protocol="dinocell-2026", num_replicates=0)
    expected = [plain_published_ap(truth, predicted) for truth, predicted in zip(truths, predictions, strict=True)]
    assert len(set(expected)) > 8, "test invalid"
    assert published_average_precision(result.statistics).tolist() == pytest.approx(expected)


def test_the_published_ap_is_the_mean_of_images(fields):
    values = [plain_published_ap(truth, predicted) for truth, predicted in zip(*fields, strict=True)]
    result = evaluate(*fields, protocol="dinocell-2026").protocol
    assert result.values[PUBLISHED] == pytest.approx(np.mean(values))
    low, high = result.intervals[PUBLISHED]
    assert low < np.mean(values) < high


def test_the_report_of_the_published_ap_says_that_it_is_flawed():
    text = summary_json(evaluate([drawn("11.")], [drawn("11.")], protocol="dinocell-2026"))
    protocol = json.loads(text)["protocol"]
    assert protocol["values"][PUBLISHED]["definition"] == "dinocell-2026-ap/1"
    assert "N / (N + 1)" in protocol["values"][PUBLISHED]["meaning"]
    assert any("flawed" in caveat for caveat in protocol["caveats"])


def test_a_protocol_changes_no_metric(fields):
    expected = evaluate(*fields)
    for name in PROTOCOLS:
        found = evaluate(*fields, protocol=name)
        assert found.pooled == expected.pooled
        assert found.intervals == expected.intervals
        assert found.protocol.protocol.name == name
        assert found.protocol.values.keys() == found.protocol.intervals.keys() == PROTOCOLS[name].quantities.keys()


def test_the_numbers_of_a_protocol_are_those_of_the_evaluation_in_its_aggregation(fields):
    result = evaluate(*fields, protocol="samcell")
    assert result.protocol.values == {
        "SEG": result.pooled["seg"],
        "DET": result.pooled["det"],
        "OP_CSB": result.pooled["op_csb"],
        "MMA": pytest.approx(result.per_image_mean["mma"]),
        "AP@.50, mean of images": pytest.approx(result.per_image_mean["ap_0.50"]),
    }
    assert result.protocol.intervals["SEG"] == result.intervals["seg"]


def test_cellpose_leaves_empty_images_out_and_stardist_counts_them_as_zero():
    cases = [CASES[name] for name in ("both_empty", "perfect_cell", "missed_cell")]
    truths, predictions = [c.truth for c in cases], [c.predicted for c in cases]
    cellpose = evaluate(truths, predictions, protocol="cellpose").protocol.values
    stardist = evaluate(truths, predictions, protocol="stardist").protocol.values
    assert cellpose["AP@.50, mean of images"] == pytest.approx((1 + 0.5) / 2)
    assert stardist["accuracy@.50, by image"] == pytest.approx((0 + 1 + 0.5) / 3)
    assert stardist["accuracy@.50"] == pytest.approx(2 / 3)


def test_the_panoptic_quality_of_stardist_counts_an_exact_half():
    case = CASES["exact_halves_as_one_cell"]
    result = evaluate([case.truth], [case.predicted], protocol="stardist")
    assert result.protocol.values["panoptic_quality@.50"] == pytest.approx(0.5 / 1.5)
    assert result.pooled["pq"] == 0


def test_an_undefined_number_of_a_protocol_is_none():
    result = evaluate([drawn("..")], [drawn("..")], protocol="samcell").protocol
    assert set(result.values.values()) == {None}
    assert set(result.intervals.values()) == {None}


def test_an_unknown_protocol_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="no protocol 'coco'; choose from dinocell, ctc, samcell, stardist"):
        evaluate([], [], protocol="coco")


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_every_number_of_a_protocol_states_its_definition(protocol):
    assert protocol.description
    for quantity in protocol.quantities.values():
        assert quantity.definition.split("/")[1].isdigit()
        assert quantity.meaning
