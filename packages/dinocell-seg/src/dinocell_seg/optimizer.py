"""AdamW with layer-wise learning rates, warm-up and cosine decay."""

import math

import torch
from pydantic import BaseModel, ConfigDict, Field

from dinocell_core import DINOCell
from dinocell_core.layer_decay import layers_above


class Optimization(BaseModel):
    """AdamW and its schedule; learning rates are those of stem and decoder."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    learning_rate: float = Field(default=1e-3, gt=0, le=1e30)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = Field(default=250, ge=0, description="at most a fifth of the run")
    decay_steps: int | None = Field(
        default=None,
        ge=1,
        description="None: the rate falls as a cosine over the run; a number: it falls over that many last steps",
    )
    final_factor: float = Field(default=0.01, ge=0, le=1, description="share of the learning rate left at the end")
    layer_decay: float = Field(default=1.0, gt=0, le=1, description="factor of the rate per backbone block, downwards")
    clip_norm: float = Field(default=3.0, gt=0)


def create_optimizer(model: DINOCell, settings: Optimization) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, in groups of one learning rate and one weight decay.

    Biases, norms, LayerScale and the backbone's learned tokens are not decayed. Each group carries its
    ``multiplier`` of the learning rate.
    """
    num_blocks = model.backbone.num_blocks
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            multiplier = settings.layer_decay ** _layers_above(name, num_blocks)
            decay = settings.weight_decay if parameter.ndim > 1 and "token" not in name else 0.0
            groups.setdefault((multiplier, decay), []).append(parameter)
    if not groups:
        raise ValueError("the model has no trainable parameters; do not freeze all of it")
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "multiplier": multiplier}
            for (multiplier, decay), parameters in groups.items()
        ],
        lr=settings.learning_rate,
        betas=settings.betas,
    )


def _layers_above(name: str, num_blocks: int) -> int:
    """How many layers lie between a parameter and the decoder; 0 outside the backbone."""
    part, _, rest = name.partition(".")
    return layers_above(rest, num_blocks) if part == "backbone" else 0


def learning_rate_factor(step: int, settings: Optimization, *, total: int) -> float:
    """Linear warm-up to 1 over `warmup_steps`, then cosine to ``final_factor`` at the last step.

    With `decay_steps` the rate stays at 1 and falls linearly over the last ones (Hu 2024, warmup-stable-decay): how
    long a run is to be can then be decided while it runs.

    The warm-up of a cosine takes at most a fifth of a run, so that short ones reach their learning rate too.
    """
    warmup = settings.warmup_steps if settings.decay_steps is not None else min(settings.warmup_steps, total // 5)
    if step < warmup:
        return (step + 1) / warmup
    if settings.decay_steps is not None:
        left = min(1.0, (total - 1 - step) / settings.decay_steps)
        return settings.final_factor + (1 - settings.final_factor) * left
    progress = (step - warmup) / max(1, total - 1 - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return settings.final_factor + (1 - settings.final_factor) * cosine
