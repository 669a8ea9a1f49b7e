"""The contract of `evaluate`: what it takes, what it refuses, what comes out."""

import json
from fractions import Fraction

import numpy as np
import pytest

from dinocell_eval import evaluate, summary_json
from dinocell_eval.cases.image_cases import CASES, drawn

TRUTHS = [drawn("1111..2222"), drawn("112233....")]
PREDICTIONS = [drawn("1111......"), drawn("111111...2")]


def test_generators_are_read_one_pair_at_a_time():
    alive = []

    class Labels(np.ndarray):
        def __del__(self):
            alive.remove(id(self))

    def lazily(pictures):
        for picture in pictures:
            image = picture.copy().view(Labels)
            alive.append(id(image))
            most.append(len(alive))
            yield image
            del image

    most = []
    result = evaluate(lazily(TRUTHS * 20), lazily(PREDICTIONS * 20))
    assert max(most) == 2
    assert result.counts["images"] == 40
    assert result.pooled == evaluate(TRUTHS * 20, PREDICTIONS * 20).pooled


def test_objects_that_only_convert_to_arrays_are_accepted():
    class Lazy:
        def __init__(self, labels):
            self.labels = labels

        def __array__(self, dtype=None, copy=None):
            return self.labels

    assert evaluate([Lazy(t) for t in TRUTHS], PREDICTIONS).pooled == evaluate(TRUTHS, PREDICTIONS).pooled


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", ">u2", "float32"])
def test_every_type_with_whole_numbers_gives_the_same_result(dtype):
    expected = evaluate(TRUTHS, PREDICTIONS)
    found = evaluate([t.astype(dtype) for t in TRUTHS], PREDICTIONS)
    assert found.pooled == expected.pooled
    assert found.per_image == expected.per_image


def test_labels_up_to_the_largest_int64_are_exact():
    large = np.array([0, 2**63 - 1, 2**63 - 2, 2**32 + 1])
    result = evaluate([large[drawn("112233")]], [large[drawn("1122.3")]])
    assert result.counts["n_truth"] == 3
    assert result.objects.label.tolist() == [2**32 + 1, 2**63 - 2, 2**63 - 1] * 2
    assert result.pooled["seg"] == pytest.approx(2 / 3)


def test_images_of_different_sizes_make_one_set():
    result = evaluate([drawn("11"), drawn("1\n1\n.")], [drawn("11"), drawn("1\n1\n1")])
    assert result.per_image["seg"] == (1.0, 2 / 3)


def test_a_stack_of_label_images_is_a_sequence_of_them():
    stack = np.stack(TRUTHS)
    assert evaluate(stack, PREDICTIONS).pooled == evaluate(TRUTHS, PREDICTIONS).pooled


@pytest.mark.parametrize(
    ("truths", "predictions", "message"),
    [
        ([drawn("11")], [drawn("111")], r"image 'a': truth has shape \(1, 2\) and prediction \(1, 3\), expected"),
        ([drawn("11") * -1], [drawn("11")], r"image 'a': the truth labels contain -1, expected 0 for background"),
        ([drawn("11")], [drawn("11") * -5], r"image 'a': the predicted labels contain -5, expected 0 for background"),
        ([drawn("11") * 0.5], [drawn("11")], r"image 'a': the truth labels are float64 with values"),
        ([drawn("11")], [drawn("11") * np.nan], r"image 'a': the predicted labels are float64 with values"),
        ([drawn("11") * 1e300], [drawn("11")], r"image 'a': the truth labels reach 1e\+300 in float64, expected less"),
        ([drawn("11") > 0], [drawn("11")], r"image 'a': the truth labels are a boolean mask, expected integer labels"),
        ([drawn("11") * 1j], [drawn("11")], r"image 'a': the truth labels are of type complex128, expected integers"),
        ([np.array([[2**64 - 1]], np.uint64)], [drawn("1")], r"image 'a': the truth labels reach 18446744073709551615"),
        (drawn("11"), [drawn("11")], r"image 'a': the truth labels have shape \(2,\), expected two axes"),
        ([np.zeros((4, 4, 3), int)], [drawn("11")], r"the truth labels have shape \(4, 4, 3\), .* rather than RGB"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_with_the_name_of_the_image(truths, predictions, message):
    with pytest.raises(ValueError, match=message):
        evaluate(truths, predictions, names=["a"])


def test_sequences_of_unequal_length_are_refused_before_reading():
    with pytest.raises(ValueError, match="2 truths but 1 prediction, expected equal numbers"):
        evaluate(TRUTHS, PREDICTIONS[:1])


def test_generators_of_unequal_length_are_refused_at_the_end():
    with pytest.raises(ValueError, match="the predictions ended after 1 image but there are more truths"):
        evaluate(iter(TRUTHS), iter(PREDICTIONS[:1]))
    with pytest.raises(ValueError, match="the truths ended after 1 image but there are more predictions"):
        evaluate(iter(TRUTHS[:1]), iter(PREDICTIONS))


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
def test_a_wrong_number_of_names_is_refused(names):
    with pytest.raises(ValueError, match=f"{len(names)} names? but 2 images"):
        evaluate(TRUTHS, PREDICTIONS, names=names)
    with pytest.raises(ValueError, match=rf"{len(names)} names? but (more|2) images"):
        evaluate(iter(TRUTHS), iter(PREDICTIONS), names=names)


def test_names_are_numbers_unless_given():
    assert evaluate(TRUTHS, PREDICTIONS).names == ("0", "1")
    assert evaluate(TRUTHS, PREDICTIONS, names=["x", "y"]).names == ("x", "y")


def test_thresholds_choose_the_reported_keys_but_not_the_means():
    few = evaluate(TRUTHS, PREDICTIONS, iou_thresholds=[0.3, Fraction(1, 3)])
    assert {k for k in few.pooled if k.startswith(("ap_", "f1_"))} == {
        "ap_0.30", "ap_0.3333333333333333", "f1_0.30", "f1_0.3333333333333333", "ap_mean", "ap_mean_50_95",
    }  # fmt: skip
    full = evaluate(TRUTHS, PREDICTIONS)
    assert few.pooled["ap_mean"] == full.pooled["ap_mean"]
    # the three merged cells have IoU 1/3 with their merger, which can be matched once
    assert few.per_image["ap_0.3333333333333333"][1] == pytest.approx(1 / 4)
    assert few.counts["tp_0.30"] == 2


def test_a_threshold_given_twice_is_refused():
    with pytest.raises(ValueError, match="hold one twice, expected each once"):
        evaluate(TRUTHS, PREDICTIONS, iou_thresholds=[0.6, 0.6000000000000001])


def test_an_evaluation_of_no_images_is_undefined_throughout():
    result = evaluate([], [])
    assert result.counts["images"] == 0
    assert {v for k, v in result.pooled.items() if k not in ("ns", "fn", "fp", "n_truth", "n_predicted")} == {None}
    assert result.per_image["seg"] == ()
    assert result.per_image_mean["seg"] is None


def test_empty_images_are_counted_noted_and_left_out_of_the_means():
    cases = [CASES[name] for name in ("both_empty", "truth_empty", "prediction_empty", "perfect_cell")]
    result = evaluate([c.truth for c in cases], [c.predicted for c in cases])
    assert result.counts["images_both_empty"] == 1
    assert result.counts["images_truth_empty"] == 2
    assert result.counts["images_predicted_empty"] == 2
    assert result.per_image["seg"] == (None, None, 0.0, 1.0)
    assert result.per_image["ap_0.50"] == (None, 0.0, 0.0, 1.0)
    assert result.per_image_mean["seg"] == 0.5
    assert result.per_image_mean["ap_0.50"] == pytest.approx(1 / 3)
    assert result.pooled["det"] == pytest.approx(1 - 11 / 20)
    assert any("1 image is empty in truth and prediction" in note for note in result.notes)
    assert any("1 image has predicted but no true objects" in note for note in result.notes)


def test_a_set_without_true_objects_says_that_seg_is_undefined():
    result = evaluate([drawn("....")], [drawn(".11.")])
    assert result.pooled["seg"] is None
    assert any(note.startswith("no true object in the whole set") for note in result.notes)


def test_errors_of_the_count_do_not_cancel_between_images():
    result = evaluate([drawn("1.2"), drawn("1..")], [drawn("1.."), drawn("1.2")])
    assert result.pooled["count_ratio"] == 1
    assert result.pooled["count_error"] == pytest.approx(2 / 3)


def test_the_json_has_schema_protocol_and_a_definition_for_every_metric():
    found = json.loads(summary_json(evaluate(TRUTHS, PREDICTIONS)))
    assert found["schema_version"] == 2
    assert found["protocol"]["name"] == "dinocell"
    assert found["definitions"].keys() == found["metrics"].keys()
    assert found["definitions"]["ap_0.60"]["meaning"] == "TP / (TP + FP + FN), IoU >= 3/5 exactly, one-to-one"
    assert found["metrics"]["seg"]["pooled"] == pytest.approx((1 + 0 + 1 / 3 * 3) / 5)
    assert found["metrics"]["seg"]["images"] == 2
    assert found["inputs"] is None


def test_undefined_values_are_null_in_the_json():
    text = summary_json(evaluate([drawn("....")], [drawn("....")]))
    assert "NaN" not in text
    assert json.loads(text)["metrics"]["seg"] == {
        "pooled": None,
        "per_image_mean": None,
        "interval": None,
        "images": 0,
    }


def test_an_evaluation_cannot_be_changed():
    result = evaluate(TRUTHS, PREDICTIONS)
    with pytest.raises(AttributeError):
        result.pooled = {}
