"""The KoLeo regulariser: features of different images are pushed apart (Sablayrolles 2019)."""

import math

import torch
import torch.distributed as dist
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from dinocell_ssl.distributed import gather_samples

EPSILON = 1e-8


def koleo_loss(
    features: Float[Tensor, "sample feature"],
    *,
    group: dist.ProcessGroup | None = None,
    group_size: int | None = None,
    num_neighbors: int = 1,
    min_distance: float = 1e-3,
) -> Float[Tensor, ""]:
    """Mean -log distance of each L2-normalised sample to its nearest neighbours, in float32 (float64 stays).

    Give one crop's class tokens at a time: two crops of one image are meant to be close. With `group` the
    neighbours are sought among all ranks' samples (each rank the same number), and the ranks' mean loss is the
    loss of the joint batch. `group_size` cuts the (joint) batch into consecutive groups that only see themselves;
    groups of 16 are the regime of the DINOv3 paper on one large batch.

    The value is -log(‖x - neighbour + 1e-8‖ + 1e-8), as published. The gradient below `min_distance` is that of the
    parabola that continues the logarithm: it falls to 0 for exact duplicates, which have no direction to separate in,
    and never exceeds 1 / min_distance per pair, while the published one reaches 10^7 and more.

    Raises ValueError when a sample has too few neighbours or group_size does not divide the batch.
    """
    if min_distance <= 0:
        raise ValueError(f"min_distance is {min_distance}; give a positive distance of unit vectors, such as 1e-3")
    with torch.autocast(device_type=features.device.type, enabled=False):
        own = F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), eps=EPSILON)
        everyone = gather_samples(own, group=group)
        size = len(everyone) if group_size is None else group_size
        _check_group_size(size, len(everyone), num_neighbors)
        first = 0 if group is None else dist.get_rank(group) * len(own)
        neighbors = nearest_neighbors(
            own.detach(), everyone.detach(), first=first, group_size=size, num_neighbors=num_neighbors
        )
        difference = own[:, None] - everyone[neighbors]
        smooth = _bounded_negative_log(difference.square().sum(dim=-1), min_distance).mean()
        with torch.no_grad():
            value = -((difference + EPSILON).norm(dim=-1) + EPSILON).log().mean()
    return smooth + (value - smooth).detach()


@torch.no_grad()
def nearest_neighbors(
    own: Float[Tensor, "sample feature"],
    everyone: Float[Tensor, "gathered feature"],
    *,
    first: int,
    group_size: int,
    num_neighbors: int,
) -> Int64[Tensor, "sample neighbor"]:
    """Rows of `everyone` with the largest dot product, within the group and without the sample itself.

    `own` are the rows of `everyone` from `first` on; row r belongs to group r // group_size.
    """
    rows = torch.arange(first, first + len(own), device=own.device)[:, None]
    columns = torch.arange(len(everyone), device=own.device)
    forbidden = (rows == columns) | (rows // group_size != columns // group_size)
    return (own @ everyone.T).masked_fill_(forbidden, -torch.inf).topk(num_neighbors, dim=1).indices


def _bounded_negative_log(squared: Float[Tensor, "*shape"], min_distance: float) -> Float[Tensor, "*shape"]:
    floor = min_distance**2
    parabola = (1 - squared / floor) / 2 - math.log(min_distance)
    return torch.where(squared > floor, -squared.clamp_min(floor).log() / 2, parabola)


def _check_group_size(size: int, num_samples: int, num_neighbors: int) -> None:
    if num_neighbors < 1 or size <= num_neighbors:
        raise ValueError(
            f"a group of {size} samples has no {num_neighbors} neighbours for each; "
            "give a larger batch or group_size, or fewer num_neighbors (1 or more)"
        )
    if num_samples % size:
        raise ValueError(f"group_size {size} does not divide the {num_samples} samples of all ranks; give a divisor")
