"""A backbone's probes as a file, a table and a picture, beside the same architecture with random weights."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dinocell_core import DinoVisionTransformer, file_sha256
from dinocell_io import Image, atomic_path, write_image
from dinocell_ssl.backbones.open_backbone import open_backbone
from dinocell_ssl.data.fields import open_folders
from dinocell_ssl.probes.channel_sheet import channel_sheet, shown_fields
from dinocell_ssl.probes.probe import ProbeResult, ProbeSettings, read_probe_fields, run_probes

ROWS = (
    ("knn_field", "nearest places that are of the same field"),
    ("knn_plate", "nearest places of other fields that are of the same plate"),
    ("channel_same", "cosine of one place in two channels"),
    ("channel_different", "cosine of two places in two channels"),
    ("channel_margin", "margin of the two: what is alike beyond what all is"),
    ("channel_retrieval", "places found again in another channel"),
    ("patch_channel_margin", "margin of mean patch tokens"),
    ("probe_rank", "effective rank of the class tokens (RankMe)"),
    ("probe_variance", "variance of the class tokens, of 1"),
)


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """Results of a checkpoint and of random weights on the same places."""

    checkpoint: ProbeResult
    random: ProbeResult
    notes: tuple[str, ...]
    path: Path


def probe_checkpoint(
    checkpoint: str | Path,
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    settings: ProbeSettings | None = None,
    max_fields: int = 50,
    channel_pattern: str | None = None,
    split: str | None = None,
    device: str = "cpu",
) -> ProbeReport:
    """Write `probe.json` and `channels.png` into `output`.

    Without `settings.shown`, channels are shown as the run showed them: each in its place if the file is of a run
    whose backbone takes several, else repeated (also to an RGB backbone of others). Raises ValueError and
    FileNotFoundError for a file that is not a backbone, and for folders without a usable field.
    """
    checkpoint, output = Path(checkpoint), Path(output)
    backbone, facts = open_backbone(checkpoint)
    settings = settings or ProbeSettings()
    shown = settings.shown or ("in_its_place" if facts and backbone.in_channels > 1 else "repeated")
    settings = replace(settings, shown=shown)
    fields = open_folders(folders, channel_pattern=channel_pattern, split=split)
    in_place = backbone.in_channels if shown == "in_its_place" else None
    usable, notes = read_probe_fields(fields, max_fields=max_fields, size=settings.size, channels=in_place)
    if not usable:
        raise ValueError(f"none of the {len(fields)} fields can be probed; the first: {notes[0]}")
    backbone = backbone.to(device)
    result = run_probes(backbone, usable, settings=settings)
    random = run_probes(random_like(backbone, seed=settings.seed), usable, settings=settings)
    output.mkdir(parents=True, exist_ok=True)
    pictured, _ = shown_fields(fields, count=2, size=settings.size, in_channels=backbone.in_channels, shown=shown)
    if pictured:
        sheet = np.ascontiguousarray(np.moveaxis(channel_sheet(backbone, pictured), 2, 0))
        write_image(output / "channels.png", Image(sheet, ("red", "green", "blue"), None, True, ""))
    report = ProbeReport(checkpoint=result, random=random, notes=notes + result.notes, path=output / "probe.json")
    _write(report, checkpoint, facts, settings)
    return report


def random_like(backbone: DinoVisionTransformer, *, seed: int) -> DinoVisionTransformer:
    """A backbone of the same architecture with random weights, on the same device; the same seed gives the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DinoVisionTransformer(backbone.config).eval().to(backbone.cls_token.device)


def probe_table(report: ProbeReport) -> list[tuple[str, str, str, str]]:
    """Rows of (measure, checkpoint, random weights, chance); "-" for what was not measured."""
    values, random = report.checkpoint.values, report.random.values

    def shown(found: dict[str, float], name: str) -> str:
        if name not in found:
            return "-"
        low, high = found.get(f"{name}_low"), found.get(f"{name}_high")
        interval = f" ({low:.4f} to {high:.4f})" if low is not None else ""
        return f"{found[name]:.4f}{interval}"

    return [(text, shown(values, name), shown(random, name), shown(values, f"{name}_chance")) for name, text in ROWS]


def _write(report: ProbeReport, checkpoint: Path, facts: dict[str, Any], settings: ProbeSettings) -> None:
    def as_json(result: ProbeResult) -> dict[str, Any]:
        margins = result.consistency.pair_margins if result.consistency else None
        pairs = None if margins is None else [[None if x != x else x for x in row] for row in margins.tolist()]
        values = {name: value if isfinite(value) else None for name, value in result.values.items()}  # as in the log
        return {"values": values, "channel_pair_margins": pairs}

    content = {
        "checkpoint": checkpoint.name,
        "sha256": file_sha256(checkpoint),
        "step": facts.get("step"),
        "settings": asdict(settings),
        "pretrained": as_json(report.checkpoint),
        "random": as_json(report.random),
        "notes": list(report.notes),
    }
    with atomic_path(report.path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
