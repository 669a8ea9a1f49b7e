"""Multi-head self-attention with rotary positions."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dinocell_core.rope import RotaryTable, rotate

MAX_SCORES = 2**26  # 128 MB in bfloat16: 8 images of 261 tokens at 16 heads need an eighth of it


def attend(
    q: Float[Tensor, "b head token head_dim"],
    k: Float[Tensor, "b head token head_dim"],
    v: Float[Tensor, "b head token head_dim"],
) -> Float[Tensor, "b head token head_dim"]:
    """softmax(q kᵀ / sqrt(head_dim)) v.

    In bfloat16 on a CPU the three products are written out if the scores fit into `MAX_SCORES`: PyTorch's fused kernel
    computes in float32 there, which takes 2.3 times as long forward and 3 times as long backward.
    """
    batch, heads, tokens, _ = q.shape
    if (
        q.dtype == torch.bfloat16
        and q.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and batch * heads * tokens * tokens <= MAX_SCORES
    ):
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return scores.softmax(-1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v)


class KMaskedLinear(nn.Linear):
    """Fused q|k|v projection whose key bias is switched off by a mask.

    Without rotary positions a bias on the keys would add the same number to all scores of a query, which the softmax
    removes. Rotated keys carry a rotated bias, which differs by position and stays: the mask is part of the published
    architecture, not a saving. `bias_mask` is 1 for q, 0 for k, 1 for v; it is a buffer of the state dict because the
    published checkpoints hold it (as zeros).
    """

    bias_mask: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("bias_mask", torch.empty(out_features))
        self.reset_bias_mask()

    def reset_bias_mask(self) -> None:
        """Switch on the q and v thirds of the bias, and switch off the k third."""
        self.bias_mask.copy_(self.standard_bias_mask())

    def standard_bias_mask(self, *, device: torch.device | str | None = None) -> Float[Tensor, " three_channel"]:
        """1 for q, 0 for k, 1 for v."""
        mask = torch.ones(3, self.out_features // 3, device=device or self.bias_mask.device)
        mask[1] = 0
        return mask.flatten()

    def forward(self, input: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch three_channel"]:
        return F.linear(input, self.weight, self.bias * self.bias_mask.to(self.bias.dtype))


class SelfAttention(nn.Module):
    """Softmax attention of every token to every token; queries and keys are rotated by their positions."""

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool = True, mask_k_bias: bool = True) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} does not divide into {num_heads} heads")
        self.num_heads = num_heads
        masked = qkv_bias and mask_k_bias
        self.qkv = KMaskedLinear(dim, 3 * dim) if masked else nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b token dim"], table: RotaryTable | None) -> Float[Tensor, "b token dim"]:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        qk, v = qkv[:, :, :2], qkv[:, :, 2]
        if table is not None:
            qk = rotate(qk, table)
        q, k = qk.unbind(2)
        out = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return self.proj(out.transpose(1, 2).flatten(2))
