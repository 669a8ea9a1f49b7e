"""What `dinocell info` shows: an image's contents, or a model file's promises."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dinocell_core import file_sha256, load_model
from dinocell_io import ChannelInfo, describe_image
from dinocell_seg.pipeline import default_model_path

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


def describe_image_file(path: str | Path) -> RenderableType:
    """An image's shape, dtype, pixel size and, per channel, its range and percentiles."""
    image = describe_image(path)
    num_channels, height, width = image.shape
    kind = "RGB" if image.is_rgb else f"{num_channels} channel{'s' if num_channels > 1 else ''}"
    size = "unknown (pass --pixel-size)" if image.pixel_size_um is None else f"{image.pixel_size_um:g} um"
    table = Table("channel", "min", "1 %", "median", "99.8 %", "max", "not finite", box=None, pad_edge=False)
    for channel in image.channels:
        table.add_row(Text(channel.name), *_range_of(channel), str(channel.num_not_finite))
    facts = Text(f"{path}\n{height} x {width} pixels, {kind}, {image.dtype}, pixel size {size}\n")
    if num_channels > 1 and not image.is_rgb:
        names = ", ".join(channel.name for channel in image.channels)
        return Group(facts, table, Text(f"\nsegmenting it needs --channel, one of {names}"))
    return Group(facts, table)


def describe_model_file(path: str | Path) -> RenderableType:
    """A model file's architecture, numbers of parameters, licence, scores, calibration and hash."""
    file = default_model_path() if str(path) == "default" else Path(path)
    model = load_model(file)
    summary = model.summary()
    architecture = model.architecture
    table = Table.grid(padding=(0, 2))
    table.add_row("file", Text(str(file)))
    table.add_row("sha256", file_sha256(file))
    table.add_row(
        "network",
        f"{architecture.size}, patch {architecture.patch}, {architecture.in_channels} input channel(s)",
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


def _ordered(metadata: Mapping[str, Any]) -> dict[str, Any]:
    first = {key: metadata.get(key, "not stated") for key in _FIRST_KEYS}
    return first | {key: value for key, value in metadata.items() if key not in first}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
