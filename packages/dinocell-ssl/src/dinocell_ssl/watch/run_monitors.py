"""Which monitors watch a run: collapse, pictures, probes, few-shot segmentation."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dinocell_ssl.data.fields import Fields, open_folders
from dinocell_ssl.probes.channel_sheet import ChannelImages, shown_fields
from dinocell_ssl.probes.features import ShownAs
from dinocell_ssl.probes.few_shot import FewShotTrainer
from dinocell_ssl.probes.probe import ProbeField, ProbeSettings, read_probe_fields
from dinocell_ssl.watch.collapse import CollapseMonitor
from dinocell_ssl.watch.few_shot_monitor import FewShotMonitor
from dinocell_ssl.watch.monitor import Monitor
from dinocell_ssl.watch.picture_monitor import PictureMonitor
from dinocell_ssl.watch.picture_writer import PictureWriter
from dinocell_ssl.watch.probe_monitor import ProbeMonitor, ProbeWarning


class Monitoring(BaseModel):
    """What is monitored during a run; none of it changes the numbers of the run."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    collapse: Literal["off", "warn", "stop"] = Field(default="warn", description="what an alarm does")
    collapse_every: int = Field(default=50, ge=1, description="steps between measures of collapse")
    collapse_start: float = Field(default=0.1, ge=0, le=1, description="share of the steps before alarms count")
    collapse_start_steps: int = Field(default=500, ge=0, description="and at least this many steps")
    collapse_patience: int = Field(default=3, ge=1, description="measures in a row that make an alarm")
    pictures_every: int = Field(default=1000, ge=0, description="steps between pictures; 0: none")
    picture_fields: int = Field(default=2, ge=1, description="fields that are shown")
    picture_px: int = Field(default=256, ge=1, description="side of the square that is shown, less in small fields")
    probe_every: int = Field(default=1000, ge=1, description="steps between probes")
    probe_folders: tuple[Path, ...] = Field(default=(), description="fields to probe on, not trained on; (): no probes")
    probe_channel_pattern: str | None = Field(default=None, description="of their files; null: as data.channel_pattern")
    probe_fields: int = Field(default=50, ge=1, description="fields of probe_folders that are used")
    probe_places: int = Field(default=9, ge=1, description="squares of each field")
    few_shot_folder: Path | None = Field(
        default=None, description="labelled dataset with splits train and val, to train a decoder on; null: none"
    )
    few_shot_images: int = Field(default=10, ge=1, description="labelled images it is trained on")
    few_shot_every: int = Field(default=10_000, ge=1, description="steps between such trainings, a minute or so each")


@contextmanager
def run_monitors(
    monitoring: Monitoring,
    output: str | Path,
    *,
    fields: Fields | None,
    size: int,
    num_steps: int,
    in_channels: int = 1,
    shown: ShownAs = "repeated",
    channel_pattern: str | None = None,
    few_shot: Callable[[Path], FewShotTrainer] | None = None,
) -> Iterator[list[Monitor]]:
    """The monitors of a run for `pretrain`; pictures go to `output/pictures` and are complete when it ends.

    `fields` are what the run trains on, of which some are shown; None for a stream, of which the masks are shown,
    and fields of `probe_folders`. `channel_pattern` is that of the run's files, `size` the side of its global crops.
    Files are read when a monitor first needs them; fields that it cannot use are left out and become a ProbeWarning.
    `few_shot` gives the trainer of `few_shot_folder` for a folder to work in.
    Raises FileNotFoundError and ValueError for probe folders that are missing or empty, ValueError for a
    `few_shot_folder` without a trainer.
    """
    monitors: list[Monitor] = []
    if monitoring.collapse != "off":
        monitors.append(
            CollapseMonitor(
                every=monitoring.collapse_every,
                action=monitoring.collapse,
                start_step=max(monitoring.collapse_start_steps, round(monitoring.collapse_start * num_steps)),
                patience=monitoring.collapse_patience,
            )
        )
    held_out = None
    in_place = in_channels if shown == "in_its_place" else None
    if monitoring.probe_folders:
        pattern = monitoring.probe_channel_pattern or channel_pattern
        held_out = open_folders(monitoring.probe_folders, channel_pattern=pattern, split=None)
        probed = held_out

        def read_held_out() -> tuple[list[ProbeField], tuple[str, ...]]:
            return read_probe_fields(probed, max_fields=monitoring.probe_fields, size=size, channels=in_place)

        settings = ProbeSettings(size=size, max_places=monitoring.probe_places, shown=shown)
        monitors.append(ProbeMonitor(read_held_out, settings=settings, every=monitoring.probe_every))
    if monitoring.few_shot_folder is not None:
        monitors.append(_few_shot_monitor(monitoring, monitoring.few_shot_folder, Path(output), few_shot))
    with PictureWriter(Path(output) / "pictures") as writer:
        if monitoring.pictures_every:
            source = fields if fields is not None else held_out

            def read_shown() -> Sequence[ChannelImages]:
                if source is None:
                    return []
                images, notes = shown_fields(
                    source,
                    count=monitoring.picture_fields,
                    size=max(size, monitoring.picture_px),
                    smallest=size,
                    in_channels=in_channels,
                    shown=shown,
                )
                for note in notes:
                    warnings.warn(f"pictures: {note}", ProbeWarning, stacklevel=2)
                return images

            monitors.append(PictureMonitor(read_shown, writer, every=monitoring.pictures_every))
        yield monitors


def _few_shot_monitor(
    monitoring: Monitoring, dataset: Path, output: Path, make: Callable[[Path], FewShotTrainer] | None
) -> FewShotMonitor:
    if not dataset.is_dir():
        raise FileNotFoundError(
            f"monitoring.few_shot_folder {dataset} does not exist; give a dataset folder (images/, masks/, splits.csv)"
        )
    if make is None:
        raise ValueError(
            "monitoring.few_shot_folder is set, but no trainer of decoders is available; start the run with 'dinocell "
            "pretrain', which brings one, or give few_shot to pretrain()"
        )
    return FewShotMonitor(make, output, num_images=monitoring.few_shot_images, every=monitoring.few_shot_every)
