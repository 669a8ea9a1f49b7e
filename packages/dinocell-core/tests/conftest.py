"""Backbones whose every number is known: parameters and images are sines of their index."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dinocell_core.vit import DinoVisionTransformer, ViTConfig

TINY = {"embed_dim": 32, "num_blocks": 2, "num_heads": 2, "patch_size": 4, "num_storage_tokens": 2}


@pytest.fixture
def golden_backbone() -> Callable[..., DinoVisionTransformer]:
    """Factory of a two-block float64 backbone in evaluation mode; keywords change its configuration."""

    def create(**config) -> DinoVisionTransformer:
        backbone = DinoVisionTransformer(ViTConfig(**{**TINY, **config})).double().eval()
        backbone.rope_embed.reset_periods()
        parameters = dict(backbone.named_parameters())
        with torch.no_grad():
            for j, name in enumerate(sorted(parameters)):
                parameter = parameters[name]
                sine = torch.sin(0.1 * torch.arange(parameter.numel(), dtype=torch.float64) + j).view_as(parameter)
                if name.endswith("gamma"):
                    parameter.copy_(0.5 + 0.1 * sine)
                elif "norm" in name and name.endswith("weight"):
                    parameter.copy_(1 + 0.1 * sine)
                else:
                    parameter.copy_(0.2 * sine)
        return backbone

    return create


@pytest.fixture
def golden_images() -> Tensor:
    return torch.sin(0.01 * torch.arange(2 * 3 * 16 * 24, dtype=torch.float64)).view(2, 3, 16, 24)
