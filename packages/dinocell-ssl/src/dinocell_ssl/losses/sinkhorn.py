"""Balanced teacher targets: Sinkhorn-Knopp on the teacher's logits (Caron 2020, SwAV)."""

from typing import Protocol, runtime_checkable

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from dinocell_ssl.distributed import reduce_in_place


@runtime_checkable
class Mass(Protocol):
    """exp(logits / temperature - its sample's maximum), by sample and prototype, and the operations on it."""

    sample_max: Tensor

    def of_prototypes(self, v: Tensor) -> Tensor: ...
    def of_samples(self, u: Tensor) -> Tensor: ...
    def scaled(self, u: Tensor, v: Tensor) -> Tensor: ...


def mass_of(logits: Float[Tensor, "sample prototype"], temperature: float) -> Mass:
    """The mass as kernels that compute it again at each use, if a GPU has them; otherwise as an array."""
    if logits.is_cuda:
        from dinocell_kernels.torch_cuda import SinkhornMass, has_sinkhorn

        if has_sinkhorn(logits):
            return SinkhornMass(logits, temperature)
    return DenseMass(logits, temperature)


class DenseMass:
    """The mass as an array, which `scaled` turns into the targets; float64 stays, all else becomes float32."""

    def __init__(self, logits: Float[Tensor, "sample prototype"], temperature: float) -> None:
        self._mass = logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True).div_(temperature)
        self.sample_max = self._mass.amax(dim=1)
        self._mass.sub_(self.sample_max[:, None]).exp_()

    def of_prototypes(self, v: Float[Tensor, " sample"]) -> Float[Tensor, " prototype"]:
        """v @ mass."""
        return v @ self._mass

    def of_samples(self, u: Float[Tensor, " prototype"]) -> Float[Tensor, " sample"]:
        """mass @ u."""
        return self._mass @ u

    def scaled(self, u: Float[Tensor, " prototype"], v: Float[Tensor, " sample"]) -> Float[Tensor, "sample prototype"]:
        """diag(v) mass diag(u), in place of the mass."""
        return self._mass.mul_(u).mul_(v[:, None])


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
    are balanced together; ranks may have different numbers of samples, or none, but each must call. Both global
    crops of a batch belong in one call.

    Computed in float32 (float64 stays). Takes one new array of the size of the logits, whatever the number of
    iterations: 4 bytes x samples x prototypes, 655 MB for 2,496 masked tokens and 65,536 prototypes. float32 and
    bfloat16 logits on a GPU for which dinocell-kernels was built are read by its kernels, which write that array once.

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
    mass = mass_of(logits, temperature)
    tiny = torch.finfo(mass.sample_max.dtype).tiny
    global_max = mass.sample_max.new_full((), -torch.inf) if len(logits) == 0 else mass.sample_max.amax()
    reduce_in_place(global_max, dist.ReduceOp.MAX, group=group)

    # The balanced matrix is diag(v) mass diag(u): only the two vectors iterate, the matrix is read, never rewritten.
    # A sample's own maximum is kept in its v, so that subtracting it leaves the assignment as it is.
    v = (mass.sample_max - global_max).exp()
    u = mass.sample_max.new_ones(num_prototypes)
    for _ in range(num_iterations):
        prototype_mass = reduce_in_place(mass.of_prototypes(v), dist.ReduceOp.SUM, group=group)
        # Only ratios matter: relative to the largest, the factors keep their size over any number of iterations.
        # A prototype no sample reaches gets the largest factor that cannot overflow the sums of samples.
        u = 1 / (num_prototypes * (prototype_mass / prototype_mass.amax()).clamp_min(tiny))
        v = 1 / mass.of_samples(u)
    return mass.scaled(u, v)
