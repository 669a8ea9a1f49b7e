"""The result of a run: the teacher's backbone as one safetensors file that `dinocell train` starts from."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dinocell_core import DinoVisionTransformer, ViTConfig
from dinocell_io import atomic_path

_HEADER = "dinocell_backbone"


def save_backbone(path: str | Path, backbone: DinoVisionTransformer, *, facts: Mapping[str, Any]) -> None:
    """Write weights in the published (Meta) layout, float32, and JSON-able facts beside them, all or nothing."""
    save_backbone_weights(path, backbone.state_dict(), config=backbone.config, facts=facts)


def save_backbone_weights(
    path: str | Path, weights: Mapping[str, Tensor], *, config: ViTConfig, facts: Mapping[str, Any]
) -> None:
    """The same from a backbone's state dict."""
    header = {
        **facts,
        "embed_dim": config.embed_dim,
        "num_blocks": config.num_blocks,
        "patch": config.patch_size,
        "in_channels": config.in_channels,
        "software_version": version("dinocell-ssl"),
    }
    tensors = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in weights.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={_HEADER: json.dumps(header, sort_keys=True, allow_nan=False)})


def read_backbone_facts(path: str | Path) -> dict[str, Any]:
    """The facts of a file that `save_backbone` wrote: recipe, step, data, licence of the start, architecture.

    Raises ValueError for a safetensors file of another origin.
    """
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
    if _HEADER not in header:
        raise ValueError(f"{path} was not written by 'dinocell pretrain'; it says nothing of its origin")
    facts: dict[str, Any] = json.loads(header[_HEADER])
    return facts
