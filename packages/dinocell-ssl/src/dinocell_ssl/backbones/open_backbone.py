"""A backbone from any file that holds one: of a run, or released; its architecture is read from the weights."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dinocell_core import BACKBONES, DinoVisionTransformer, create_backbone, load_backbone_weights
from dinocell_core.checkpoint_file import layout_of
from dinocell_core.checkpoint_layouts import to_meta_layout
from dinocell_ssl.backbones.backbone_file import read_backbone_facts, read_checkpoint_facts

_TEACHER_BACKBONE = "backbone."


def open_backbone(path: str | Path) -> tuple[DinoVisionTransformer, dict[str, Any]]:
    """The backbone of a file in evaluation mode, and the facts stored in the file ({} for files of other programs).

    Reads `backbone.safetensors` or a checkpoint of `dinocell pretrain` (its teacher), and DINOv3 files in Meta's,
    Hugging Face's and timm's layouts. Size, patch and channels are those of the weights.
    Raises FileNotFoundError, and ValueError for a file that is damaged or not a DINOv3 backbone of a known size.
    """
    path = Path(path)
    size, patch, in_channels = backbone_architecture(path)
    backbone = create_backbone(size, patch=patch, in_channels=in_channels)
    load_backbone_weights(backbone, path)
    return backbone.eval(), _facts(path)


def backbone_architecture(path: str | Path) -> tuple[str, int, int]:
    """Size, patch and channels of the backbone in a file, without reading its weights; errors as `open_backbone`."""
    path = Path(path)
    require_backbone_file(path)
    return _architecture(_tensors(path), path)


def require_backbone_file(path: Path) -> None:
    """Raise FileNotFoundError if there is no such file."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; give a backbone.safetensors, a checkpoint or a DINOv3 file")


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of the file's backbone by their names in it, not yet read if the format allows."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: torch.empty(file.get_slice(key).get_shape(), device="meta") for key in file.keys()}  # noqa: SIM118
        content = torch.load(path, map_location="meta", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path} is damaged or not a weight file; give a backbone.safetensors, a checkpoint of 'dinocell "
            "pretrain' or a DINOv3 file"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("teacher"), Mapping):
        teacher = content["teacher"]
        content = {
            key.removeprefix(_TEACHER_BACKBONE): tensor
            for key, tensor in teacher.items()
            if key.startswith(_TEACHER_BACKBONE)
        }
    return {str(key): tensor for key, tensor in content.items() if isinstance(tensor, Tensor)}


def _architecture(tensors: Mapping[str, Tensor], path: Path) -> tuple[str, int, int]:
    """Size, patch and channels."""
    weights = to_meta_layout(tensors, layout_of(tensors, path))
    num_blocks = sum(key.endswith(".ls1.gamma") for key in weights)
    ffn = "swiglu" if any(key.endswith(".mlp.w1.weight") for key in weights) else "mlp"
    kernel = weights.get("patch_embed.proj.weight")
    shape = () if kernel is None else tuple(kernel.shape)
    for name, config in BACKBONES.items():
        if len(shape) == 4 and (shape[0], num_blocks, ffn) == (config.embed_dim, config.num_blocks, config.ffn):
            return name, shape[-1], shape[1]
    raise ValueError(
        f"{path} holds a backbone of {num_blocks} blocks, {ffn} and a patch kernel of shape {shape}, not one of "
        f"{', '.join(BACKBONES)}; give a file with one of these"
    )


def _facts(path: Path) -> dict[str, Any]:
    if path.suffix != ".safetensors":
        return read_checkpoint_facts(path)
    try:
        return read_backbone_facts(path)
    except ValueError:  # of another origin
        return {}
