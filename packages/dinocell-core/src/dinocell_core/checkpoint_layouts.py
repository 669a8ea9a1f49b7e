"""Names of DINOv3 weights in the three published layouts, and their translation to ours, which is Meta's.

| layout         | recognised by                | differences                                            |
|----------------|------------------------------|--------------------------------------------------------|
| `meta`         | `storage_tokens`             | none                                                   |
| `hugging_face` | `embeddings.register_tokens` | q, k, v apart; no key bias, bias mask or periods       |
| `timm`         | `reg_token`                  | no mask token, key bias, bias mask or periods          |
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

Layout = Literal["meta", "hugging_face", "timm"]

_MARKS: dict[str, Layout] = {
    "storage_tokens": "meta",
    "embeddings.register_tokens": "hugging_face",
    "reg_token": "timm",
}

_HUGGING_FACE_NAMES = {
    r"embeddings\.cls_token": "cls_token",
    r"embeddings\.register_tokens": "storage_tokens",
    r"embeddings\.mask_token": "mask_token",
    r"embeddings\.patch_embeddings\.(weight|bias)": r"patch_embed.proj.\1",
    r"norm\.(weight|bias)": r"norm.\1",
    r"layer\.(\d+)\.(norm[12])\.(weight|bias)": r"blocks.\1.\2.\3",
    r"layer\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)": r"blocks.\1.attn.\2.\3",
    r"layer\.(\d+)\.attention\.o_proj\.(weight|bias)": r"blocks.\1.attn.proj.\2",
    r"layer\.(\d+)\.layer_scale([12])\.lambda1": r"blocks.\1.ls\2.gamma",
}
_HUGGING_FACE_MLP = {
    r"layer\.(\d+)\.mlp\.up_proj\.(weight|bias)": r"blocks.\1.mlp.fc1.\2",
    r"layer\.(\d+)\.mlp\.down_proj\.(weight|bias)": r"blocks.\1.mlp.fc2.\2",
}
_HUGGING_FACE_SWIGLU = {
    r"layer\.(\d+)\.mlp\.gate_proj\.(weight|bias)": r"blocks.\1.mlp.w1.\2",
    r"layer\.(\d+)\.mlp\.up_proj\.(weight|bias)": r"blocks.\1.mlp.w2.\2",
    r"layer\.(\d+)\.mlp\.down_proj\.(weight|bias)": r"blocks.\1.mlp.w3.\2",
}
_TIMM_NAMES = {
    r"cls_token": "cls_token",
    r"reg_token": "storage_tokens",
    r"patch_embed\.proj\.(weight|bias)": r"patch_embed.proj.\1",
    r"norm\.(weight|bias)": r"norm.\1",
    r"blocks\.(\d+)\.(norm[12]|attn\.proj)\.(weight|bias)": r"blocks.\1.\2.\3",
    r"blocks\.(\d+)\.attn\.qkv\.weight": r"blocks.\1.attn.qkv.weight",
    r"blocks\.(\d+)\.attn\.([qv])_bias": r"blocks.\1.attn.\2.bias",
    r"blocks\.(\d+)\.gamma_([12])": r"blocks.\1.ls\2.gamma",
}
_TIMM_MLP = {r"blocks\.(\d+)\.mlp\.fc([12])\.(weight|bias)": r"blocks.\1.mlp.fc\2.\3"}
_TIMM_SWIGLU = {
    r"blocks\.(\d+)\.mlp\.fc1_g\.(weight|bias)": r"blocks.\1.mlp.w1.\2",
    r"blocks\.(\d+)\.mlp\.fc1_x\.(weight|bias)": r"blocks.\1.mlp.w2.\2",
    r"blocks\.(\d+)\.mlp\.fc2\.(weight|bias)": r"blocks.\1.mlp.w3.\2",
}


def detect_layout(keys: Sequence[str]) -> Layout:
    """Layout of a state dict by the name of its storage tokens.

    Raises ValueError if it has none of them (DINOv2 files and files of other models), naming its first keys.
    """
    for mark, layout in _MARKS.items():
        if mark in keys:
            return layout
    raise ValueError(
        f"no DINOv3 layout is known with keys such as {', '.join(sorted(keys)[:5])}; expected one of "
        + ", ".join(f"{mark!r} ({layout})" for mark, layout in _MARKS.items())
    )


def to_meta_layout(weights: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """`weights` under Meta's names; a name without a counterpart is kept, so that the check of names reports it.

    A missing key bias is filled with zeros if q or v have a bias. Nothing else is added.
    """
    if layout == "meta":
        return dict(weights)
    if layout == "hugging_face":
        gated = any(".mlp.gate_proj." in key for key in weights)
        names = _HUGGING_FACE_NAMES | (_HUGGING_FACE_SWIGLU if gated else _HUGGING_FACE_MLP)
        # transformers 4 wrote layer.0, transformers 5 names its modules model.layer.0.
        weights = {key.removeprefix("model."): tensor for key, tensor in weights.items()}
    else:
        gated = any(".mlp.fc1_g." in key for key in weights)
        names = _TIMM_NAMES | (_TIMM_SWIGLU if gated else _TIMM_MLP)
    renamed = {_renamed(key, names): tensor for key, tensor in weights.items()}
    if "mask_token" in renamed:
        renamed["mask_token"] = renamed["mask_token"].flatten(0, -2)
    return _fused(renamed)


def _renamed(key: str, names: Mapping[str, str]) -> str:
    for pattern, name in names.items():
        if match := re.fullmatch(pattern, key):
            return match.expand(name)
    return key


def _fused(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """q, k and v of every block stacked into qkv."""
    blocks = {match.group(1) for key in weights if (match := re.fullmatch(r"(blocks\.\d+\.attn)\.[qkv]\..*", key))}
    for block in blocks:
        for kind in ("weight", "bias"):
            parts = [weights.get(f"{block}.{part}.{kind}") for part in "qkv"]
            q, k, v = parts
            if q is None or v is None:
                continue  # left apart: reported as unexpected, and qkv as missing
            if k is None and kind == "bias":
                k = torch.zeros_like(q)
            if k is None:
                continue
            weights[f"{block}.qkv.{kind}"] = torch.cat([q, k, v])
            for part in "qkv":
                weights.pop(f"{block}.{part}.{kind}", None)
    return weights
