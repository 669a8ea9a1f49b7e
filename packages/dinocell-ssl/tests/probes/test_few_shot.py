"""The few-shot curve pairs seeds, compares with random weights, and gives Student's interval."""

import json
import math
from pathlib import Path

import pytest

from dinocell_ssl.probes.few_shot import few_shot_curve, mean_interval


def invented(backbone, *, num_images, seed):
    """Seeds matter more than the backbone, as they do."""
    return 0.01 * num_images + 0.1 * seed + (0.05 + 0.01 * seed if backbone is not None else 0.0)


def test_gains_are_paired_by_seed():
    curve = few_shot_curve(invented, Path("b.safetensors"), num_images=(5, 10), seeds=(0, 1, 2))
    assert [point.num_images for point in curve.points] == [5, 10]
    point = curve.points[1]
    assert point.random == pytest.approx(0.2)
    assert point.pretrained == pytest.approx(0.26)
    assert point.gain == pytest.approx(0.06)
    # Gains are .05, .06, .07: standard deviation .01, and t of 2 degrees of freedom.
    assert point.gain_interval == pytest.approx((0.06 - 4.302653 * 0.01 / math.sqrt(3), 0.06 + 0.02484), abs=1e-5)
    assert len(curve.scores) == 12


def test_both_starts_are_asked_for_the_same_images_and_seeds():
    asked = []

    def record(backbone, *, num_images, seed):
        asked.append((backbone, num_images, seed))
        return 0.5

    seen = []
    few_shot_curve(record, Path("b"), num_images=(5,), seeds=(3, 4), on_score=seen.append)
    assert asked == [(Path("b"), 5, 3), (None, 5, 3), (Path("b"), 5, 4), (None, 5, 4)]
    assert [(score.start, score.seed) for score in seen] == [
        ("pretrained", 3),
        ("random", 3),
        ("pretrained", 4),
        ("random", 4),
    ]


def test_one_seed_has_no_interval():
    (point,) = few_shot_curve(invented, Path("b"), num_images=(5,), seeds=(7,)).points
    assert point.gain_interval is None


def test_the_curve_is_json():
    curve = few_shot_curve(invented, Path("b"), num_images=(5,), seeds=(0, 1))
    read = json.loads(json.dumps(curve.to_json()))
    assert read["scores"][1] == {"start": "random", "num_images": 5, "seed": 0, "score": pytest.approx(0.05)}
    assert read["points"][0]["gain"] == pytest.approx(0.055)


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.7062), (2, 4.30265), (4, 2.77645), (9, 2.26216), (200, 1.97190)]
)
def test_intervals_have_the_quantiles_of_the_tables(degrees, quantile):
    """One 1 among n - 1 zeros has the mean and the standard error 1 / n."""
    num = degrees + 1
    expected = pytest.approx([(1 - quantile) / num, (1 + quantile) / num], rel=2e-5)
    assert list(mean_interval([1.0] + [0.0] * degrees)) == expected


def test_interval_of_equal_values_has_no_width():
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_images": ()}, r"num_images are \(\); give one or more, all different"),
        ({"num_images": (5, 5)}, r"num_images are \(5, 5\)"),
        ({"seeds": (1, 1)}, r"seeds are \(1, 1\)"),
    ],
)
def test_repeated_or_missing_numbers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        few_shot_curve(invented, Path("b"), **arguments)


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="the trainer scored nan for 5 images, seed 0, pretrained weights"):
        few_shot_curve(lambda backbone, *, num_images, seed: math.nan, Path("b"), num_images=(5,))
