"""Sums, maxima and samples over the ranks of a process group; `group=None` means this process alone.

No function looks for an initialised group by itself: `torch.distributed.group.WORLD` (None without
torch.distributed) is what a trainer passes.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor

_PATIENCE = timedelta(days=1)  # a few-shot training, a full bucket, an upload of the log; a killed rank is seen at once


def reduce_in_place(
    tensor: Shaped[Tensor, "*shape"], op: dist.ReduceOp.RedOpType, *, group: dist.ProcessGroup | None
) -> Shaped[Tensor, "*shape"]:
    """`tensor` itself, holding the sum, maximum, ... over all ranks."""
    if group is not None:
        dist.all_reduce(tensor, op=op, group=group)
    return tensor


def gather_samples(
    features: Float[Tensor, "sample feature"], *, group: dist.ProcessGroup | None
) -> Float[Tensor, "gathered feature"]:
    """Samples of all ranks in the order of the ranks; every rank must bring the same number.

    The gradient of a rank's samples is the sum over all ranks' losses, so that gradients averaged over ranks (as
    DDP and FSDP do) are those of the mean of the ranks' losses.
    """
    if group is None:
        return features
    return _GatherSamples.apply(features, group)


class _GatherSamples(torch.autograd.Function):
    # torch.distributed.nn's all_gather needs an all_to_all in its backward pass, which not every backend has.
    @staticmethod
    def forward(ctx: Any, features: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        ctx.num_samples = len(features)
        parts = [torch.empty_like(features) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, features.contiguous(), group=group)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = reduce_in_place(grad.clone(memory_format=torch.contiguous_format), dist.ReduceOp.SUM, group=ctx.group)
        start = dist.get_rank(ctx.group) * ctx.num_samples
        return total[start : start + ctx.num_samples], None


class ProcessLostError(RuntimeError):
    """A process of the run was lost; the same command continues from the last checkpoint."""


class RankLostError(ProcessLostError):
    """Another rank of the run no longer answers."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run, of which `local_world_size` are on its machine."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    group: dist.ProcessGroup | None = None
    local_world_size: int = 1
    patient_group: dist.ProcessGroup | None = None
    """The same ranks, on CPUs, for waits as long as what the first rank does alone (monitors, logs)."""

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait_for_all(self) -> None:
        """Return when every rank has called, however long one of them takes; RankLostError if one has ended."""
        if self.patient_group is not None:
            dist.barrier(group=self.patient_group)

    def highest(self, number: int) -> int:
        """The highest of the numbers that the ranks bring."""
        if self.patient_group is None:
            return number
        return int(reduce_in_place(torch.tensor(number), dist.ReduceOp.MAX, group=self.patient_group))

    def from_first(self, numbers: Sequence[int]) -> list[int]:
        """The numbers that the first rank brings, on every rank."""
        if self.patient_group is None:
            return list(numbers)
        shared: list[Sequence[int]] = [numbers]
        dist.broadcast_object_list(shared, src=0, group=self.patient_group)
        return list(shared[0])


def _tells_of_another_rank(error: RuntimeError) -> bool:
    # gloo raises plain RuntimeErrors, recognised by its source file or by the state of the connection.
    marks = ("gloo", "Connection closed by peer", "Connection reset by peer")
    return isinstance(error, dist.DistError) or any(mark in str(error) for mark in marks)


def _first_sentence(error: RuntimeError) -> str:
    return str(error).splitlines()[0].split(". ")[0] if str(error) else type(error).__name__


@contextmanager
def joined_ranks(device_type: str, *, timeout_seconds: float = 600) -> Iterator[Ranks]:
    """Join the processes that `torchrun` started, or be alone; the only reader of its environment variables.

    Ranks communicate by NCCL on GPUs and by gloo on CPUs. If a rank is killed, or does not answer for
    `timeout_seconds` within a step, the others end with a RankLostError. What the first rank does alone between two
    steps may take longer: the others wait in `Ranks.wait_for_all`.
    """
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield Ranks()
        return
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE is set but {', '.join(missing)} not; start several processes with torchrun "
            "--nproc-per-node N --no-python dinocell pretrain ..., or unset WORLD_SIZE"
        )
    local_rank = int(os.environ["LOCAL_RANK"])
    if device_type == "cuda":
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=timedelta(seconds=timeout_seconds))
    try:
        world_size = dist.get_world_size()
        local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
        patient = dist.new_group(backend="gloo", timeout=_PATIENCE)
        yield Ranks(dist.get_rank(), local_rank, world_size, dist.group.WORLD, local_world_size, patient)
    except RuntimeError as error:
        if not _tells_of_another_rank(error):
            raise
        raise RankLostError(
            f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} lost another rank ({_first_sentence(error)}); "
            "look at its last messages, or whether the system killed it for memory. Start all ranks again with "
            "the same command: the run continues from its last checkpoint"
        ) from error
    finally:
        dist.destroy_process_group()
