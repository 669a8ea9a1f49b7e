"""The mass of Sinkhorn-Knopp on a GPU."""

import torch
from jaxtyping import Shaped
from torch import Tensor

from dinocell_kernels.torch_cuda.device import TILES, has_kernels, kernel_of, new, of_type, queue


class SinkhornMass:
    """exp(logits / temperature - its sample's maximum), [sample prototype], as sums and products that never store it.

    Logits are float32 or bfloat16 on a GPU; every method reads them once and gives float32.
    """

    def __init__(self, logits: Tensor, temperature: float) -> None:
        if logits.ndim != 2:
            raise ValueError(f"logits must be [sample prototype], got shape {tuple(logits.shape)}")
        self._logits = of_type(logits, TILES, "logits")
        self._temperature = temperature
        self.sample_max = new(self._logits, logits.shape[:1], torch.float32)
        self._run("sample_max", self.sample_max)

    def of_prototypes(self, v: Tensor) -> Tensor:
        """v @ mass."""
        mass = new(self._logits, self._logits.shape[1:], torch.float32)
        scratch = new(self._logits, (kernel_of("sinkhorn_scratch")(*self._logits.shape),), torch.float32)
        self._run("prototype_mass", self.sample_max, self._factors(v, "v", 0), mass, scratch)
        return mass

    def of_samples(self, u: Tensor) -> Tensor:
        """mass @ u."""
        mass = new(self._logits, self._logits.shape[:1], torch.float32)
        self._run("sample_mass", self.sample_max, self._factors(u, "u", 1), mass)
        return mass

    def scaled(self, u: Tensor, v: Tensor) -> Tensor:
        """diag(v) mass diag(u)."""
        targets = new(self._logits, self._logits.shape, torch.float32)
        self._run("targets", self.sample_max, self._factors(u, "u", 1), self._factors(v, "v", 0), targets)
        return targets

    def _factors(self, factors: Tensor, name: str, axis: int) -> Tensor:
        expected = (self._logits.shape[axis],)
        if factors.shape != expected or factors.device != self._logits.device:
            raise ValueError(
                f"{name} is {tuple(factors.shape)} on {factors.device}, expected {expected} on {self._logits.device}"
            )
        return of_type(factors, (torch.float32,), name)

    def _run(self, name: str, *arrays: Tensor) -> None:
        kernel = kernel_of("sinkhorn_" + name, self._logits.dtype)
        queue(self._logits, kernel, self._logits, *self._logits.shape, self._temperature, *arrays)


def has_sinkhorn(logits: Shaped[Tensor, "..."]) -> bool:
    """Whether `SinkhornMass` takes these logits here."""
    return logits.is_cuda and logits.dtype in TILES and has_kernels(logits.device)
