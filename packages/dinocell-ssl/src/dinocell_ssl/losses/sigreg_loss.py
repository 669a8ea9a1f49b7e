"""SIGReg (Balestriero 2025, LeJEPA): features are held to a standard normal distribution, seen along random lines."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from dinocell_ssl.distributed import reduce_in_place


def sigreg_loss(
    features: Float[Tensor, "sample feature"],
    *,
    seed: int,
    num_directions: int = 1024,
    num_knots: int = 17,
    largest_frequency: float = 5.0,
    group: dist.ProcessGroup | None = None,
) -> Float[Tensor, ""]:
    """Mean over random unit directions of ∫ |φ(t) - exp(-t²/2)|² exp(-t²/2) dt, in float32 (float64 stays).

    φ is the characteristic function of the samples' projections, the integral a trapezoid rule over `num_knots`
    of [-`largest_frequency`, `largest_frequency`]: the statistic of Epps and Pulley (1983) but for its factor
    `samples`, which LeJEPA has and which would tie the weight of the loss to the batch. 0 for projections that are
    normal with mean 0 and variance 1; √(2π) (1 - √2 + 1/√3) = 0.409 for features that are all 0, whose gradient is
    0 too. n samples of a true normal distribution give 1.06 / n on average, since n points are not a distribution.
    Samples many deviations away get little gradient.

    Give features before any L2 normalisation, which makes a variance of 1 impossible: the head's MLP output.
    `seed` draws the directions, the same on every rank and device: pass the step. With `group` φ is that of all
    ranks' samples, of which ranks may bring different numbers; the gradients averaged over ranks are those of the
    loss. Memory: samples · directions · (knots + 1) / 2 numbers a few times over, 38 MB each for 1,024 samples.
    """
    if len(features) == 0 and group is None:
        raise ValueError("there is no sample to compare with a normal distribution; give one or more")
    if num_knots < 3 or num_knots % 2 == 0:
        raise ValueError(f"num_knots is {num_knots}; give an odd number of 3 or more, LeJEPA uses 17")
    with torch.autocast(device_type=features.device.type, enabled=False):
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        projections = wide @ random_directions(wide.shape[1], num_directions, seed=seed).to(wide).T
        # |φ(-t) - ...| = |φ(t) - ...|: frequencies from 0 on are enough, all but the first count twice.
        frequencies = torch.linspace(0, largest_frequency, num_knots // 2 + 1, dtype=wide.dtype, device=wide.device)
        normal = (-frequencies.square() / 2).exp()
        angles = projections[:, :, None] * frequencies
        count = reduce_in_place(wide.new_full((), len(wide)), dist.ReduceOp.SUM, group=group)
        cosine, sine = (_SumOverRanks.apply(part.sum(dim=0), group) / count for part in (angles.cos(), angles.sin()))
        difference = (cosine - normal).square() + sine.square()
        step = largest_frequency / (num_knots // 2)
        weights = torch.full_like(normal, 2 * step)
        weights[0] = weights[-1] = step
        return (difference @ (weights * normal)).mean()


def random_directions(num_features: int, num_directions: int, *, seed: int) -> Float[Tensor, "direction feature"]:
    """Unit vectors drawn evenly over the sphere, on the CPU, the same for the same seed."""
    if num_directions < 1:
        raise ValueError(f"num_directions is {num_directions}; give 1 or more, FINO uses 1024")
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(num_directions, num_features, generator=generator), dim=1)


class _SumOverRanks(torch.autograd.Function):
    """Sum of all ranks' tensors; a rank's gradient is the sum over all ranks' losses, as data parallelism averages."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        return reduce_in_place(tensor.clone(), dist.ReduceOp.SUM, group=group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        total = grad.clone(memory_format=torch.contiguous_format)
        return reduce_in_place(total, dist.ReduceOp.SUM, group=ctx.group), None
