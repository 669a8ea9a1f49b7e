"""KoLeo against printed numbers and a plain search, and its gradient near duplicates."""

import math

import pytest
import torch
from torch.nn import functional as F

from dinocell_ssl.losses.koleo_loss import koleo_loss


def plain_koleo_loss(features, group_size, num_neighbors=1):
    x = F.normalize(features, eps=1e-8)
    losses = []
    for i in range(len(x)):
        first = i // group_size * group_size
        others = [j for j in range(first, first + group_size) if j != i]
        nearest = sorted(others, key=lambda j: -(x[i] @ x[j]).item())[:num_neighbors]
        losses += [-torch.log((x[i] - x[j] + 1e-8).norm() + 1e-8) for j in nearest]
    return torch.stack(losses).mean()


def random_features(num_samples, num_features=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_samples, num_features, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_has_the_published_number(dtype):
    features = torch.sin(0.73 * torch.arange(24, dtype=torch.float64)).reshape(6, 4).to(dtype)
    assert float(koleo_loss(features)) == pytest.approx(0.8014271, rel=1e-6)


@pytest.mark.parametrize(("group_size", "num_neighbors"), [(12, 1), (4, 1), (4, 2), (2, 1)])
def test_loss_and_gradient_are_those_of_the_plain_search(group_size, num_neighbors):
    features = random_features(12).requires_grad_()
    plain = plain_koleo_loss(features, group_size, num_neighbors)
    loss = koleo_loss(features, group_size=group_size, num_neighbors=num_neighbors)
    torch.testing.assert_close(loss, plain)
    gradients = torch.autograd.grad(loss, features), torch.autograd.grad(plain, features)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


def test_gradient_is_that_of_finite_differences():
    assert torch.autograd.gradcheck(koleo_loss, random_features(4).requires_grad_())


def test_duplicates_have_the_published_loss_but_no_gradient():
    features = torch.full((4, 8), 0.3, requires_grad=True)
    loss = koleo_loss(features)
    assert loss.item() == pytest.approx(17.078226, rel=1e-6)
    loss.backward()
    assert torch.equal(features.grad, torch.zeros(4, 8))


@pytest.mark.parametrize("distance", [1e-7, 1e-5, 1e-4, 2e-3, 1e-2])
def test_gradient_of_a_close_pair_is_bounded_and_parts_it(distance):
    features = torch.tensor([[1.0, 0.0], [math.cos(distance), math.sin(distance)]], dtype=torch.float64)
    features.requires_grad_()
    koleo_loss(features, min_distance=1e-3).backward()
    pull = -float(features.grad[1, 1])
    assert pull > 0
    # Both samples have the other as neighbour, and the mean of two halves it again.
    assert pull == pytest.approx(min(1 / distance, distance / 1e-6), rel=1e-3)


def test_two_opposite_samples_are_each_others_neighbours():
    assert float(koleo_loss(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))) == pytest.approx(-math.log(2))


def test_half_precision_features_are_compared_in_float32_under_autocast():
    features = random_features(16, 8).bfloat16()
    expected = koleo_loss(features.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = koleo_loss(features)
    assert loss.dtype == torch.float32
    assert float(loss) == float(expected)


@pytest.mark.parametrize(
    ("num_samples", "arguments", "message"),
    [
        (1, {}, "a group of 1 samples has no 1 neighbours for each; give a larger batch or group_size"),
        (4, {"group_size": 2, "num_neighbors": 2}, "a group of 2 samples has no 2 neighbours"),
        (4, {"num_neighbors": 0}, "a group of 4 samples has no 0 neighbours"),
        (6, {"group_size": 4}, "group_size 4 does not divide the 6 samples of all ranks; give a divisor"),
        (4, {"min_distance": 0.0}, "min_distance is 0.0; give a positive distance"),
    ],
)
def test_batches_without_neighbours_are_refused(num_samples, arguments, message):
    with pytest.raises(ValueError, match=message):
        koleo_loss(random_features(num_samples), **arguments)
