"""The network that is pretrained: a backbone with a DINO and an iBOT head, new or from a file."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from dinocell_core import (
    CheckpointReport,
    DinoVisionTransformer,
    RopeAugmentation,
    create_backbone,
    file_sha256,
    load_backbone_weights,
)
from dinocell_core.model import Size
from dinocell_io import counted
from dinocell_ssl.backbones.backbone_file import start_of
from dinocell_ssl.backbones.dinov2_start import is_dinov2, load_dinov2
from dinocell_ssl.backbones.open_backbone import backbone_architecture
from dinocell_ssl.model.head import PrototypeHead, PrototypeInit

RANDOM_WEIGHTS = "random weights"

_HEADS = ("dino_head", "ibot_head")
_REPORTED = ("layout", "patch_conversion", "channel_conversion", "qkv_bias")


class Network(BaseModel):
    """Backbone, and the weights it starts from."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: Size = "tiny"
    patch: int = Field(default=16, ge=1, description="patch-16 weights become patch-8 ones by summing 2 x 2 pixels")
    in_channels: int = Field(default=1, ge=1, description="1, except for views that show several channels")
    drop_path: float = Field(default=0.1, ge=0, lt=1, description="share of samples that skip a branch; student only")
    rope_rescale: float | None = Field(
        default=2.0, ge=1, description="largest factor on the positions of a step, student only; null: none"
    )
    rope_per_block: bool = Field(default=False, description="draw a new factor for every block, as published")
    activation_checkpointing: bool = Field(default=False, description="less memory, a third more time")
    compile: bool = Field(default=False, description="torch.compile each block")
    sharding: Literal["auto", "none", "fsdp"] = Field(
        default="auto", description="of weights and optimiser over ranks; auto: on GPUs from base on"
    )
    start_from: Path | None = Field(
        default=None,
        description="DINOv3 file (Meta, Hugging Face, timm), DINOv2 file (see dinov2_start), or one of a run",
    )
    start_licence: str | None = Field(default=None, description="licence of start_from, written into the result")
    qkv_bias: Literal["trainable", "as_file"] = Field(
        default="trainable",
        description="released DINOv3 files switch the biases of q and v off permanently; 'as_file' keeps them off",
    )


class Head(BaseModel):
    """One prototype head."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prototypes: int = Field(default=8192, ge=2)
    hidden: int = Field(default=2048, ge=1)
    bottleneck: int = Field(default=256, ge=1)
    prototype_init: PrototypeInit = Field(
        default="published",
        description="unit: prototypes of length 1, for runs too short to grow the published ones of 0.02 per weight",
    )


class TeacherOutputs(NamedTuple):
    """The teacher's outputs for unmasked global crops; only the masked patches have logits."""

    class_tokens: Float[Tensor, "2 sample feature"]
    class_logits: Float[Tensor, "2 sample prototype"]
    patch_tokens: Float[Tensor, "image patch feature"]
    patch_logits: Float[Tensor, "masked_patch patch_prototype"]


class SslNetwork(nn.Module):
    """`backbone`, `dino_head` and `ibot_head`: the names of the published training checkpoints."""

    backbone: DinoVisionTransformer
    dino_head: PrototypeHead
    ibot_head: PrototypeHead

    def __init__(self, network: Network, *, dino_head: Head, ibot_head: Head) -> None:
        super().__init__()
        augmentation = (
            RopeAugmentation(rescale=network.rope_rescale, per_block=network.rope_per_block)
            if network.rope_rescale is not None
            else None
        )
        self.backbone = create_backbone(
            network.size,
            patch=network.patch,
            in_channels=network.in_channels,
            drop_path=network.drop_path,
            rope_augmentation=augmentation,
            activation_checkpointing=network.activation_checkpointing,
        )
        for name, head in (("dino_head", dino_head), ("ibot_head", ibot_head)):
            self.add_module(
                name,
                PrototypeHead(
                    self.backbone.embed_dim,
                    num_prototypes=head.prototypes,
                    hidden_features=head.hidden,
                    bottleneck_features=head.bottleneck,
                    prototype_init=head.prototype_init,
                ),
            )

    def forward(
        self, global_crops: Float[Tensor, "2 sample channel y x"], masks: Bool[Tensor, "image patch"]
    ) -> TeacherOutputs:
        """The teacher's part: unmasked crops; `masks` mark the patches that the student will predict."""
        features = self.backbone.forward_features(global_crops.flatten(0, 1))
        class_tokens, patch_tokens = features["x_norm_clstoken"], features["x_norm_patchtokens"]
        return TeacherOutputs(
            class_tokens.unflatten(0, (2, -1)),
            self.dino_head(class_tokens).unflatten(0, (2, -1)),
            patch_tokens,
            self.ibot_head(patch_tokens[masks]),
        )


@dataclass(frozen=True)
class Start:
    """What a network started from: facts for the result, and whether the file had its heads."""

    has_heads: bool
    facts: Mapping[str, Any]


def require_start(network: Network) -> None:
    """Raise ValueError if `start_from` is not a file."""
    if network.start_from is not None and not network.start_from.is_file():
        raise ValueError(
            f"network.start_from is {network.start_from}, which is not a file; give a DINOv3 file, a checkpoint or a "
            "backbone.safetensors (a run that is continued needs the file it started from)"
        )


def create_network(network: Network, *, dino_head: Head, ibot_head: Head) -> tuple[SslNetwork, Start]:
    """A network with random weights, or with those of `start_from`; heads that the file lacks are random.

    Raises ValueError when the file does not fit completely (see `dinocell_core.load_backbone_weights`).
    """
    model = SslNetwork(network, dino_head=dino_head, ibot_head=ibot_head)
    if network.start_from is None:
        return model, Start(True, {"started_from": RANDOM_WEIGHTS})
    require_start(network)
    if is_dinov2(network.start_from):
        has_heads, loaded = False, load_dinov2(model.backbone, network.start_from)
    else:
        report = _load_backbone(model.backbone, network.start_from, network)
        has_heads, loaded = _load_heads(model, network.start_from), {name: getattr(report, name) for name in _REPORTED}
    origin = start_of(network.start_from)
    facts: dict[str, Any] = {
        "started_from": network.start_from.name,
        "sha256": file_sha256(network.start_from),
        "licence": network.start_licence or _licence(origin),
        **loaded,
        "heads": "file" if has_heads else "random",
    }
    if origin:
        facts["origin"] = origin  # what the run of that file started from, and so on back
    return model, Start(has_heads, facts)


def _load_backbone(backbone: DinoVisionTransformer, path: Path, network: Network) -> CheckpointReport:
    try:
        return load_backbone_weights(backbone, path, qkv_bias=network.qkv_bias, channels="fold")
    except ValueError as error:
        advice = _advice(path, network)
        if advice is None:
            raise
        raise ValueError(f"network.start_from is {path}, {advice}") from error


def _advice(path: Path, network: Network) -> str | None:
    """What to set if channels or patches do not fit; the loader's advice names arguments that recipes do not have."""
    try:
        _, patch, channels = backbone_architecture(path)
    except ValueError:
        return None
    if network.in_channels not in (1, channels):
        several = "" if channels == 1 else f", or to {channels} for fields of {channels} channels"
        return (
            f"whose backbone takes {counted(channels, 'channel')}, and network.in_channels is {network.in_channels}; "
            f"set it to 1 for views of one channel (views.strategy other than channel_drop){several}"
        )
    if patch % network.patch:
        divisors = ", ".join(str(size) for size in range(patch, 0, -1) if patch % size == 0)
        return (
            f"whose patches are {patch} px wide, which network.patch {network.patch} does not divide; set it to one of "
            f"{divisors}"
        )
    return None


def _licence(origin: Mapping[str, Any]) -> str:
    if origin.get("started_from") == RANDOM_WEIGHTS:
        return "no other weights: the run of the file started from random weights"
    if "licence" in origin:
        return str(origin["licence"])
    return "not stated; results are derivatives of the file and bound by its licence"


def _load_heads(model: SslNetwork, path: Path) -> bool:
    """Load both heads of a training checkpoint if it has them in this network's shapes."""
    if path.suffix == ".safetensors":
        return False
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # load_backbone_weights has refused such a file before
        return False
    teacher: Mapping[str, Tensor] = content.get("teacher", {}) if isinstance(content, Mapping) else {}
    heads = {
        name: {key.removeprefix(f"{name}."): value for key, value in teacher.items() if key.startswith(f"{name}.")}
        for name in _HEADS
    }
    for name, weights in heads.items():
        expected = model.get_submodule(name).state_dict()
        if {key: value.shape for key, value in weights.items()} != {
            key: value.shape for key, value in expected.items()
        }:
            return False
    for name, weights in heads.items():
        model.get_submodule(name).load_state_dict(weights)
    return True
