"""Feed-forward networks of a transformer block: MLP with GELU, and SwiGLU."""

import math

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class MLP(nn.Module):
    """fc2(GELU(fc1(x))) with the exact (erf) GELU."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Float[Tensor, "*token dim"]) -> Float[Tensor, "*token dim"]:
        return self.fc2(F.gelu(self.fc1(x)))


class SwiGLU(nn.Module):
    """w3(silu(w1(x)) · w2(x)) (Shazeer 2020)."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim)
        self.w2 = nn.Linear(dim, hidden_dim)
        self.w3 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Float[Tensor, "*token dim"]) -> Float[Tensor, "*token dim"]:
        return self.w3(F.silu(self.w1(x)) * self.w2(x))


def swiglu_hidden_dim(dim: int, ratio: float, *, align: int = 8) -> int:
    """Two thirds of `dim · ratio` (the size of an MLP of `ratio`), rounded up to a multiple of `align`."""
    return math.ceil(int(int(dim * ratio) * 2 / 3) / align) * align
