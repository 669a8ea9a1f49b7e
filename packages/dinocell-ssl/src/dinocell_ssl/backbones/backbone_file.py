"""The result of a run: the teacher's backbone as one safetensors file that `dinocell train` starts from."""

import json
import pickle
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dinocell_core import DinoVisionTransformer, ViTConfig
from dinocell_core.atomic_file import not_written
from dinocell_io import atomic_path
from dinocell_ssl.data.intensity import NORMALIZATION

_HEADER = "dinocell_backbone"


def save_backbone(path: str | Path, backbone: DinoVisionTransformer, *, facts: Mapping[str, Any]) -> None:
    """Write weights in the published (Meta) layout, float32, with facts as JSON, completely or not at all.

    Raises OSError if the disk is full; an existing file stays.
    """
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
        try:
            save_file(tensors, temporary, metadata={_HEADER: json.dumps(header, sort_keys=True, allow_nan=False)})
        except SafetensorError as error:  # how its writer reports a full disk
            raise not_written(path, error) from error


def read_backbone_facts(path: str | Path) -> dict[str, Any]:
    """The facts of a file that `save_backbone` wrote: recipe, step, data, licence of the start, architecture.

    Raises ValueError for a safetensors file of another origin.
    """
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
    if _HEADER not in header:
        raise ValueError(f"{path} was not written by 'dinocell pretrain'; it does not state its origin")
    facts: dict[str, Any] = json.loads(header[_HEADER])
    return facts


def read_checkpoint_facts(path: str | Path) -> dict[str, Any]:
    """The same facts from a checkpoint of a run, as far as it has them: size, step, start, recipe and normalisation.

    {} for files of other programs.
    """
    try:
        content = torch.load(path, map_location="meta", weights_only=True)
    except pickle.UnpicklingError:  # more than tensors
        return {}
    if not isinstance(content, Mapping) or not {"teacher", "step", "recipe"} <= content.keys():
        return {}
    return {
        "size": content["recipe"]["network"]["size"],
        "step": content["step"],
        "start": dict(content.get("start", {})),
        "recipe": content["recipe"],
        "normalization": NORMALIZATION,
    }


def start_of(path: str | Path) -> dict[str, Any]:
    """What the run of a `backbone.safetensors` or a checkpoint started from; {} for files of other programs."""
    path = Path(path)
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_HEADER)
        return dict(json.loads(header).get("start", {})) if header else {}
    return dict(read_checkpoint_facts(path).get("start", {}))
