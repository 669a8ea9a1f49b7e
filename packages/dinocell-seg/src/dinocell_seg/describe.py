"""What `dinocell info` shows: the contents of an image, or the facts in a model file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dinocell_io import ChannelInfo, counted, describe_image, write_thumbnail

_FIRST_KEYS = (
    "version",
    "licence",
    "training_data",
    "scores",
    "thresholds",
    "normalization",
    "tile",
    "overlap",
    "diameter_px",
)

_STACKS = {"t": "times", "z": "z planes", "i": "pages without a name"}
_BARS = " ▁▂▃▄▅▆▇█"


def describe_image_file(
    path: str | Path,
    *,
    scene: str | None = None,
    z: int | None = None,
    t: int | None = None,
    thumbnail: Path | None = None,
) -> RenderableType:
    """An image's axes, dtype, pixel size and levels and, per channel of one plane, its range and histogram.

    With `thumbnail`, also writes a small picture of it there.
    """
    image = describe_image(path, scene=scene, z=z, t=t)
    sizes = dict(zip(image.axes, image.shape, strict=True))
    num_channels = sizes["c"]
    facts = [str(path) + (f", scene {image.scene} of {len(image.scenes)}" if image.scene is not None else "")]
    kind = "RGB" if image.is_rgb else counted(num_channels, "channel")
    size = "unknown (pass --pixel-size)" if image.pixel_size_um is None else f"{image.pixel_size_um:g} um"
    facts.append(f"{sizes['y']} x {sizes['x']} pixels, {kind}, {image.dtype}, pixel size {size}")
    stack = [f"{_STACKS[axis]} {sizes[axis]}" for axis in "tzi" if axis in sizes]
    if stack:
        plane = [f"{axis}={index}" for axis, index in (("z", image.z), ("t", image.t)) if index is not None]
        facts.append(f"{', '.join(stack)}; measured at {', '.join(plane)}")
    if len(image.levels) > 1:
        widths = ", ".join(f"{level.height} x {level.width}" for level in image.levels)
        facts.append(f"{len(image.levels)} levels ({widths}); measured on level {image.measured_level}")
    facts += [f"note: {note}" for note in image.notes]
    table = Table(
        "channel", "min", "1 %", "median", "99.8 %", "max", "not finite", "1 % to 99.8 %", box=None, pad_edge=False
    )
    for channel in image.channels:
        table.add_row(
            Text(channel.name), *_range_of(channel), str(channel.num_not_finite), Text(_bars(channel.histogram))
        )
    parts: list[RenderableType] = [Text("\n".join(facts) + "\n"), table]
    needed = ["--z" if axis == "i" else f"--{axis}" for axis in "zti" if sizes.get(axis, 1) > 1]
    if num_channels > 1 and not image.is_rgb:
        needed.append(f"--channel, one of {', '.join(channel.name for channel in image.channels)}")
    if needed:
        parts.append(Text(f"\nsegmenting it needs {' and '.join(needed)}"))
    if thumbnail is not None:
        write_thumbnail(thumbnail, path, scene=scene, z=z, t=t)
        parts.append(Text(f"\nthumbnail written to {thumbnail}"))
    return Group(*parts)


def describe_model_file(path: str | Path) -> RenderableType:
    """A model file's architecture, numbers of parameters, licence, scores, calibration and hash."""
    # torch is loaded for models only: looking at an image takes a fraction of a second
    from dinocell_core import file_sha256, load_model
    from dinocell_seg.pipeline import default_model_path

    file = default_model_path() if str(path) == "default" else Path(path)
    model = load_model(file)
    summary = model.summary()
    architecture = model.architecture
    table = Table.grid(padding=(0, 2))
    table.add_row("file", Text(str(file)))
    table.add_row("sha256", file_sha256(file))
    table.add_row(
        "network",
        f"{architecture.size}, patch {architecture.patch}, {counted(architecture.in_channels, 'input channel')}",
    )
    table.add_row(
        "parameters",
        f"{summary.total:,}: backbone {summary.backbone:,}, stem {summary.stem:,}, decoder {summary.decoder:,}",
    )
    for key, value in _ordered(model.metadata).items():
        table.add_row(key, Text(_shown(value)))
    return table


def _range_of(channel: ChannelInfo) -> list[str]:
    values = (
        channel.minimum,
        channel.percentile_1,
        channel.median,
        channel.percentile_99_8,
        channel.maximum,
    )
    return ["-" if value is None else f"{value:g}" for value in values]


def _bars(counts: tuple[int, ...]) -> str:
    """The histogram as a line of bars, by the root of the counts so that rare bright pixels show."""
    highest = max(counts)
    if highest == 0:
        return ""
    return "".join(_BARS[round((count / highest) ** 0.5 * (len(_BARS) - 1))] for count in counts)


def _ordered(metadata: Mapping[str, Any]) -> dict[str, Any]:
    first = {key: metadata.get(key, "not stated") for key in _FIRST_KEYS}
    return first | {key: value for key, value in metadata.items() if key not in first}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
