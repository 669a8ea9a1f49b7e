"""The progress of a training in words, over the log that pretraining has too."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from dinocell_io import Tracker, WandbSettings, atomic_path


class TrainingLog:
    """Log of one run in `folder`, a `Tracker`; `recipe.json` is written beside it."""

    def __init__(
        self, folder: Path, *, recipe: dict[str, Any], step: int = 0, wandb_project: str | None = None
    ) -> None:
        with atomic_path(folder / "recipe.json") as temporary:
            temporary.write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
        self._tracker = Tracker(
            folder,
            config=recipe,
            num_steps=recipe["schedule"]["steps"],
            step=step,
            wandb=WandbSettings(project=wandb_project) if wandb_project else None,
        )

    def __enter__(self) -> "TrainingLog":
        self._tracker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tracker.__exit__(kind, error, traceback)

    def advance(self, step: int, *, loss: float) -> None:
        """Move the progress bar."""
        self._tracker.move(step, f"loss {loss:.4f}")

    def say(self, text: str) -> None:
        """Print a line above the bar, also without a terminal."""
        self._tracker.say(text)

    def write(self, facts: dict[str, Any]) -> None:
        """Append and print one line, of an epoch or of the steps of one so far; a full disk costs the line in the file.

        It is in the file when this returns, or a LogWarning was given.
        """
        self._tracker.record(facts)
        validated = (
            f", validation {facts['validation_loss']:.4f} (best {facts['best_loss']:.4f})"
            if "validation_loss" in facts
            else ""
        )
        self.say(
            f"step {facts['step']}: train {facts['train_loss']:.4f}{validated}, {facts['crops_per_second']:.1f} crops/s"
        )
