"""A few fields channel by channel, and what a backbone sees in them, as one picture."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32

from dinocell_core import DinoVisionTransformer
from dinocell_ssl.data.fields import Fields
from dinocell_ssl.probes.attention import attention_and_patches
from dinocell_ssl.probes.features import ShownAs, channel_images, places_of
from dinocell_ssl.probes.pictures import (
    Picture,
    attention_picture,
    contact_sheet,
    grey_picture,
    network_image,
    pca_pictures,
)
from dinocell_ssl.probes.probe import read_probe_fields

ChannelImages = Float32[np.ndarray, "channel in_channel y x"]


def shown_fields(
    fields: Fields,
    *,
    count: int,
    size: int,
    smallest: int | None = None,
    in_channels: int,
    shown: ShownAs = "repeated",
) -> tuple[list[ChannelImages], tuple[str, ...]]:
    """The square with most contrast of up to `count` fields, spread evenly, and a note for each field left out.

    Fields that cannot be shown are left out: see `dinocell_ssl.read_probe_fields`. A field smaller than `size` is shown
    in the largest square it has, if that is not below `smallest` (None: `size`).
    """
    in_place = in_channels if shown == "in_its_place" else None
    least = size if smallest is None else smallest
    usable, notes = read_probe_fields(fields, max_fields=count, size=least, channels=in_place)
    images = []
    for one in usable:
        side = min(size, *one.field.pixels.shape[1:])
        places = places_of(one.field, size=side, max_places=25)
        candidates = (
            channel_images(one.field, place, size=side, in_channels=in_channels, shown=shown) for place in places
        )
        images.append(max(candidates, key=lambda image: float(image.std(axis=(-2, -1)).sum())))
    return images, notes


def channel_sheet(backbone: DinoVisionTransformer, fields: Sequence[ChannelImages]) -> Picture:
    """For each field three rows, a column for each channel: image, attention of the class token, components.

    Components are those of all channels of the field together, so structures that look the same to the backbone in all
    stains have one colour in all columns. The backbone is in evaluation mode; images are cut to complete patches.
    """
    device, dtype, patch = backbone.cls_token.device, backbone.cls_token.dtype, backbone.patch_size
    rows: list[list[np.ndarray]] = []
    for images in fields:
        weights, patches = attention_and_patches(backbone, torch.from_numpy(images).to(device, dtype), num_queries=1)
        grid = patches.shape[1], patches.shape[2]
        height, width = grid[0] * patch, grid[1] * patch
        rows.append([grey_picture(network_image(image)[:height, :width]) for image in images])
        rows.append([attention_picture(one[:, 0], grid, patch=patch) for one in weights])
        rows.append(pca_pictures(patches, patch=patch))
    return contact_sheet(rows)
