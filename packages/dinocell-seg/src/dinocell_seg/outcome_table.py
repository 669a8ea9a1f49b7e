"""What `dinocell segment` says at its end."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from dinocell_io import counted, listed, zarr_root
from dinocell_seg.outcomes import Outcome

_MAX_ROWS = 40


def print_outcomes(console: Console, outcomes: Sequence[Outcome], output: Path) -> None:
    """A table of the outcomes, failures first; in a long list the last successes are only counted."""
    colours = {"done": "green", "skipped": "yellow", "failed": "red", "left out": "yellow"}
    ordered = sorted(outcomes, key=lambda outcome: {"failed": 0, "left out": 1}.get(outcome.status, 2))
    num_failed = sum(outcome.status == "failed" for outcome in outcomes)
    num_shown = max(_MAX_ROWS, num_failed)
    table = Table(Column("image", overflow="fold"), "status", "cells", "seconds", box=None, pad_edge=False)
    for outcome in ordered[:num_shown]:
        cells = "" if outcome.num_cells is None else str(outcome.num_cells)
        seconds = f"{outcome.seconds:.1f}" if outcome.status == "done" else ""
        status = f"[{colours[outcome.status]}]{outcome.status}[/]"
        table.add_row(escape(_name(outcome.image)), status, cells, seconds)
    if len(ordered) > num_shown:
        table.add_row(f"and {len(ordered) - num_shown} more")
    console.print(table)
    for outcome in ordered[:num_failed]:
        named = outcome.message.startswith(outcome.image)
        text = outcome.message if named else f"{outcome.image}: {outcome.message}"
        console.print(f"failed: {text}", markup=False, soft_wrap=True)
    reasons: dict[tuple[str, str], list[str]] = {}
    for outcome in ordered[num_failed:]:
        reasons.setdefault((outcome.status, outcome.message), []).append(_name(outcome.image))
    for (status, reason), names in reasons.items():
        if reason:
            what = "left out" if status == "left out" else "note on"
            console.print(f"{what} {listed(names, 5)}: {reason}", markup=False, soft_wrap=True)
    counts = ", ".join(
        f"{number} {status}" for status in colours if (number := sum(outcome.status == status for outcome in outcomes))
    )
    num_cells = sum(outcome.num_cells or 0 for outcome in outcomes)
    console.print(f"{counts}; {counted(num_cells, 'cell')}. Results are in {output}", markup=False, soft_wrap=True)


def _name(image: str) -> str:
    """The file's name, and of an image in an OME-Zarr the path from the outermost one: plate.zarr/A/1/0."""
    root, inside = zarr_root(image)
    return "/".join([PurePosixPath(root).name, *inside.split("/")]) if inside else Path(image).name
