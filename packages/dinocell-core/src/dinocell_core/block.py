"""Transformer block of DINOv3: pre-norm attention and feed-forward network with learned LayerScale."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dinocell_core.attention import SelfAttention
from dinocell_core.ffn import MLP, SwiGLU
from dinocell_core.rope import RotaryTable

Residual = Callable[[Tensor], Tensor]


class LayerScale(nn.Module):
    """One learned factor per channel of a residual branch (Touvron 2021)."""

    def __init__(self, dim: int, *, init: float = 1e-5) -> None:
        super().__init__()
        self.init = init
        self.gamma = nn.Parameter(torch.full((dim,), init))

    def forward(self, branch: Float[Tensor, "*token dim"]) -> Float[Tensor, "*token dim"]:
        return branch * self.gamma


def drop_path(x: Float[Tensor, "b token dim"], branch: Residual, *, rate: float) -> Float[Tensor, "b token dim"]:
    """`x` plus the branch of a random subset of samples, scaled to the expectation of all samples.

    max(int(b · (1 - rate)), 1) samples are computed, the others cost nothing (stochastic depth in the
    batch-subset form of DINOv2).
    """
    batch = x.shape[0]
    kept = max(int(batch * (1 - rate)), 1)
    chosen = torch.randperm(batch, device=x.device)[:kept]
    residual = branch(x[chosen])
    return torch.index_add(x, 0, chosen, residual.to(x.dtype), alpha=batch / kept)


class Block(nn.Module):
    """x + ls1(attention(norm1(x))), then x + ls2(ffn(norm2(x))).

    Several sequences of different length pass as a list with one table each, through one call, so that a
    sharded block is gathered once; each is computed on its own, exactly as if it came alone.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        ffn: MLP | SwiGLU,
        *,
        qkv_bias: bool = True,
        mask_k_bias: bool = True,
        layerscale_init: float = 1e-5,
        norm_eps: float = 1e-5,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path is {drop_path}; it is the share of samples that skip a branch, in [0, 1)")
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = SelfAttention(dim, num_heads, qkv_bias=qkv_bias, mask_k_bias=mask_k_bias)
        self.ls1 = LayerScale(dim, init=layerscale_init)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = ffn
        self.ls2 = LayerScale(dim, init=layerscale_init)
        self.drop_path = drop_path

    def forward(self, sequences: Sequence[Tensor], tables: Sequence[RotaryTable | None]) -> list[Tensor]:
        return [self._one(x, table) for x, table in zip(sequences, tables, strict=True)]

    def _one(self, x: Tensor, table: RotaryTable | None) -> Tensor:
        x = self._add(x, lambda tokens: self.ls1(self.attn(self.norm1(tokens), table)))
        return self._add(x, lambda tokens: self.ls2(self.mlp(self.norm2(tokens))))

    def _add(self, x: Tensor, branch: Residual) -> Tensor:
        if self.training and self.drop_path > 0:
            return drop_path(x, branch, rate=self.drop_path)
        return x + branch(x)
