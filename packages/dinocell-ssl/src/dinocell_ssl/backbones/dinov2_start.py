"""A start from DINOv2 (Oquab 2023): the weights that mean the same in the backbone of DINOv3.

| in DINOv2               | here                                                                               |
|-------------------------|------------------------------------------------------------------------------------|
| learned positions       | their mean joins the bias of the patches, the class token's its token; RoPE for the rest |
| registers               | storage tokens; random if the file has none                                        |
| biases of keys          | left out: without RoPE the softmax removes them, and DINOv3 has none               |
| patch kernel of 14 x 14 | resized by the pseudo-inverse of image resizing (FlexiViT)                         |

So the features of the start are not those of DINOv2, whose positions are lost: it is only a start for training.
The weights of DINOv2 are under Apache-2.0, those of DINOv3 under a licence of their own.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from dinocell_core import DinoVisionTransformer
from dinocell_core.attention import KMaskedLinear
from dinocell_core.patch_embed import expand_channels, fold_to_grey, resize_kernel

_POSITIONS = "pos_embed"
_KERNEL = "patch_embed.proj.weight"
_HUGGING_FACE_NAMES = {
    r"embeddings\.(cls_token|mask_token|register_tokens)": r"\1",
    r"embeddings\.position_embeddings": _POSITIONS,
    r"embeddings\.patch_embeddings\.projection\.(weight|bias)": r"patch_embed.proj.\1",
    r"encoder\.layer\.(\d+)\.(norm[12]|mlp\.fc[12])\.(weight|bias)": r"blocks.\1.\2.\3",
    r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)": r"blocks.\1.attn.\2.\3",
    r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(weight|bias)": r"blocks.\1.attn.proj.\2",
    r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1": r"blocks.\1.ls\2.gamma",
    r"layernorm\.(weight|bias)": r"norm.\1",
}


def is_dinov2(path: str | Path) -> bool:
    """Whether a file holds weights of DINOv2, in Meta's or Hugging Face's layout, judged by their names."""
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                names = set(file.keys())
        else:
            content = torch.load(path, map_location="meta", weights_only=True)
            names = {str(key) for key in content} if isinstance(content, Mapping) else set()
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError):
        return False  # damaged, or of something else: the loader of DINOv3 files says what is wrong
    renamed = {_renamed(name) for name in names}
    return {_POSITIONS, _KERNEL, "blocks.0.ls1.gamma"} <= renamed and "storage_tokens" not in renamed


def load_dinov2(backbone: DinoVisionTransformer, path: str | Path) -> dict[str, str | None]:
    """Load a DINOv2 file for which `is_dinov2` is true; returns what was converted, for the record.

    Small, base and large have the shapes of DINOv3's models with these names. Raises ValueError, and leaves the
    backbone as it is, if keys or shapes do not fit.
    """
    path = Path(path)
    content = (
        load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    )
    weights = _fused({_renamed(name): tensor.float() for name, tensor in content.items()})
    own = backbone.state_dict()
    positions = weights.pop(_POSITIONS)[0]
    weights["cls_token"] = weights["cls_token"] + positions[0]
    weights["patch_embed.proj.bias"] = weights["patch_embed.proj.bias"] + positions[1:].mean(dim=0)
    has_registers = "register_tokens" in weights
    weights["storage_tokens"] = weights.pop("register_tokens", own["storage_tokens"])
    weights["mask_token"] = weights["mask_token"].flatten(0, -2)
    kernel = weights[_KERNEL]
    old_patch, old_channels = kernel.shape[-1], kernel.shape[1]
    kernel = resize_kernel(_with_channels(kernel, backbone.in_channels), backbone.patch_size)
    weights |= {_KERNEL: kernel, "rope_embed.periods": backbone.rope_embed.exact_periods()}
    for name, module in backbone.named_modules():
        if isinstance(module, KMaskedLinear):
            mask = weights[f"{name}.bias_mask"] = module.standard_bias_mask(device="cpu")
            if f"{name}.bias" in weights and weights[f"{name}.bias"].shape == mask.shape:
                weights[f"{name}.bias"] = weights[f"{name}.bias"] * mask
    differing = sorted(own.keys() ^ weights.keys())
    differing += [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    if differing:
        raise ValueError(
            f"{path} is a DINOv2 file that does not fit this backbone ({len(differing)} weights, such as "
            f"{differing[0]}); set network.size to small for its ViT-S, base for ViT-B, large for ViT-L. Its giant "
            "model has no counterpart"
        )
    backbone.load_state_dict(weights)
    patch, channels = backbone.patch_size, backbone.in_channels
    return {
        "layout": "dinov2",
        "patch_conversion": None if patch == old_patch else f"flexivit {old_patch} -> {patch}",
        "channel_conversion": None if channels == old_channels else f"{old_channels} -> {channels}",
        "qkv_bias": "trainable",
        "positions": "mean kept, the rest replaced by RoPE",
        "storage_tokens": "file" if has_registers else "random",
    }


def _with_channels(kernel: Tensor, channels: int) -> Tensor:
    if kernel.shape[1] == channels:
        return kernel
    return fold_to_grey(kernel) if channels == 1 else expand_channels(kernel, channels)


def _renamed(name: str) -> str:
    for pattern, published in _HUGGING_FACE_NAMES.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(published)
    return name


def _fused(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's queries, keys and values of every block stacked into qkv."""
    for name in [name for name in weights if ".attn.query." in name]:
        parts = [weights.pop(name.replace(".query.", f".{part}.")) for part in ("query", "key", "value")]
        weights[name.replace(".query.", ".qkv.")] = torch.cat(parts)
    return weights
