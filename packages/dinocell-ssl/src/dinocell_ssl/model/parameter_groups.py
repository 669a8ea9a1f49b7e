"""Groups of parameters with one learning rate and one weight decay each: layer-wise decay as in DINOv3."""

import math
from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn
from torch.distributed.tensor import DTensor

from dinocell_core.layer_decay import layers_above

PARTS = ("backbone", "dino_head", "ibot_head")


class Optimization(BaseModel):
    """AdamW and its rates; `learning_rate` is that of the heads."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    learning_rate: float = Field(default=1e-3, gt=0)
    scaling: str = Field(
        default="sqrt_wrt_1024",
        pattern="^(none|sqrt_wrt_1024|linear_wrt_256)$",
        description="of the rate with the batch; the square root leaves it as it is at 64",
    )
    final_learning_rate: float = Field(default=1e-6, ge=0)
    weight_decay: tuple[float, float] = Field(default=(0.04, 0.4), description="first and last value")
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float = Field(default=0.9, gt=0, le=1, description="factor of the rate per block, downwards")
    patch_embed_factor: float = Field(default=0.2, gt=0, description="factor of the rate of the patch embedding")
    decay_tokens: bool = Field(
        default=False, description="weight decay of class, storage and mask token; the published code does"
    )
    clip_norm: float = Field(default=3.0, gt=0, description="largest gradient of backbone and of each head")

    @model_validator(mode="after")
    def _values_are_possible(self) -> "Optimization":
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas is {list(self.betas)}; give two numbers from 0 to below 1")
        if not all(0 <= decay < math.inf for decay in self.weight_decay):
            raise ValueError(f"weight_decay is {list(self.weight_decay)}; give [first, last] value, 0 or more")
        return self


def parameter_groups(network: nn.Module, settings: Optimization) -> list[dict[str, object]]:
    """Groups for AdamW, one per combination of `rate`, `decay` (multipliers), `is_last_layer` and `part`.

    The rate of block i of L is `layer_decay`^(L - i), that of the tokens and of the patch embedding
    `layer_decay`^(L + 1), the latter times `patch_embed_factor`; norms after the last block and the heads have 1.
    Biases, norms and LayerScale are not decayed; the tokens as the settings say. A part (`backbone`, `dino_head`,
    `ibot_head`) never shares a group with another.
    """
    num_blocks: int = network.get_submodule("backbone").num_blocks  # type: ignore[assignment]
    groups: dict[tuple[str, float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        part, _, rest = name.partition(".")
        key = (part, *_multipliers(part, rest, num_blocks, settings), rest.startswith("last_layer"))
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "part": part, "rate": rate, "decay": decay, "is_last_layer": last}
        for (part, rate, decay, last), parameters in groups.items()
    ]


def create_optimizer(network: nn.Module, settings: Optimization) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`; rates and decays are set by `set_rates` before every step."""
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in network.parameters())
    return torch.optim.AdamW(parameter_groups(network, settings), lr=0.0, betas=settings.betas, fused=fused)


def set_rates(
    optimizer: torch.optim.Optimizer,
    *,
    learning_rate: float,
    weight_decay: float,
    last_layer_frozen: bool,
    backbone_factor: float = 1.0,
) -> None:
    """Rates of one step; a frozen last layer has the rate 0, which stops its weight decay too."""
    for group in optimizer.param_groups:
        frozen = last_layer_frozen and group["is_last_layer"]
        factor = backbone_factor if group["part"] == "backbone" else 1.0
        group["lr"] = 0.0 if frozen else learning_rate * group["rate"] * factor
        group["weight_decay"] = weight_decay * group["decay"]


def clip_gradients(parts: Mapping[str, nn.Module], largest: float) -> dict[str, torch.Tensor]:
    """Scale the gradient of each part down to `largest` on its own; their norms before that."""
    norms = {}
    for name, part in parts.items():
        parameters = [parameter for parameter in part.parameters() if parameter.grad is not None]
        if parameters:
            norm = nn.utils.clip_grad_norm_(parameters, largest)
            norms[name] = norm.full_tensor() if isinstance(norm, DTensor) else norm
    return norms


def _multipliers(part: str, name: str, num_blocks: int, settings: Optimization) -> tuple[float, float]:
    decay = 0.0 if name.endswith("bias") or "norm" in name or "gamma" in name else 1.0
    if part != "backbone":
        return 1.0, decay
    rate = settings.layer_decay ** layers_above(name, num_blocks)
    if name.startswith("patch_embed."):
        return rate * settings.patch_embed_factor, decay
    if name.endswith(("_token", "_tokens")):
        return rate, decay if settings.decay_tokens else 0.0
    return rate, decay
