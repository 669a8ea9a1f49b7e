"""Attention of a backbone's block as numbers: which tokens each token looks at, and how widely."""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from dinocell_core import DinoVisionTransformer
from dinocell_core.attention import SelfAttention
from dinocell_core.rope import RotaryTable, rotate


@torch.no_grad()
def attention_weights(
    backbone: DinoVisionTransformer,
    images: Float[Tensor, "image channel y x"],
    *,
    block: int = -1,
    num_queries: int | None = None,
) -> Float[Tensor, "image head query token"]:
    """Softmax attention of one block; tokens are [class, storage, patches], each query's weights sum to 1.

    `num_queries` keeps the first queries only: 1 is the class token alone. All queries take 4 · heads · tokens²
    bytes per image: 1 MB for the 201 tokens of 224 x 224 at patch 16 and 6 heads, 15 times that at patch 8.
    Blocks after `block` are not computed. Give a backbone in evaluation mode: in training mode RoPE is augmented.
    """
    return attention_and_patches(backbone, images, block=block, num_queries=num_queries)[0]


@torch.no_grad()
def attention_and_patches(
    backbone: DinoVisionTransformer,
    images: Float[Tensor, "image channel y x"],
    *,
    block: int = -1,
    num_queries: int | None = None,
) -> tuple[Float[Tensor, "image head query token"], Float[Tensor, "image row column feature"]]:
    """`attention_weights` of a block and its normed patch features, of one forward pass."""
    index = block if block >= 0 else backbone.num_blocks + block
    if not 0 <= index < backbone.num_blocks:
        raise ValueError(f"block is {block}; the backbone has {backbone.num_blocks} blocks, counted from 0 or from -1")
    attention = backbone.get_submodule(f"blocks.{index}.attn")
    assert isinstance(attention, SelfAttention)
    inputs: list[tuple[Any, ...]] = []
    hook = attention.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments))
    try:
        (patches,) = cast(tuple[Tensor], backbone.get_intermediate_layers(images, n=[index], reshape=True))
    finally:
        hook.remove()
    tokens, table = inputs[-1]
    return _weights(attention, tokens, table, num_queries), patches.permute(0, 2, 3, 1)


def _weights(
    attention: SelfAttention, tokens: Tensor, table: RotaryTable | None, num_queries: int | None
) -> Float[Tensor, "image head query token"]:
    qk = attention.qkv(tokens).unflatten(-1, (3, attention.num_heads, -1))[:, :, :2]
    if table is not None:
        qk = rotate(qk, table)
    q, k = (part.transpose(1, 2).float() for part in qk.unbind(2))
    return (q[:, :, :num_queries] @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)


def attention_entropy(weights: Float[Tensor, "image head query token"]) -> Float[Tensor, " head"]:
    """Entropy of each head's attention as a share of ln(tokens): 0 if it looks at one token, 1 if at all equally.

    Mean over images and queries.
    """
    num_tokens = weights.shape[-1]
    if num_tokens < 2:
        raise ValueError(f"attention over {num_tokens} token has no entropy to compare; give two tokens or more")
    entropy = torch.special.entr(weights).sum(dim=-1).mean(dim=(0, 2))
    return entropy / torch.log(entropy.new_tensor(num_tokens))
