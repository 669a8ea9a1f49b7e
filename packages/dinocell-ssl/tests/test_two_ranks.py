"""Two processes with half of the samples each compute what one process does with all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dinocell_ssl import koleo_loss, sinkhorn, updated_center

SCRIPT = Path(__file__).with_name("one_of_two_ranks.py")


@pytest.fixture(scope="module")
def samples():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 12, generator=generator, dtype=torch.float64) * 0.1
    logits[6] += 0.5  # the maximum lies on the second rank
    return {
        "logits": logits,
        "split": [3, 5],
        "center": torch.randn(12, generator=generator, dtype=torch.float64),
        "features": torch.randn(8, 5, generator=generator, dtype=torch.float64),
    }


@pytest.fixture(scope="module")
def ranks(samples, tmp_path_factory):
    if not torch.distributed.is_gloo_available():
        pytest.skip("this PyTorch has no gloo")
    folder = tmp_path_factory.mktemp("two_ranks")
    torch.save(samples, folder / "samples.pt")
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), str(folder)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    try:
        errors = [process.communicate(timeout=180)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_sinkhorn_balances_the_samples_of_both_ranks(samples, ranks):
    alone = sinkhorn(samples["logits"][:3], 0.07)
    together = sinkhorn(samples["logits"], 0.07)
    assert (alone - together[:3]).abs().max() > 0.01, "test invalid"
    torch.testing.assert_close(torch.cat([rank["sinkhorn"] for rank in ranks]), together)


def test_sinkhorn_works_when_a_rank_has_no_samples(samples, ranks):
    assert len(ranks[0]["sinkhorn_empty"]) == 0
    torch.testing.assert_close(ranks[1]["sinkhorn_empty"], sinkhorn(samples["logits"], 0.07))


def test_center_is_that_of_all_samples(samples, ranks):
    expected = updated_center(samples["center"], samples["logits"])
    for rank in ranks:
        torch.testing.assert_close(rank["center"], expected)


def test_sharded_weights_are_gathered_on_the_rank_that_keeps_them_alone(ranks):
    assert ranks[0]["gathered"]["weights"][0].tolist() == [0, 1, 2, 3, 4, 5]
    assert ranks[1]["gathered"] == {"weights": [None], "step": 3}


@pytest.mark.parametrize("group_size", [None, 2, 4, 8])
def test_mean_koleo_loss_and_gradient_of_the_ranks_are_those_of_the_joint_batch(samples, ranks, group_size):
    features = samples["features"].clone().requires_grad_()
    loss = koleo_loss(features, group_size=group_size)
    loss.backward()
    losses = torch.stack([rank[f"koleo_{group_size}"] for rank in ranks])
    assert losses[0] != losses[1], "test invalid"
    torch.testing.assert_close(losses.mean(), loss.detach())
    # Data-parallel training averages over ranks: here each rank's gradient concerns its own samples only.
    gradient = torch.cat([rank[f"koleo_grad_{group_size}"] for rank in ranks]) / 2
    torch.testing.assert_close(gradient, features.grad)
