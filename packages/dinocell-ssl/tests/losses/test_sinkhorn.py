"""Sinkhorn-Knopp and centering against printed numbers and the plain algorithm."""

import pytest
import torch

from dinocell_ssl.losses.centering import centered_softmax, updated_center
from dinocell_ssl.losses.sinkhorn import sinkhorn

LOGITS = torch.sin(0.37 * torch.arange(20, dtype=torch.float64)).reshape(4, 5)
PUBLISHED = torch.tensor(
    [
        [1.2656e-7, 4.715681e-4, 0.3859919, 0.5160169, 0.0975195],
        [0.2932801, 0.5930504, 0.1136219, 4.7539e-5, 1.12e-8],
        [0.5343674, 0.2372753, 0.2189984, 0.0078278, 0.0015312],
        [6.55e-9, 1.2357e-5, 0.0204829, 0.2015682, 0.7779365],
    ]
)


def plain_sinkhorn(logits, temperature, num_iterations):
    """The definition: every prototype, then every sample, gets the same mass, three times."""
    q = (logits.double() / temperature).exp().T
    q /= q.sum()
    for _ in range(num_iterations):
        q = q / q.sum(dim=1, keepdim=True) / q.shape[0]
        q = q / q.sum(dim=0, keepdim=True) / q.shape[1]
    return (q * q.shape[1]).T


def random_logits(num_samples, num_prototypes, scale=0.1, dtype=torch.float32):
    return scale * torch.randn(num_samples, num_prototypes, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_targets_have_the_published_numbers(dtype):
    targets = sinkhorn(LOGITS.to(dtype), 0.07)
    assert targets.dtype == dtype
    torch.testing.assert_close(targets.float(), PUBLISHED, rtol=2e-4, atol=6e-8)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(4, dtype=dtype))
    columns = torch.tensor([0.8276, 0.8308, 0.7391, 0.7255, 0.8770])
    torch.testing.assert_close(targets.sum(dim=0).float(), columns, rtol=0, atol=6e-5)


def test_many_iterations_use_all_prototypes_equally():
    columns = sinkhorn(LOGITS.float(), 0.07, num_iterations=200).sum(dim=0)
    torch.testing.assert_close(columns, torch.full((5,), 0.8), rtol=1e-4, atol=0)


@pytest.mark.parametrize("num_iterations", [1, 3, 7])
@pytest.mark.parametrize("shape", [(1, 4), (7, 30), (40, 6)])
def test_targets_are_those_of_the_plain_algorithm(shape, num_iterations):
    logits = random_logits(*shape)
    plain = plain_sinkhorn(logits, 0.04, num_iterations)
    targets = sinkhorn(logits, 0.04, num_iterations=num_iterations)
    torch.testing.assert_close(targets.double(), plain, rtol=1e-4, atol=1e-7)


def test_equal_logits_are_shared_by_all_prototypes():
    torch.testing.assert_close(sinkhorn(torch.zeros(3, 8), 0.04), torch.full((3, 8), 1 / 8))


def test_a_constant_added_to_all_logits_changes_nothing():
    logits = random_logits(6, 10, dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(logits + 1e4, 0.07), sinkhorn(logits, 0.07), rtol=1e-8, atol=0)


def test_a_constant_added_to_one_sample_counts_as_in_the_plain_algorithm():
    logits = random_logits(6, 10, dtype=torch.float64)
    shifted = logits.clone()
    shifted[2] += 0.3
    assert (plain_sinkhorn(shifted, 0.07, 3) - plain_sinkhorn(logits, 0.07, 3)).abs().max() > 0.01, "test invalid"
    torch.testing.assert_close(sinkhorn(shifted, 0.07), plain_sinkhorn(shifted, 0.07, 3))


def test_logits_that_overflow_the_exponential_keep_their_targets():
    logits = random_logits(5, 7, scale=0.3)
    plain = plain_sinkhorn(logits, 0.02, 3)
    assert not ((logits + 4) / 0.02).exp().isfinite().any(), "test invalid"
    torch.testing.assert_close(sinkhorn(logits + 4, 0.02).double(), plain, rtol=1e-3, atol=1e-5)


def test_sample_far_below_the_others_keeps_its_targets():
    logits = random_logits(5, 7)
    logits[3] -= 10
    assert not (logits[3] / 0.07).exp().any(), "test invalid"
    plain = plain_sinkhorn(logits, 0.07, 3)
    torch.testing.assert_close(sinkhorn(logits, 0.07).double(), plain, rtol=1e-4, atol=1e-6)


def test_prototypes_no_sample_reaches_leave_the_targets_finite():
    logits = torch.zeros(3, 4)
    logits[:, 1] -= 2e4
    logits[2, 3] = -1e6
    targets = sinkhorn(logits, 0.04)
    assert targets.isfinite().all()
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(3))


def test_half_precision_logits_give_float32_targets_and_stay_as_they_are():
    logits = random_logits(4, 6).bfloat16()
    before = logits.clone()
    targets = sinkhorn(logits, 0.07)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets, sinkhorn(logits.float(), 0.07))
    assert torch.equal(logits, before)


def test_no_sample_gives_no_target():
    assert sinkhorn(torch.zeros(0, 5), 0.07).shape == (0, 5)


def test_no_gradient_flows_through_the_targets():
    assert not sinkhorn(LOGITS.clone().requires_grad_(), 0.07).requires_grad


def test_nan_logits_give_nan_for_all_samples():
    logits = torch.zeros(2, 3)
    logits[0, 0] = torch.nan
    assert sinkhorn(logits, 0.07).isnan().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; give a positive one"),
        ({"temperature": 0.07, "num_iterations": 0}, "num_iterations is 0; give at least 1"),
    ],
)
def test_senseless_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sinkhorn(LOGITS, **arguments)


def test_centered_softmax_is_the_softmax_of_what_exceeds_the_center():
    center = torch.tensor([0.1, -0.2, 0.0, 0.3, 0.0])
    expected = ((LOGITS - center) / 0.07).softmax(dim=1).float()
    torch.testing.assert_close(centered_softmax(LOGITS.float(), 0.07, center=center), expected, rtol=1e-5, atol=0)


def test_center_moves_towards_the_mean_logits():
    logits = torch.tensor([[1.0, 0.0], [3.0, -2.0]])
    center = updated_center(torch.zeros(2), logits, momentum=0.9)
    torch.testing.assert_close(center, torch.tensor([0.2, -0.1]))


def test_center_stays_without_samples():
    center = torch.tensor([0.5, -1.0])
    assert torch.equal(updated_center(center, torch.zeros(0, 2)), center)


def test_senseless_settings_of_centering_are_refused():
    with pytest.raises(ValueError, match=r"temperature is -1.0; give a positive one"):
        centered_softmax(torch.zeros(1, 2), -1.0, center=torch.zeros(2))
    with pytest.raises(ValueError, match=r"momentum is 1.5; give a number of \[0, 1\]"):
        updated_center(torch.zeros(2), torch.zeros(1, 2), momentum=1.5)
