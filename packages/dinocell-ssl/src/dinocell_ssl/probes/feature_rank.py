"""How many directions features use: RankMe (Garrido 2023), and how far they spread."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def rankme(features: Float[Tensor, "sample feature"]) -> float:
    """exp(entropy of the singular values divided by their sum): the effective number of directions.

    1 for features that are multiples of one vector, at most the smaller of samples and features; 0 if all features
    are 0, NaN if one of them is not finite. Features are not centred, as published: a mean that is common to all of
    them lowers the rank. Batches of different size do not compare. Computed in float64; takes
    samples · features · the smaller of both operations.
    """
    if 0 in features.shape:
        raise ValueError(f"features are {tuple(features.shape)}; a rank needs one sample and one feature or more")
    if not features.isfinite().all():
        return math.nan
    singular_values = torch.linalg.svdvals(features.double().cpu())
    total = singular_values.sum()
    if total == 0:
        return 0.0
    return float(torch.special.entr(singular_values / total).sum().exp())


@torch.no_grad()
def feature_variance(features: Float[Tensor, "sample feature"]) -> float:
    """Variance of the unit-length features, summed over the features: 1 - ‖mean unit vector‖², of [0, 1].

    0 if all samples have the same direction, about 1 if they have all directions alike; also 1 minus the mean
    cosine of all pairs of samples, each with itself included.
    """
    if len(features) == 0:
        raise ValueError("there is no sample to take a variance of; give the features of one sample or more")
    unit = F.normalize(features.double(), dim=1)
    return float((unit - unit.mean(dim=0)).square().sum(dim=1).mean())
