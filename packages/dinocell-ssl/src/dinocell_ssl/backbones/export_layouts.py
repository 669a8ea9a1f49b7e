"""A backbone's weights under the names of Hugging Face's and timm's DINOv3; Meta's names are our own.

The way back is `dinocell_core.checkpoint_layouts.to_meta_layout`.
"""

import re

import torch
from jaxtyping import Float32
from torch import Tensor

from dinocell_core import DinoVisionTransformer
from dinocell_core.attention import KMaskedLinear, SelfAttention

_HUGGING_FACE = {
    r"cls_token": "embeddings.cls_token",
    r"storage_tokens": "embeddings.register_tokens",
    r"mask_token": "embeddings.mask_token",
    r"patch_embed\.proj\.(weight|bias)": r"embeddings.patch_embeddings.\1",
    r"norm\.(weight|bias)": r"norm.\1",
    r"blocks\.(\d+)\.(norm[12])\.(weight|bias)": r"layer.\1.\2.\3",
    r"blocks\.(\d+)\.attn\.([qkv])\.(weight|bias)": r"layer.\1.attention.\2_proj.\3",
    r"blocks\.(\d+)\.attn\.proj\.(weight|bias)": r"layer.\1.attention.o_proj.\2",
    r"blocks\.(\d+)\.ls([12])\.gamma": r"layer.\1.layer_scale\2.lambda1",
    r"blocks\.(\d+)\.mlp\.(?:fc1|w2)\.(weight|bias)": r"layer.\1.mlp.up_proj.\2",
    r"blocks\.(\d+)\.mlp\.(?:fc2|w3)\.(weight|bias)": r"layer.\1.mlp.down_proj.\2",
    r"blocks\.(\d+)\.mlp\.w1\.(weight|bias)": r"layer.\1.mlp.gate_proj.\2",
}
_TIMM = {
    r"cls_token": "cls_token",
    r"storage_tokens": "reg_token",
    r"patch_embed\.proj\.(weight|bias)": r"patch_embed.proj.\1",
    r"norm\.(weight|bias)": r"norm.\1",
    r"blocks\.(\d+)\.(norm[12]|attn\.proj|attn\.qkv|mlp\.fc[12])\.(weight|bias)": r"blocks.\1.\2.\3",
    r"blocks\.(\d+)\.attn\.([qv])\.bias": r"blocks.\1.attn.\2_bias",
    r"blocks\.(\d+)\.ls([12])\.gamma": r"blocks.\1.gamma_\2",
    r"blocks\.(\d+)\.mlp\.w1\.(weight|bias)": r"blocks.\1.mlp.fc1_g.\2",
    r"blocks\.(\d+)\.mlp\.w2\.(weight|bias)": r"blocks.\1.mlp.fc1_x.\2",
    r"blocks\.(\d+)\.mlp\.w3\.(weight|bias)": r"blocks.\1.mlp.fc2.\2",
}


def hugging_face_weights(backbone: DinoVisionTransformer) -> dict[str, Tensor]:
    """Weights as transformers' DINOv3ViTModel names them, float32 on the CPU; q, k and v apart.

    Biases of keys are included only if they act (see `key_bias_acts`). The names are those of the published files
    (`layer.0...`), which every version of transformers reads.
    """
    weights = _apart(backbone, keep_weight_fused=False)
    weights["mask_token"] = weights["mask_token"][None]
    return _renamed(weights, _HUGGING_FACE)


def timm_weights(backbone: DinoVisionTransformer) -> dict[str, Tensor]:
    """Weights as timm's `vit_*_patch16_dinov3_qkvb` names them, float32 on the CPU; it has no mask token.

    Without biases of q and v they are those of `vit_*_patch16_dinov3`. Raises ValueError for biases of keys.
    """
    if key_bias_acts(backbone):
        raise ValueError("timm's DINOv3 has no biases of keys, and this backbone has; export to 'hugging_face'")
    weights = _apart(backbone, keep_weight_fused=True)
    del weights["mask_token"]
    return _renamed(weights, _TIMM)


def key_bias_acts(backbone: DinoVisionTransformer) -> bool:
    """Whether any bias of keys is neither 0 nor masked; the published backbones have none.

    Without rotary positions the softmax would remove it; rotated keys carry a rotated bias, which stays.
    """
    return any(
        bool(bias.chunk(3)[1].any()) for _, attention in _attentions(backbone) if (bias := _bias(attention)) is not None
    )


def _apart(backbone: DinoVisionTransformer, *, keep_weight_fused: bool) -> dict[str, Tensor]:
    """The state dict without buffers and `local_cls_norm`; qkv in parts, with the biases that act."""
    weights = {
        name: parameter.detach().to("cpu", torch.float32)
        for name, parameter in backbone.named_parameters()
        if not name.startswith("local_cls_norm.")
    }
    biased_parts = "qkv" if key_bias_acts(backbone) else "qv"
    for name, attention in _attentions(backbone):
        weight = weights.pop(f"{name}.qkv.weight")
        weights.pop(f"{name}.qkv.bias", None)
        if keep_weight_fused:
            weights[f"{name}.qkv.weight"] = weight
        else:
            weights |= {f"{name}.{part}.weight": piece for part, piece in zip("qkv", weight.chunk(3), strict=True)}
        if (bias := _bias(attention)) is not None:
            pieces = dict(zip("qkv", bias.chunk(3), strict=True))
            weights |= {f"{name}.{part}.bias": pieces[part] for part in biased_parts}
    return weights


def _attentions(backbone: DinoVisionTransformer) -> list[tuple[str, SelfAttention]]:
    return [(name, module) for name, module in backbone.named_modules() if isinstance(module, SelfAttention)]


def _bias(attention: SelfAttention) -> Float32[Tensor, " three_channel"] | None:
    """The bias of q, k and v that acts, on the CPU."""
    if attention.qkv.bias is None:
        return None
    bias = attention.qkv.bias.detach()
    if isinstance(attention.qkv, KMaskedLinear):
        bias = bias * attention.qkv.bias_mask.to(bias)
    return bias.to("cpu", torch.float32)


def _renamed(weights: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    renamed = {}
    for key, tensor in weights.items():
        match, name = next(
            (match, name) for pattern, name in names.items() if (match := re.fullmatch(pattern, key)) is not None
        )
        renamed[match.expand(name)] = tensor.contiguous().clone()  # views of one tensor cannot be saved separately
    return renamed
