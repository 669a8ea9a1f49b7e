"""Channel consistency: are the features of one field similar in its channels, and more so than those of other fields?

The cosine of the same field across channels alone proves nothing: a collapsed model scores 1.0. Its contrast is the
same cosine between different fields.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional as F


class ChannelConsistency(NamedTuple):
    """Mean cosines of features of different channels.

    `same_field`: of one place in two channels. `different_fields`: of two places in the same two channels.
    `margin`: their difference, 0 for a collapsed model. `interval`: 95 % of the margin's bootstrap over groups of
    places, None with fewer than three groups. `retrieval`: share of places whose nearest place in another channel
    is the same place, and `retrieval_chance` what random features give. `pair_margins`: the margin of each pair of
    channels, NaN on the diagonal.
    """

    same_field: float
    different_fields: float
    margin: float
    interval: tuple[float, float] | None
    retrieval: float
    retrieval_chance: float
    pair_margins: Float[Tensor, "channel channel"]


@torch.no_grad()
def channel_consistency(
    features: Float[Tensor, "place channel feature"],
    *,
    groups: Integer[Tensor, " place"] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> ChannelConsistency:
    """Consistency of features of the same places seen in each of several channels, each channel on its own.

    `groups` says which places belong together (crops of one field): the bootstrap draws complete groups, since crops
    of a field are not independent evidence. None: every place is its own group. Pairs of different places within
    a group count as different. Takes places² · channels² cosines.

    Raises ValueError for fewer than two places or channels.
    """
    num_places, num_channels = features.shape[:2]
    if num_places < 2 or num_channels < 2:
        raise ValueError(
            f"features hold {num_places} places in {num_channels} channels; a comparison needs two or more of each"
        )
    unit = F.normalize(features.double().cpu(), dim=-1)
    cosines = torch.einsum("icf,jdf->cdij", unit, unit)
    pairs = ~torch.eye(num_channels, dtype=torch.bool)
    similarity = cosines[pairs].mean(dim=0)
    same, different = _contrast(similarity, torch.ones(1, num_places, dtype=torch.float64))
    places = torch.arange(num_places)
    nearest = cosines[pairs].argmax(dim=-1)
    return ChannelConsistency(
        float(same),
        float(different),
        float(same - different),
        _interval(similarity, places if groups is None else groups.cpu(), num_resamples, seed),
        float((nearest == places).double().mean()),
        1 / num_places,
        _pair_margins(cosines),
    )


def _contrast(
    similarity: Float[Tensor, "place place"], weights: Float[Tensor, "resample place"]
) -> tuple[Float[Tensor, " resample"], Float[Tensor, " resample"]]:
    """Weighted means of the diagonal and of the rest; copies of one place make no pair."""
    diagonal = similarity.diagonal()
    same = weights @ diagonal / weights.sum(dim=1)
    squares = weights.square()
    pairs = weights.sum(dim=1).square() - squares.sum(dim=1)
    different = (((weights @ similarity) * weights).sum(dim=1) - squares @ diagonal) / pairs
    return same, different


def _interval(
    similarity: Float[Tensor, "place place"], groups: Integer[Tensor, " place"], num_resamples: int, seed: int
) -> tuple[float, float] | None:
    names, members = groups.unique(return_inverse=True)
    num_groups = len(names)
    if num_groups < 3:
        return None
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(num_groups, (num_resamples, num_groups), generator=generator)
    counts = F.one_hot(drawn, num_groups).sum(dim=1).double()
    # A single group whose places are all the same has no pair of different places: such a resample says nothing.
    counts = counts[(counts > 0).sum(dim=1) > 1]
    same, different = _contrast(similarity, counts[:, members])
    low, high = torch.quantile(same - different, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def _pair_margins(cosines: Float[Tensor, "channel channel place place"]) -> Float[Tensor, "channel channel"]:
    num_places = cosines.shape[-1]
    same = cosines.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    different = (cosines.sum(dim=(-2, -1)) - same * num_places) / (num_places * (num_places - 1))
    return (same - different).fill_diagonal_(torch.nan).float()
