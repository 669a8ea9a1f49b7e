"""The first rank may work alone for longer than the ranks wait for each other within a step."""

import os
import socket
import subprocess
import sys

import pytest
import torch

PROGRAM = """
import sys, time
import torch
import torch.distributed as dist
from dinocell_ssl.distributed import joined_ranks, reduce_in_place

with joined_ranks("cpu", timeout_seconds=2) as ranks:
    periods = ranks.from_first([5, 7] if ranks.is_first else [])
    if ranks.is_first:
        time.sleep(5)
    ranks.wait_for_all() if sys.argv[1] == "patient" else dist.barrier(group=ranks.group)
    total = reduce_in_place(torch.ones(1), dist.ReduceOp.SUM, group=ranks.group)
    print(periods, int(total))
"""


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
@pytest.mark.parametrize(("wait", "comes_through"), [("patient", True), ("of a step", False)])
def test_ranks_wait_for_the_first_longer_than_for_each_other(wait, comes_through):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    environment["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, wait],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    if comes_through:
        assert [out for out, _ in outputs] == ["[5, 7] 2\n"] * 2, outputs
    else:
        assert "RankLostError" in outputs[1][1], "test invalid"
