"""Balanced teacher targets: Sinkhorn-Knopp on the teacher's logits (Caron 2020, SwAV)."""

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from dinocell_ssl.distributed import reduce_in_place


@torch.no_grad()
def sinkhorn(
    logits: Float[Tensor, "sample prototype"],
    temperature: float,
    *,
    num_iterations: int = 3,
    group: dist.ProcessGroup | None = None,
) -> Float[Tensor, "sample prototype"]:
    """Soft assignments of samples to prototypes, each sample summing to 1, prototypes used about equally.

    Each iteration gives every prototype, then every sample, the same mass. With `group` the samples of all ranks
    are balanced together; ranks may bring different numbers of samples, also none, but each must call. Both global
    crops of a batch belong in one call.

    Computed in float32 (float64 stays). Takes one new array of the size of the logits, whatever the number of
    iterations: 4 bytes x samples x prototypes, 655 MB for 2,496 masked tokens and 65,536 prototypes.

    Logits of any finite size give finite targets. Adding a constant to all logits changes nothing; adding one to a
    single sample does. NaN or infinite logits give NaN on all ranks. Raises ValueError unless temperature and
    num_iterations are positive.

    Differs from the published code in: 1. one global maximum is subtracted before the exponential, which there
    overflows at logit / temperature > 88; 2. a sample far below that maximum keeps its targets, and a prototype more
    than 87 · temperature below every sample's best one gets a finite, if inexact, share: there both are 0 / 0;
    3. the samples need not be counted, since their number cancels.
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; give a positive one, DINOv3 uses 0.04 to 0.07")
    if num_iterations < 1:
        raise ValueError(f"num_iterations is {num_iterations}; give at least 1, DINOv3 uses 3")
    num_prototypes = logits.shape[1]
    mass = logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True).div_(temperature)
    tiny = torch.finfo(mass.dtype).tiny
    sample_max = mass.amax(dim=1)
    global_max = sample_max.new_full((), -torch.inf) if len(mass) == 0 else sample_max.amax()
    reduce_in_place(global_max, dist.ReduceOp.MAX, group=group)

    # The balanced matrix is diag(v) mass diag(u): only the two vectors iterate, the matrix is read, never rewritten.
    # A sample's own maximum is kept in its v, so that subtracting it leaves the assignment as it is.
    mass.sub_(sample_max[:, None]).exp_()
    v = (sample_max - global_max).exp()
    u = mass.new_ones(num_prototypes)
    for _ in range(num_iterations):
        prototype_mass = reduce_in_place(v @ mass, dist.ReduceOp.SUM, group=group)
        # Only ratios matter: relative to the largest, the factors keep their size over any number of iterations.
        # A prototype no sample reaches gets the largest factor that cannot overflow the sums of samples.
        u = 1 / (num_prototypes * (prototype_mass / prototype_mass.amax()).clamp_min(tiny))
        v = 1 / (mass @ u)
    return mass.mul_(u).mul_(v[:, None])
