"""Centred teacher targets: the softmax of DINO (Caron 2021), cheaper than Sinkhorn-Knopp and less balanced."""

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from dinocell_ssl.distributed import reduce_in_place


@torch.no_grad()
def centered_softmax(
    logits: Float[Tensor, "sample prototype"], temperature: float, *, center: Float[Tensor, " prototype"]
) -> Float[Tensor, "sample prototype"]:
    """Softmax of (logits - center) / temperature in float32; each sample sums to 1."""
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; give a positive one, DINO uses 0.04 to 0.07")
    return ((logits.to(torch.promote_types(logits.dtype, torch.float32)) - center) / temperature).softmax(dim=-1)


@torch.no_grad()
def updated_center(
    center: Float[Tensor, " prototype"],
    logits: Float[Tensor, "sample prototype"],
    *,
    momentum: float = 0.9,
    group: dist.ProcessGroup | None = None,
) -> Float[Tensor, " prototype"]:
    """momentum · center + (1 - momentum) · mean logits of all ranks' samples; starts from a center of zeros.

    Ranks may bring different numbers of samples. Without any sample the center stays.
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum is {momentum}; give a number of [0, 1], DINO uses 0.9")
    count = reduce_in_place(center.new_full((), logits.shape[0]), dist.ReduceOp.SUM, group=group)
    total = reduce_in_place(logits.sum(dim=0, dtype=center.dtype), dist.ReduceOp.SUM, group=group)
    mean = torch.where(count > 0, total / count.clamp_min(1), center)
    return center.lerp(mean, 1 - momentum)
