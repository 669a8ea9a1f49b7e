"""Sums, maxima and samples over the ranks of a process group; `group=None` means this process alone.

No function looks for an initialised group by itself: `torch.distributed.group.WORLD` (None without
torch.distributed) is what a trainer passes.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor


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
