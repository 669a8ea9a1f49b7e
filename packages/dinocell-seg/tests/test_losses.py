import math

import pytest
import torch

from dinocell_seg.losses import Loss, distance_loss

NO_EDGE = {"edge_weight": 0.0}


def maps(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


def test_mse_is_the_squared_error_of_the_distance():
    logits, target = maps(0.0, 2.0), maps(1.0, 0.25)
    plain = ((0.5 - 1.0) ** 2 + (1 / (1 + math.exp(-2)) - 0.25) ** 2) / 2
    loss = distance_loss(logits, target, settings=Loss(distance="mse", **NO_EDGE))
    assert float(loss) == pytest.approx(plain, rel=1e-6)


def test_cross_entropy_is_the_divergence_of_two_bernoulli_distributions():
    p, q = 0.3, 1 / (1 + math.exp(-1.0))
    plain = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    loss = distance_loss(maps(1.0), maps(p), settings=Loss(**NO_EDGE))
    assert float(loss) == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("distance", ["mse", "cross_entropy"])
def test_a_perfect_map_costs_nothing(distance):
    target = maps(0.1, 0.5, 0.9)
    loss = distance_loss(torch.logit(target), target, settings=Loss(distance=distance, **NO_EDGE))
    assert float(loss) == pytest.approx(0, abs=1e-6)


def test_targets_of_exactly_0_and_1_give_finite_losses():
    assert math.isfinite(float(distance_loss(maps(-40.0, 40.0), maps(0.0, 1.0), settings=Loss())))


def test_the_edge_term_punishes_a_thin_edge_that_is_read_as_background():
    target = maps(0.04, 0.0)
    right, wrong = torch.logit(maps(0.2, 0.01)), torch.logit(maps(0.01, 0.01))
    with_edge, without = Loss(), Loss(**NO_EDGE)
    assert distance_loss(right, target, settings=with_edge) < distance_loss(wrong, target, settings=with_edge)
    assert distance_loss(right, target, settings=without) > distance_loss(wrong, target, settings=without)


def test_the_gradient_of_cross_entropy_does_not_vanish_where_the_sigmoid_saturates():
    gradients = {}
    for distance in ("mse", "cross_entropy"):
        logits = maps(-12.0).requires_grad_()
        distance_loss(logits, maps(1.0), settings=Loss(distance=distance, **NO_EDGE)).backward()
        gradients[distance] = float(logits.grad.abs())
    assert gradients["cross_entropy"] > 0.9
    assert gradients["mse"] < 1e-4


def test_half_precision_logits_are_compared_in_single_precision():
    assert distance_loss(maps(0.5).bfloat16(), maps(0.5), settings=Loss()).dtype == torch.float32
