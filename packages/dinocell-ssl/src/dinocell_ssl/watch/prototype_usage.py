"""How a batch uses the prototypes: collapse shows here first, and in two opposite ways.

With centred targets a collapsed teacher assigns all images to one prototype; with Sinkhorn, which balances the
prototypes whatever the features are, it assigns every image to all of them equally. In both cases an assignment says
nothing about its image.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class PrototypeUsage(NamedTuple):
    """Assignments of a batch to K prototypes in numbers; entropies are in nats.

    `entropy`: mean entropy of one sample's assignment, 0 (one prototype) to ln K (all alike).
    `perplexity`: exp(entropy of the mean assignment), the number of prototypes in equal use, 1 to K.
    `information`: what a sample's assignment says about the sample (mutual information), 0 if all samples have the
    same assignment, at most ln(smaller of samples and K).
    `num_chosen`: prototypes that are some sample's largest; ties go to the first.
    """

    entropy: float
    perplexity: float
    information: float
    num_chosen: int


def prototype_usage(probabilities: Float[Tensor, "sample prototype"]) -> PrototypeUsage:
    """Usage of the prototypes by a batch of soft assignments, each of which sums to 1; needs one sample or more.

    Computed in float32 or wider. Takes one array of the size of the probabilities.
    """
    if len(probabilities) == 0:
        raise ValueError("there are no samples to count prototypes for; give the assignments of one sample or more")
    entropy = mean_entropy(probabilities)
    whole = mean_entropy(mean_assignment(probabilities)[None])
    num_chosen = len(torch.unique(probabilities.argmax(dim=1)))
    return PrototypeUsage(entropy, math.exp(whole), max(whole - entropy, 0.0), num_chosen)


@torch.no_grad()
def mean_entropy(probabilities: Float[Tensor, "sample prototype"]) -> float:
    """Mean over the samples of -Σ p ln p, in nats; 0 · ln 0 is 0."""
    wide = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
    return float(torch.special.entr(wide).sum(dim=1).mean())


@torch.no_grad()
def mean_assignment(probabilities: Float[Tensor, "sample prototype"]) -> Float[Tensor, " prototype"]:
    """The share of the batch's mass each prototype has, in float32 or wider."""
    return probabilities.mean(dim=0, dtype=torch.promote_types(probabilities.dtype, torch.float32))
