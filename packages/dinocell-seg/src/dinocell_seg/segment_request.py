"""What a command line asks a worker process for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinocell_seg.outcomes import Existing
from dinocell_seg.plane_choice import PlaneChoice


@dataclass(frozen=True)
class SegmentRequest:
    """What a command line asks for, in values that can be sent to another process."""

    output: Path
    model: str = "default"
    device: str = "auto"
    choice: PlaneChoice = field(default_factory=PlaneChoice)
    preset: str | None = None
    recipe: Path | None = None
    overrides: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    save_distance_map: bool = False
    existing: Existing = "refuse"
