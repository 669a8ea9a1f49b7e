"""Nearest neighbours of features: do images of one field, or of one plate, lie together?"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor
from torch.nn import functional as F


class NeighborAgreement(NamedTuple):
    """How the nearest neighbours share the label of a sample.

    `agreement`: mean share of a sample's neighbours with its label. `accuracy`: share of samples whose label wins a
    vote of the neighbours, each with weight exp(cosine / 0.07) (Wu 2018, as in DINO). `chance`: agreement of random
    neighbours among the candidates. `num_samples`: samples that count, `num_left_out` those that had no candidate
    of their own label, for which no neighbour could be right.
    """

    agreement: float
    accuracy: float
    chance: float
    num_samples: int
    num_left_out: int


_VOTE_TEMPERATURE = 0.07
_CHUNK = 1024


@torch.no_grad()
def neighbor_agreement(
    features: Float[Tensor, "sample feature"],
    labels: Integer[Tensor, " sample"],
    *,
    num_neighbors: int = 20,
    apart: Integer[Tensor, " sample"] | None = None,
) -> NeighborAgreement:
    """Agreement of each sample's nearest neighbours (largest cosine) with its label; a sample is not its own.

    Samples with the same number in `apart` are not candidates for each other. For crops labelled by field leave it
    out: a high agreement says that features distinguish fields. For crops labelled by plate give the
    field: then agreement above `chance` is what features know of the plate itself (staining, illumination), which
    is rarely wanted. Samples with fewer candidates than `num_neighbors` have all of them as neighbours.

    Takes samples² cosines, 1024 rows at a time. Raises ValueError if no sample has a candidate of its label.
    """
    if num_neighbors < 1:
        raise ValueError(f"num_neighbors is {num_neighbors}; give 1 or more")
    unit = F.normalize(features.float(), dim=1)
    totals = dict.fromkeys(("agreement", "accuracy", "chance"), 0.0)
    num_counted = 0
    for start in range(0, len(unit), _CHUNK):
        rows = torch.arange(start, min(start + _CHUNK, len(unit)), device=unit.device)
        candidates = _candidates(rows, len(unit), apart)
        alike = labels[rows, None] == labels
        right = candidates & alike
        counts = right.any(dim=1)
        cosines = (unit[rows] @ unit.T).masked_fill(~candidates, -torch.inf)[counts]
        nearest = cosines.topk(min(num_neighbors, len(unit)), dim=1)
        exists = nearest.values > -torch.inf
        agrees = alike[counts].gather(1, nearest.indices) & exists
        totals["agreement"] += float((agrees.sum(dim=1) / exists.sum(dim=1)).sum())
        totals["chance"] += float((right.sum(dim=1) / candidates.sum(dim=1).clamp_min(1))[counts].sum())
        winners = _voted(nearest.values, labels[nearest.indices])
        totals["accuracy"] += float((winners == labels[rows][counts]).sum())
        num_counted += int(counts.sum())
    if num_counted == 0:
        raise ValueError(
            f"none of the {len(unit)} samples has another of its label to be near to; give two or more samples per "
            "label" + (" in different groups of `apart`" if apart is not None else "")
        )
    means = {name: total / num_counted for name, total in totals.items()}
    return NeighborAgreement(**means, num_samples=num_counted, num_left_out=len(unit) - num_counted)


def _candidates(
    rows: Int64[Tensor, " row"], num_samples: int, apart: Integer[Tensor, " sample"] | None
) -> Bool[Tensor, "row sample"]:
    columns = torch.arange(num_samples, device=rows.device)
    candidates = rows[:, None] != columns
    return candidates if apart is None else candidates & (apart[rows, None] != apart)


def _voted(
    cosines: Float[Tensor, "sample neighbor"], labels: Integer[Tensor, "sample neighbor"]
) -> Integer[Tensor, " sample"]:
    """Label with the most votes; of equals the one of the nearest neighbour."""
    votes = (cosines / _VOTE_TEMPERATURE).softmax(dim=1)
    per_neighbor = ((labels[:, :, None] == labels[:, None, :]) * votes[:, None, :]).sum(dim=2)
    return labels.gather(1, per_neighbor.argmax(dim=1, keepdim=True))[:, 0]
