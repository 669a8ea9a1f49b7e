"""What a training run starts from: a new network, a backbone's weights, or a complete model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dinocell_core import DINOCell, create_dinocell_model, file_sha256, load_model
from dinocell_core.recipe import validated
from dinocell_seg.normalize import Normalization
from dinocell_seg.optimizer import create_optimizer
from dinocell_seg.pipeline import default_model_path
from dinocell_seg.train_recipe import TrainRecipe
from dinocell_seg.training_state import TrainingState


def start(recipe: TrainRecipe, device: str) -> TrainingState:
    """The state before the first step. Raises ValueError if a file that the recipe names is missing or does not fit."""
    torch.manual_seed(recipe.seed)
    network = recipe.network
    path = _start_path(recipe)
    if path is not None:
        if not path.is_file():
            raise ValueError(f"there is no model file {path} to start from; give a .safetensors file, or 'default'")
        model = load_model(path)
        _require_normalization(model.metadata, recipe, path)
    else:
        if network.pretrained is not None and not network.pretrained.exists():
            raise ValueError(
                f"there is no file {network.pretrained} of backbone weights; give what 'dinocell pretrain' wrote, or "
                "DINOv3 weights as .pth or .safetensors"
            )
        model = create_dinocell_model(
            network.size,
            patch=network.patch,
            in_channels=network.in_channels,
            stem_channels=network.stem_channels,
            stem_skips=network.stem_skips,
            stem_to_tokens=network.stem_to_tokens,
            decoder_channels=network.decoder_channels,
            head_channels=network.head_channels,
            diameter_head=network.diameter_head,
            norm=network.norm,
            pretrained=network.pretrained,
            pretrained_channels=network.pretrained_channels,
        )
        _require_normalization(model.metadata.get("backbone", {}).get("origin", {}), recipe, network.pretrained)
    crop_px, multiple = recipe.sampling.crop_px, model.size_multiple
    if crop_px % multiple:  # no tile of that side could be segmented afterwards
        raise ValueError(
            f"sampling.crop_px is {crop_px}, no multiple of {multiple}, the model's coarsest grid; "
            f"use {max(1, crop_px // multiple) * multiple}"
        )
    if model.architecture.in_channels != 1:
        raise ValueError(
            f"the network takes {model.architecture.in_channels} channels, but training reads one plane of each image; "
            "use network.in_channels 1"
        )
    model.stem_dropout = network.stem_dropout
    if network.freeze_backbone:
        model.freeze_backbone()
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch stubs lack it
    return TrainingState(model, create_optimizer(model, recipe.optimization), origin=_origin(model, path))


def _origin(model: DINOCell, path: Path | None) -> dict[str, Any]:
    """The known facts about the start weights, so that their training data can be traced."""
    if path is None:
        return {"backbone": model.metadata["backbone"]} if "backbone" in model.metadata else {}
    known = ("version", "licence", "training_data", "started_from", "backbone")
    facts = {key: model.metadata[key] for key in known if key in model.metadata}
    return {"started_from": {"sha256": file_sha256(path), **facts}}


def _start_path(recipe: TrainRecipe) -> Path | None:
    given = recipe.network.start_from
    return default_model_path() if given is not None and str(given) == "default" else given


def _require_normalization(facts: Mapping[str, Any], recipe: TrainRecipe, path: Path | None) -> None:
    """Raise ValueError if the weights were trained on images that were normalised in another way."""
    stated = facts.get("normalization")
    if stated is None:
        return
    before, now = (rule.model_dump(mode="json") for rule in (validated(Normalization, stated), recipe.normalization))
    if before != now:
        settings = " ".join(f"--set normalization.{key}={value}" for key, value in before.items() if value != now[key])
        raise ValueError(f"{path} was trained with another normalisation; keep it with {settings}")
