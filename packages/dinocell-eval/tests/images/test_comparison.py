"""Two predictions of the same images."""

from itertools import product

import numpy as np
import pytest

from dinocell_eval import compare, evaluate
from dinocell_eval.cases.image_cases import drawn
from dinocell_eval.images.comparison import _exchanges


@pytest.fixture(scope="module")
def two(fields):
    truths, predictions = fields
    worse = [np.where(np.roll(p, 2, axis=1) % 5 == 1, 0, np.roll(p, 2, axis=1)) for p in predictions]
    return evaluate(truths, predictions), evaluate(truths, worse)


def test_the_difference_is_that_of_the_pooled_values_and_its_interval_contains_it(two):
    first, second = two
    found = compare(first, second).differences
    for name in ("seg", "det", "ap_0.50", "ap_mean", "pq", "aji", "mma"):
        one = found[name]
        assert (one.first, one.second) == pytest.approx((first.pooled[name], second.pooled[name]))
        assert one.difference == pytest.approx(second.pooled[name] - first.pooled[name])
        assert one.interval[0] <= one.difference <= one.interval[1] < 0
        assert one.p_value < 0.01


def test_the_paired_interval_is_narrower_than_the_single_ones(two):
    one = compare(*two).differences["ap_0.50"]
    width = one.interval[1] - one.interval[0]
    assert width < two[0].intervals["ap_0.50"][1] - two[0].intervals["ap_0.50"][0]


def test_exchanging_the_two_changes_the_sign_only(two):
    there, back = compare(*two).differences["seg"], compare(*two[::-1]).differences["seg"]
    assert there.difference == -back.difference
    assert there.p_value == back.p_value
    assert (there.higher, there.lower) == (back.lower, back.higher)


def test_a_prediction_compared_with_itself_shows_no_difference(two):
    one = compare(two[0], two[0]).differences["seg"]
    assert (one.difference, one.interval, one.p_value, one.higher, one.lower) == (0, (0, 0), 1, 0, 0)


def test_the_p_value_of_few_images_is_the_exact_share_of_all_exchanges():
    truths = [drawn("11112222")] * 4
    first = [drawn(row) for row in ("1111....", "1111222.", "11112222", "111.222.")]
    second = [drawn(row) for row in ("11112222", "11112222", "1111222.", "11112222")]
    one, other = evaluate(truths, first), evaluate(truths, second)
    values = np.array([one.per_image["seg"], other.per_image["seg"]])
    observed = abs(values[1].mean() - values[0].mean())
    ways = [abs(sum(values[1 - s, i] - values[s, i] for i, s in enumerate(w))) / 4 for w in product((0, 1), repeat=4)]
    expected = np.mean(np.array(ways) >= observed - 1e-12)
    assert compare(one, other).differences["seg"].p_value == expected
    assert 0 < expected < 1, "test invalid"


def test_the_p_value_of_many_images_is_never_zero(fields):
    truths, predictions = ([*side] * 2 for side in fields)
    empty = [np.zeros_like(truth) for truth in truths]
    one = compare(evaluate(truths, empty), evaluate(truths, predictions)).differences["seg"]
    assert one.p_value == pytest.approx(1 / 10_001)


def test_all_exchanges_are_tried_up_to_thirteen_images():
    assert len(np.unique(_exchanges(13, 10), axis=0)) == 2**13
    assert len(_exchanges(14, 10)) == 11
    assert not _exchanges(14, 10)[0].any()


def test_the_order_of_images_changes_nothing(fields):
    truths, predictions = fields
    other = [np.roll(p, 1, axis=0) for p in predictions]
    expected = compare(evaluate(truths, predictions), evaluate(truths, other))
    found = compare(
        evaluate(truths[::-1], predictions[::-1]), evaluate(truths[::-1], other[::-1])
    )  # fmt: skip
    assert found.differences["pq"].interval == pytest.approx(expected.differences["pq"].interval)
    assert found.differences["pq"].p_value == pytest.approx(expected.differences["pq"].p_value)


def test_images_with_a_higher_and_a_lower_value_are_counted():
    truths = [drawn("1111.")] * 4
    first = evaluate(truths, [drawn("111.."), drawn("1111."), drawn("111.."), drawn("....2")])
    second = evaluate(truths, [drawn("1111."), drawn("111.."), drawn("111.."), drawn("1111.")])
    one = compare(first, second).differences["seg"]
    assert (one.higher, one.lower) == (2, 1)


def test_the_numbers_of_the_protocol_are_compared_too(two, fields):
    first = evaluate(*fields, protocol="dinocell-2026")
    found = compare(first, first).protocol
    assert found.keys() == first.protocol.values.keys()
    assert found["AP@.50 as published"].first == first.protocol.values["AP@.50 as published"]


def test_few_images_are_noted():
    truths = [drawn("11.")] * 3
    assert "only 3 images" in compare(evaluate(truths, truths), evaluate(truths, truths)).notes[0]
    assert "below 0.25" in compare(evaluate(truths, truths), evaluate(truths, truths)).notes[0]
    single = compare(evaluate(truths[:1], truths[:1]), evaluate(truths[:1], truths[:1]))
    assert single.notes == ("1 image: no intervals and no p-values",)
    assert single.differences["seg"].p_value is None


def test_an_undefined_metric_has_no_difference():
    truths = [drawn("...")] * 3
    one = compare(evaluate(truths, truths), evaluate(truths, truths)).differences["seg"]
    assert (one.first, one.difference, one.interval, one.p_value) == (None, None, None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["a", "c"]}, "only one of them holds b, c; evaluate the same images"),
        ({"names": ["b", "a"]}, "their order differs"),
        ({"iou_thresholds": [0.5]}, "different IoU thresholds"),
        ({"protocol": "ctc"}, r"different protocols \(dinocell and ctc\); evaluate both alike"),
        ({"boundary_px": 2}, "different widths of outlines"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    images = [drawn("11.2"), drawn("1..2")]
    first = evaluate(images, images, names=["a", "b"])
    with pytest.raises(ValueError, match=message):
        compare(first, evaluate(images, images, **({"names": ["a", "b"]} | change)))


def test_other_true_labels_are_refused():
    first = evaluate([drawn("11.2")], [drawn("11.2")], names=["a"])
    with pytest.raises(ValueError, match="the true labels of image 'a' differ between the evaluations"):
        compare(first, evaluate([drawn("11..")], [drawn("11.2")], names=["a"]))
