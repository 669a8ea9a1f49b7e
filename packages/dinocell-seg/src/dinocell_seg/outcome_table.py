"""What `dinocell segment` says at its end."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dinocell_seg.batch import Outcome

_MAX_ROWS = 40


def print_outcomes(console: Console, outcomes: Sequence[Outcome], output: Path) -> None:
    """A table of the outcomes, failures first; a long list of successes is only counted."""
    colours = {"done": "green", "skipped": "yellow", "failed": "red"}
    ordered = sorted(outcomes, key=lambda outcome: outcome.status != "failed")
    num_failed = sum(outcome.status == "failed" for outcome in outcomes)
    table = Table("image", "status", "cells", "seconds", box=None, pad_edge=False)
    for outcome in ordered[: max(_MAX_ROWS, num_failed)]:
        cells = "" if outcome.num_cells is None else str(outcome.num_cells)
        seconds = f"{outcome.seconds:.1f}" if outcome.status == "done" else ""
        status = f"[{colours[outcome.status]}]{outcome.status}[/]"
        table.add_row(escape(Path(outcome.image).name), status, cells, seconds)
    console.print(table)
    for outcome in ordered[:num_failed]:
        named = outcome.message.startswith(outcome.image)
        text = outcome.message if named else f"{outcome.image}: {outcome.message}"
        console.print(f"failed: {text}", markup=False, soft_wrap=True)
    counts = ", ".join(
        f"{number} {status}" for status in colours if (number := sum(outcome.status == status for outcome in outcomes))
    )
    num_cells = sum(outcome.num_cells or 0 for outcome in outcomes)
    cells = f"{num_cells} cell{'s' * (num_cells != 1)}"
    console.print(f"{counts}; {cells}. Results are in {output}", markup=False, soft_wrap=True)
