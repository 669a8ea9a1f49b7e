"""SIGReg against the closed form of its integral, a plain loop, its known extremes, and two ranks."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dinocell_ssl.losses.sigreg_loss import random_directions, sigreg_loss


def random_features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact_integral(projections):
    """∫ |φ(t) - exp(-t²/2)|² exp(-t²/2) dt over all t, by the Gaussian integrals of its three terms."""
    pairs = (-(projections[:, None] - projections[None]).square() / 2).exp().mean()
    cross = math.sqrt(2) * (-projections.square() / 4).exp().mean()
    return math.sqrt(2 * math.pi) * (pairs - cross + 1 / math.sqrt(3))


def plain_sigreg(features, seed, num_directions, num_knots, largest_frequency):
    """All knots of [-T, T], complex exponentials, torch's trapezoid rule: LeJEPA's algorithm 1 without the factor."""
    total = 0.0
    t = torch.linspace(-largest_frequency, largest_frequency, num_knots, dtype=features.dtype)
    normal = (-t.square() / 2).exp()
    for direction in random_directions(features.shape[1], num_directions, seed=seed).to(features):
        phi = torch.exp(1j * (features @ direction)[:, None] * t).mean(dim=0)
        total = total + torch.trapezoid((phi - normal).abs().square() * normal, t)
    return total / num_directions


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_loss_is_the_closed_form_of_the_integral(scale):
    features = scale * random_features(12, 5) + 0.3
    directions = random_directions(5, 8, seed=3).double()
    expected = torch.stack([exact_integral(features @ direction) for direction in directions]).mean()
    loss = sigreg_loss(features, seed=3, num_directions=8, num_knots=401, largest_frequency=8.0)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-9)


def test_loss_and_gradient_are_those_of_the_plain_algorithm():
    features = random_features(7, 4).requires_grad_()
    arguments = {"seed": 5, "num_directions": 6, "num_knots": 17, "largest_frequency": 5.0}
    loss, plain = sigreg_loss(features, **arguments), plain_sigreg(features, **arguments)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(torch.autograd.grad(loss, features), torch.autograd.grad(plain, features))


def test_collapsed_features_have_the_value_stated():
    loss = sigreg_loss(torch.zeros(16, 8, dtype=torch.float64), seed=0, num_knots=401, largest_frequency=8.0)
    assert float(loss) == pytest.approx(math.sqrt(2 * math.pi) * (1 - math.sqrt(2) + 1 / math.sqrt(3)), rel=1e-5)
    assert float(loss) == pytest.approx(0.409, abs=1e-3)


def test_true_normal_features_have_the_value_stated():
    losses = [
        float(sigreg_loss(random_features(64, 4, seed=seed), seed=seed, num_directions=16)) for seed in range(100)
    ]
    assert sum(losses) / 100 == pytest.approx(1.06 / 64, rel=0.1)


def descended(features, num_steps=60):
    features = features.clone().requires_grad_()
    for step in range(num_steps):
        (gradient,) = torch.autograd.grad(sigreg_loss(features, seed=step, num_directions=16), features)
        with torch.no_grad():
            features -= len(features) * gradient
    return features.detach()


def test_descent_brings_narrow_features_to_mean_zero_and_variance_one():
    features = descended(0.2 * random_features(128, 2))
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(2, dtype=torch.float64), rtol=0, atol=0.05)
    torch.testing.assert_close(features.std(dim=0), torch.ones(2, dtype=torch.float64), rtol=0, atol=0.05)


@pytest.mark.parametrize(("scale", "shift"), [(3.0, 0.0), (1.0, 2.0)])
def test_descent_lowers_the_loss_of_wide_and_of_shifted_features(scale, shift):
    features = scale * random_features(128, 2) + shift
    assert sigreg_loss(descended(features), seed=999) < 0.05 * sigreg_loss(features, seed=999)


def test_a_collapsed_direction_costs_though_every_feature_varies():
    line = random_features(200, 1) * torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    assert torch.allclose(line.std(dim=0).mean(), torch.tensor(1.0, dtype=torch.float64), atol=0.1), "test invalid"
    assert sigreg_loss(line, seed=0) > 10 * sigreg_loss(random_features(200, 2), seed=0)


def test_half_precision_features_are_compared_in_float32_under_autocast():
    features = random_features(16, 8).bfloat16()
    expected = sigreg_loss(features.float(), seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = sigreg_loss(features, seed=1)
    assert loss.dtype == torch.float32
    assert float(loss) == float(expected)


@pytest.mark.parametrize(
    ("num_samples", "arguments", "message"),
    [
        (0, {}, "there is no sample to compare with a normal distribution"),
        (4, {"num_knots": 16}, "num_knots is 16; give an odd number of 3 or more"),
        (4, {"num_directions": 0}, "num_directions is 0; give 1 or more"),
    ],
)
def test_wrong_arguments_are_refused(num_samples, arguments, message):
    with pytest.raises(ValueError, match=message):
        sigreg_loss(random_features(num_samples, 3), seed=0, **arguments)


RANK = """
import sys
from datetime import timedelta
import torch, torch.distributed as dist
from dinocell_ssl.losses.sigreg_loss import sigreg_loss
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2,
                        timeout=timedelta(seconds=120))
def compute():  # so that no loss and graph holds the group when the interpreter ends, which may abort the process
    features = torch.load(f"{folder}/features.pt", weights_only=True).split([3, 5])[rank].clone().requires_grad_()
    loss = sigreg_loss(features, seed=2, num_directions=16, group=dist.group.WORLD)
    loss.backward()
    torch.save((loss.detach(), features.grad), f"{folder}/rank{rank}.pt")
compute()
dist.destroy_process_group()
"""


def test_two_ranks_have_the_loss_and_the_averaged_gradient_of_the_joint_batch(tmp_path):
    if not torch.distributed.is_gloo_available():
        pytest.skip("this PyTorch has no gloo")
    features = random_features(8, 4)
    torch.save(features, tmp_path / "features.pt")
    script = Path(tmp_path / "rank.py")
    script.write_text(RANK)
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script)]
    ranks = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    try:
        errors = [process.communicate(timeout=180)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
            process.communicate()
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(errors)
    results = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    features.requires_grad_()
    loss = sigreg_loss(features, seed=2, num_directions=16)
    loss.backward()
    for rank_loss, _ in results:
        torch.testing.assert_close(rank_loss, loss.detach())
    torch.testing.assert_close(torch.cat([gradient for _, gradient in results]) / 2, features.grad)
