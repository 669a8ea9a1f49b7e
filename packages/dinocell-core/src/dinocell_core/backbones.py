"""The published DINOv3 vision transformers by name, and `mini` and `tiny`, small ones of ours for CPUs."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import torch

from dinocell_core.rope import RopeAugmentation
from dinocell_core.vit import DinoVisionTransformer, ViTConfig

BACKBONES: Mapping[str, ViTConfig] = MappingProxyType(
    {
        "mini": ViTConfig(embed_dim=192, num_blocks=8, num_heads=3, layerscale_init=0.1),
        # LayerScale 0.1 as Touvron 2021 recommends for 12 blocks trained from scratch.
        "tiny": ViTConfig(embed_dim=192, num_blocks=12, num_heads=3, layerscale_init=0.1),
        "small": ViTConfig(embed_dim=384, num_blocks=12, num_heads=6),
        "small_plus": ViTConfig(embed_dim=384, num_blocks=12, num_heads=6, ffn="swiglu", ffn_ratio=6.0),
        "base": ViTConfig(embed_dim=768, num_blocks=12, num_heads=12),
        "large": ViTConfig(embed_dim=1024, num_blocks=24, num_heads=16),
        "large_plus": ViTConfig(embed_dim=1024, num_blocks=24, num_heads=16, ffn="swiglu", ffn_ratio=6.0),
        "huge_plus": ViTConfig(embed_dim=1280, num_blocks=32, num_heads=20, ffn="swiglu", ffn_ratio=6.0),
        "7b": ViTConfig(
            embed_dim=4096,
            num_blocks=40,
            num_heads=32,
            ffn="swiglu",
            ffn_ratio=3.0,
            swiglu_align=64,
            qkv_bias=False,
            untie_global_and_local_cls_norm=True,
        ),
    }
)


def create_backbone(
    name: str,
    *,
    patch: int = 16,
    in_channels: int = 3,
    drop_path: float = 0.0,
    rope_augmentation: RopeAugmentation | None = None,
    rope_dtype: torch.dtype | None = None,
    activation_checkpointing: bool = False,
    device: torch.device | str | None = None,
) -> DinoVisionTransformer:
    """A randomly initialised backbone of the published architecture `name`, in training mode.

    `patch` is 16 as published, or 8 for a grid twice as dense (any positive size is built). `device="meta"`
    builds the shapes without memory.
    Raises ValueError for an unknown name, listing the known ones.
    """
    if name not in BACKBONES:
        raise ValueError(f"there is no backbone {name!r}; choose one of {', '.join(BACKBONES)}")
    if patch < 1 or in_channels < 1:
        raise ValueError(f"patch is {patch} and in_channels is {in_channels}; both must be 1 or more")
    config = replace(BACKBONES[name], patch_size=patch, in_channels=in_channels)
    with torch.device(device or torch.get_default_device()):
        return DinoVisionTransformer(
            config,
            drop_path=drop_path,
            rope_augmentation=rope_augmentation,
            rope_dtype=rope_dtype,
            activation_checkpointing=activation_checkpointing,
        )
