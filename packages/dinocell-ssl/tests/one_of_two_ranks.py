"""One rank of test_two_ranks.py: its share of the samples through the losses, results to a file.

Arguments: rank, folder. Samples and results are exchanged as files of that folder.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from dinocell_ssl import koleo_loss, sinkhorn, updated_center
from dinocell_ssl.model.sharded import gathered


def compute(rank: int, folder: Path) -> None:
    world = dist.group.WORLD
    samples = torch.load(folder / "samples.pt", weights_only=True)
    logits = samples["logits"].split(samples["split"])[rank]
    empty_on_first = samples["logits"].split([0, len(samples["logits"])])[rank]
    results = {
        "sinkhorn": sinkhorn(logits, 0.07, group=world),
        "sinkhorn_empty": sinkhorn(empty_on_first, 0.07, group=world),
        "center": updated_center(samples["center"], logits, group=world),
    }
    for group_size in (None, 2, 4, 8):
        features = samples["features"].chunk(2)[rank].clone().requires_grad_()
        loss = koleo_loss(features, group=world, group_size=group_size)
        loss.backward()
        results[f"koleo_{group_size}"] = loss.detach()
        results[f"koleo_grad_{group_size}"] = features.grad
    mesh = init_device_mesh("cpu", (2,))
    sharded = {"weights": [distribute_tensor(torch.arange(6.0), mesh, [Shard(0)])], "step": 3}
    results["gathered"] = gathered(sharded, is_kept=rank == 0)
    torch.save(results, folder / f"rank{rank}.pt")


chosen_rank, chosen_folder = int(sys.argv[1]), Path(sys.argv[2])
dist.init_process_group(
    "gloo", init_method=f"file://{chosen_folder}/store", rank=chosen_rank, world_size=2, timeout=timedelta(seconds=120)
)
compute(chosen_rank, chosen_folder)
dist.destroy_process_group()
# torch's caches of sharded tensors hold the group until the interpreter ends, and its threads may then abort the
# process ("terminate called without an active exception"); the results are in their file.
os._exit(0)
