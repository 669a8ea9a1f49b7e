"""The progress of a run: a progress bar, JSON lines, and Weights & Biases on request."""

import contextlib
import errno
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dinocell_io import atomic_path, not_written


class TrainingLog:
    """Log of one run in ``folder``; lines past ``step`` (of a run that died after its last checkpoint) are dropped."""

    def __init__(
        self, folder: Path, *, recipe: dict[str, Any], step: int = 0, wandb_project: str | None = None
    ) -> None:
        self.path = folder / "log.jsonl"
        kept = _lines_up_to(self.path, step) if step and self.path.exists() else []
        for path, text in (
            (self.path, "".join(f"{line}\n" for line in kept)),
            (folder / "recipe.json", json.dumps(recipe, indent=2) + "\n"),
        ):
            with atomic_path(path) as temporary:
                Path(temporary).write_text(text, encoding="utf-8")
        self.run = _start_wandb(wandb_project, recipe, folder) if wandb_project else None
        self.progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self.task = self.progress.add_task("", total=recipe["schedule"]["steps"], completed=step)

    def __enter__(self) -> "TrainingLog":
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.progress.stop()
        if self.run is not None:
            self.run.finish(exit_code=0 if error is None else 1)

    def advance(self, step: int, *, loss: float) -> None:
        """Move the progress bar."""
        self.progress.update(self.task, completed=step, description=f"loss {loss:.4f}")

    def say(self, text: str) -> None:
        """Print a line above the bar, also without a terminal."""
        self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def write(self, facts: dict[str, Any]) -> None:
        """Append and print one line, of an epoch or of the steps of one so far; it is in the file when this returns.

        Raises OSError when the disk is full; nothing of the line is in the file then.
        """
        _append(self.path, json.dumps(facts, allow_nan=False))
        if self.run is not None:
            self.run.log(facts, step=facts["step"])
        validated = (
            f", validation {facts['validation_loss']:.4f} (best {facts['best_loss']:.4f})"
            if "validation_loss" in facts
            else ""
        )
        self.say(
            f"step {facts['step']}: train {facts['train_loss']:.4f}{validated}, {facts['crops_per_second']:.1f} crops/s"
        )


def _append(path: Path, line: str) -> None:
    with path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        data = f"{line}\n".encode()
        try:
            if file.write(data) < len(data):  # the part that fitted
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            file.truncate(end)
            raise not_written(path, error) from error


def _lines_up_to(path: Path, step: int) -> list[str]:
    """The lines of a log up to a step; one that a full disk or a power cut left half written is dropped."""
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            if json.loads(line)["step"] <= step:
                kept.append(line)
    return kept


def _start_wandb(project: str, recipe: dict[str, Any], folder: Path) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ValueError("logging to Weights & Biases needs its package: pip install wandb") from error
    return wandb.init(project=project, config=recipe, dir=str(folder))
