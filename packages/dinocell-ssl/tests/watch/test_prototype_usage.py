"""Usage of prototypes: the two ways to collapse and a healthy batch, drawn by hand, against a plain loop."""

import math

import pytest
import torch

from dinocell_ssl import sinkhorn
from dinocell_ssl.losses.centering import centered_softmax
from dinocell_ssl.watch.prototype_usage import prototype_usage


def plain_usage(probabilities):
    rows = probabilities.tolist()
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]

    def entropy(p):
        return -sum(x * math.log(x) for x in p if x > 0)

    conditional = sum(entropy(row) for row in rows) / len(rows)
    chosen = {max(range(len(row)), key=row.__getitem__) for row in rows}
    return conditional, math.exp(entropy(mean)), entropy(mean) - conditional, len(chosen)


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        pytest.param([[1, 0, 0, 0]] * 3, (0, 1, 0, 1), id="all_samples_have_one_prototype"),
        pytest.param([[0.25] * 4] * 3, (math.log(4), 4, 0, 1), id="all_assignments_are_uniform"),
        pytest.param(torch.eye(4).tolist(), (0, 4, math.log(4), 4), id="each_sample_has_its_own"),
        pytest.param(
            [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], (math.log(2), 4, math.log(2), 2), id="two_halves_of_the_prototypes"
        ),
    ],
)
def test_hand_made_assignments_have_the_numbers_one_expects(assignments, expected):
    assert prototype_usage(torch.tensor(assignments, dtype=torch.float32)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_random_assignments_have_the_numbers_of_a_plain_loop(dtype):
    generator = torch.Generator().manual_seed(0)
    probabilities = (3 * torch.randn(6, 9, generator=generator, dtype=dtype)).softmax(dim=1)
    assert prototype_usage(probabilities) == pytest.approx(plain_usage(probabilities), rel=1e-5)


def test_constant_features_give_uniform_targets_by_sinkhorn_and_one_prototype_by_centering():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(16, generator=generator).expand(8, -1)
    balanced = prototype_usage(sinkhorn(logits, 0.05))
    assert balanced.entropy == pytest.approx(math.log(16), rel=1e-4)
    sharp = prototype_usage(centered_softmax(logits, 0.005, center=torch.zeros(16)))
    assert sharp.perplexity == pytest.approx(1, rel=0.01)
    assert balanced.information < 1e-5
    assert sharp.information < 1e-5


def test_no_sample_is_refused():
    with pytest.raises(ValueError, match="give the assignments of one sample or more"):
        prototype_usage(torch.zeros(0, 4))
