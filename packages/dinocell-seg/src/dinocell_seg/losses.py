"""Losses between predicted logits and the per-cell distance map."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F


class Loss(BaseModel):
    """What a training step minimises.

    ``edge_weight`` adds a classification of foreground at a fixed level of the predicted distance. The distance
    alone says almost nothing about a large cell's outline: one pixel inside a cell of radius 25 it is 0.04, and a
    squared error forgives reading it as 0, while the threshold that fills cells does not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    distance: Literal["mse", "cross_entropy"] = "cross_entropy"
    edge_weight: float = Field(default=0.5, ge=0)
    edge_level: float = Field(default=0.1, gt=0, lt=1, description="predicted distance where foreground begins")
    diameter_weight: float = Field(
        default=0.05, ge=0, description="of log2 of the diameters, for a network with a diameter head"
    )
    edge_sharpness: float = Field(default=1.0, gt=0, description="logits of foreground per logit of distance")


def distance_loss(
    logits: Float[Tensor, "b 1 y x"],
    target: Float[Tensor, "b 1 y x"],
    *,
    settings: Loss,
    weights: Float[Tensor, "b 1 y x"] | None = None,
) -> Float[Tensor, ""]:
    """Mean loss over all pixels, in float32; 0 for a perfect map (without the edge term).

    `weights` multiply the loss of each pixel, and the mean is still over all of them: a labelled pixel counts the same
    beside ignored ones.

    ``"mse"``: squared error of the distance. ``"cross_entropy"``: Kullback-Leibler divergence between Bernoulli
    distributions with the true and the predicted distance as their means; the same minimum, but its gradient does
    not vanish where the sigmoid saturates.
    """
    logits = logits.float()
    if settings.distance == "mse":
        loss = (logits.sigmoid() - target) ** 2
    else:
        entropy = -(torch.special.xlogy(target, target) + torch.special.xlogy(1 - target, 1 - target))
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none") - entropy
    if settings.edge_weight > 0:
        level = math.log(settings.edge_level / (1 - settings.edge_level))
        # Every labelled pixel has a positive distance, and no other pixel has.
        foreground = (target > 0).float()
        edge = F.binary_cross_entropy_with_logits(
            settings.edge_sharpness * (logits - level), foreground, reduction="none"
        )
        loss = loss + settings.edge_weight * edge
    return (loss if weights is None else loss * weights).mean()


def diameter_loss(
    predicted: Float[Tensor, "b 1 row column"], target: Float[Tensor, "b 1 row column"]
) -> Float[Tensor, ""]:
    """Mean smooth absolute error of log2 of the diameters, where the target is not NaN; 0 if it is everywhere."""
    known = ~target.isnan()
    errors = F.smooth_l1_loss(predicted.float(), torch.where(known, target, 0.0), reduction="none", beta=0.2)
    return (errors * known).sum() / known.sum().clamp(min=1)
