"""Pictures of a run: attention and principal components of the same fields at every step, masks of the batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dinocell_ssl.probes.channel_sheet import ChannelImages, channel_sheet
from dinocell_ssl.probes.pictures import Picture, contact_sheet, grey_picture, masked_picture, network_image
from dinocell_ssl.watch.monitor import StepOutputs, TrainState
from dinocell_ssl.watch.picture_writer import PictureWriter
from dinocell_ssl.watch.teacher_backbone import teacher_backbone


@dataclass
class PictureMonitor:
    """Writes `channels_<step>.png` and `masks_<step>.png`.

    `read` gives network inputs of a few fields, each channel alone (see `dinocell_ssl.probes.features.channel_images`);
    it is called once, at the first picture. Training waits only for the teacher's forward pass over them; files are
    written by `writer`. With sharded weights there are only masks.
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


def mask_sheet(outputs: StepOutputs, *, max_crops: int = 8) -> Picture:
    """The first global crops of a batch as the teacher sees them, and below as the student does."""
    rows, columns = outputs.grid
    crops = outputs.global_crops[0, :max_crops].float().cpu().numpy()
    masks = outputs.masks[: len(crops)].cpu().numpy().reshape(-1, rows, columns)
    whole = [grey_picture(network_image(crop)) for crop in crops]
    return contact_sheet([whole, [masked_picture(*pair) for pair in zip(whole, masks, strict=True)]])
