"""Features of fields for probes and pictures: places of a field, with each channel seen alone."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dinocell_core import DinoVisionTransformer
from dinocell_ssl.data.intensity import EMPTY_CHANNEL, ScaledField, network_input

ShownAs = Literal["repeated", "in_its_place"]

_CROPS_AT_ONCE = 16


class FieldFeatures(NamedTuple):
    """Features of the places of one field in each of its channels.

    `class_token` and `mean_patch` (mean of the patch tokens) are both of the last block, normed.
    """

    class_token: Float[Tensor, "place channel feature"]
    mean_patch: Float[Tensor, "place channel feature"]


def places_of(field: ScaledField, *, size: int, max_places: int) -> list[tuple[int, int]]:
    """(top, left) of up to `max_places` squares of `size` that do not overlap, spread evenly over the field.

    The same field always has the same places. Squares are cut at native resolution; a field smaller than `size` on
    an axis has none.
    """
    height, width = field.pixels.shape[1:]
    tops, lefts = _starts(height, size), _starts(width, size)
    every = [(top, left) for top in tops for left in lefts]
    if len(every) <= max_places:
        return every
    return [every[round(i * (len(every) - 1) / max(1, max_places - 1))] for i in range(max_places)]


def _starts(length: int, size: int) -> list[int]:
    count = length // size
    if count == 1:
        return [(length - size) // 2]
    return [(length - size) * index // (count - 1) for index in range(count)]


def channel_images(
    field: ScaledField, place: tuple[int, int], *, size: int, in_channels: int, shown: ShownAs = "repeated"
) -> Float32[np.ndarray, "channel in_channel y x"]:
    """What the network sees of each channel alone at one place.

    `repeated`: the channel, in every input channel. `in_its_place`: the channel in its own input channel and the
    value of an empty channel (v = 0) in the others, as `channel_drop` trains it. Raises ValueError if the backbone then
    takes another number of channels than the field has.
    """
    num_channels = len(field.pixels)
    top, left = place
    window = slice(top, top + size), slice(left, left + size)
    images = np.stack([network_input(field.values(channel, *window)) for channel in range(num_channels)])
    if shown == "repeated":
        return np.repeat(images[:, None], in_channels, axis=1)
    if in_channels != num_channels:
        raise ValueError(
            f"the field has {num_channels} channels and the backbone takes {in_channels} in their places; give fields "
            f"of {in_channels} channels"
        )
    alone = np.full((num_channels, in_channels, size, size), EMPTY_CHANNEL, np.float32)
    alone[np.arange(num_channels), np.arange(num_channels)] = images
    return alone


@torch.no_grad()
def field_features(
    backbone: DinoVisionTransformer,
    field: ScaledField,
    places: list[tuple[int, int]],
    *,
    size: int,
    shown: ShownAs = "repeated",
) -> FieldFeatures:
    """Features of a field's places, float32 on the CPU; a backbone in evaluation mode, on any device."""
    device, dtype = backbone.cls_token.device, backbone.cls_token.dtype
    num_channels = len(field.pixels)
    crops = np.concatenate(
        [channel_images(field, place, size=size, in_channels=backbone.in_channels, shown=shown) for place in places]
    )
    tokens: list[tuple[Tensor, Tensor]] = []
    for part in _parts(crops):
        features = backbone.forward_features(torch.from_numpy(part).to(device, dtype))
        patches = features["x_norm_patchtokens"].float().mean(dim=1)
        tokens.append((features["x_norm_clstoken"].float().cpu(), patches.cpu()))
    shape = (len(places), num_channels)
    class_tokens, patches = (torch.cat(parts).unflatten(0, shape) for parts in zip(*tokens, strict=True))
    return FieldFeatures(class_tokens, patches)


def _parts(crops: Float32[np.ndarray, "crop channel y x"]) -> Iterator[Float32[np.ndarray, "part channel y x"]]:
    for start in range(0, len(crops), _CROPS_AT_ONCE):
        yield crops[start : start + _CROPS_AT_ONCE]
