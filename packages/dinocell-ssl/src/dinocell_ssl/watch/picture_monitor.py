"""Pictures of a run: attention and principal components of the same fields at every step, masks of the batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float32

from dinocell_core import DinoVisionTransformer
from dinocell_ssl.probes.attention import attention_and_patches
from dinocell_ssl.probes.pictures import (
    Picture,
    attention_picture,
    contact_sheet,
    grey_picture,
    masked_picture,
    network_image,
    pca_pictures,
)
from dinocell_ssl.watch.monitor import StepOutputs, TrainState
from dinocell_ssl.watch.picture_writer import PictureWriter
from dinocell_ssl.watch.teacher_backbone import teacher_backbone

ChannelImages = Float32[np.ndarray, "channel in_channel y x"]


@dataclass
class PictureMonitor:
    """Writes `channels_<step>.png` and `masks_<step>.png`.

    `read` gives network inputs of a few fields, each channel alone (see `dinocell_ssl.probes.features.channel_images`);
    it is called once, at the first picture. The teacher's forward pass over them is all that the training waits for;
    files are written by `writer`. With weights cut over the ranks there are masks only.
    """

    read: Callable[[], Sequence[ChannelImages]]
    writer: PictureWriter
    every: int = 1000
    _fields: Sequence[ChannelImages] | None = field(default=None, init=False, repr=False)

    def on_step(self, step: int, values: dict[str, float], state: TrainState) -> dict[str, float]:
        """Hands pictures of this step to the writer; nothing for the log."""
        backbone = teacher_backbone(state)
        if self._fields is None:
            self._fields = self.read()
        if self._fields and backbone is not None:
            self.writer.write("channels", channel_sheet(backbone, self._fields), step=step)
        if state.outputs is not None:
            self.writer.write("masks", mask_sheet(state.outputs), step=step)
        return {}


def channel_sheet(backbone: DinoVisionTransformer, fields: Sequence[ChannelImages]) -> Picture:
    """For each field three rows, a column for each channel: image, attention of the class token, components.

    Components are those of the field's channels together: what a backbone sees alike in all stains has one colour
    in all columns. A backbone in evaluation mode; images are cut to whole patches.
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


def mask_sheet(outputs: StepOutputs, *, max_crops: int = 8) -> Picture:
    """The first global crops of a batch as the teacher sees them, and below as the student does."""
    rows, columns = outputs.grid
    crops = outputs.global_crops[0, :max_crops].float().cpu().numpy()
    masks = outputs.masks[: len(crops)].cpu().numpy().reshape(-1, rows, columns)
    whole = [grey_picture(network_image(crop)) for crop in crops]
    return contact_sheet([whole, [masked_picture(*pair) for pair in zip(whole, masks, strict=True)]])
