"""The progress of a run: JSON lines always, a progress bar, and Weights & Biases on request."""

import json
import math
import secrets
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dinocell_io.run_log.line_file import LineFile, LogWarning
from dinocell_io.system.atomic import atomic_path

Value = float | int | str | bool | None


@dataclass(frozen=True, kw_only=True)
class WandbSettings:
    """A project of Weights & Biases; `offline` writes below the run's folder, for `wandb sync` later."""

    project: str
    mode: Literal["online", "offline"] = "online"


class Tracker:
    """The log of one run in `folder`: `log.jsonl`, and what is shown and sent. Only rank 0 makes one.

    Starting at `step` (of a resumed run) drops lines of later steps, left by a run that died after its last checkpoint,
    and a last line that was cut short. Weights & Biases continues the same run: its id is kept in
    `folder/wandb_run_id`; if it fails during the run, a LogWarning says so and the lines continue. A terminal shows a
    bar with the time left; otherwise a plain line is printed every `line_seconds`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        config: Mapping[str, Any],
        num_steps: int,
        step: int = 0,
        wandb: WandbSettings | None = None,
        console: Console | None = None,
        line_seconds: float = 30.0,
    ) -> None:
        """Raises ValueError if wandb is requested but not installed, or if `log.jsonl` is damaged in its middle."""
        self.folder = Path(folder)
        self.path = self.folder / "log.jsonl"
        kept = [line for line in read_log(self.path) if line["step"] <= step] if self.path.exists() else []
        self._wandb = _start_wandb(wandb, config, self.folder) if wandb else None
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line, allow_nan=False) + "\n" for line in kept))
        self._file = LineFile(self.path)
        self._console = console or Console()
        self._line_seconds, self._last_line = line_seconds, -math.inf
        self._num_steps = num_steps
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("", total=num_steps, completed=step)

    def __enter__(self) -> "Tracker":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._file.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=0 if error is None else 1)

    def log(self, values: Mapping[str, Value]) -> None:
        """`record` the values, and `show` them."""
        self.record(values)
        self.show(values)

    def record(self, values: Mapping[str, Value]) -> None:
        """One line of the log; `values` hold `step`, the number of steps done. A full disk costs the line (LogWarning).

        JSON has no NaN: numbers that are not finite become null, and `non_finite` names them with their value.
        """
        if not isinstance(values.get("step"), int):
            raise ValueError(f"values to log have step={values.get('step')!r}; give the number of steps done")
        line = json_line(values)
        self._file.append(json.dumps(line, allow_nan=False))
        self._send(values)

    def _send(self, values: Mapping[str, Value]) -> None:
        if self._wandb is None:
            return
        try:
            self._wandb.log(dict(values))
        except wandb_failures() as error:
            self._wandb = None
            warnings.warn(
                f"Weights & Biases does not accept more values ({error}); training continues, with {self.path} only",
                LogWarning,
                stacklevel=3,
            )

    def show(self, values: Mapping[str, Value]) -> None:
        """Move the bar, or print the line when it is time; nothing is written to the log."""
        step = int(values["step"] or 0)
        if self._console.is_terminal:
            self.move(step, describe(values))
        elif time.monotonic() - self._last_line >= self._line_seconds or step >= self._num_steps:
            self._last_line = time.monotonic()
            self.say(f"step {step}/{self._num_steps}: {describe(values)}")

    def move(self, step: int, description: str) -> None:
        """Move the bar of a terminal."""
        self._progress.update(self._task, completed=step, description=description)

    def say(self, text: str) -> None:
        """Print a line, in a terminal above the bar."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def wandb_failures() -> tuple[type[Exception], ...]:
    """The errors that Weights & Biases may raise during a run: its service, its files or its connection failed."""
    own = getattr(sys.modules.get("wandb"), "Error", OSError)
    return (OSError, RuntimeError, ValueError, own)


def describe(values: Mapping[str, Value]) -> str:
    """Loss, images per second, share of time spent waiting for data and peak memory, as far as `values` has them."""
    parts = (
        ("loss", "loss {:.4f}"),
        ("images_per_second", "{:.1f} images/s"),
        ("data_wait", "data wait {:.0%}"),
        ("peak_memory_gb", "{:.2f} GB"),
    )
    shown = [(form, values.get(key)) for key, form in parts]
    return ", ".join(form.format(value) for form, value in shown if isinstance(value, float | int))


def json_line(values: Mapping[str, Value]) -> dict[str, Any]:
    """`values` as JSON can hold them; numbers that are not finite are named under `non_finite`."""
    broken = {key: str(value) for key, value in values.items() if isinstance(value, float) and not math.isfinite(value)}
    line: dict[str, Any] = {key: None if key in broken else value for key, value in values.items()}
    return {**line, "non_finite": broken} if broken else line


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a log; a last line that was cut short, as a kill leaves it, is left out.

    Raises ValueError for any other line that is not a JSON object with a `step`.
    """
    text = Path(path).read_text(encoding="utf-8")
    *lines, _ = text.split("\n")
    parsed: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            values = None
        if not isinstance(values, dict) or "step" not in values:
            raise ValueError(
                f"line {number} of {path} is not a JSON object with a step: {line[:60]!r}; the file was changed "
                "after it was written: move it away, the run continues with a new log"
            )
        parsed.append(values)
    return parsed


def _start_wandb(settings: WandbSettings, config: Mapping[str, Any], folder: Path) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ValueError("logging to Weights & Biases needs its package: pip install wandb") from error
    id_file = folder / "wandb_run_id"
    if not id_file.exists():
        id_file.write_text(secrets.token_hex(4))
    run = wandb.init(
        project=settings.project,
        mode=settings.mode,
        config=dict(config),
        dir=str(folder),
        id=id_file.read_text(),
        resume="allow",
        settings=wandb.Settings(console="off"),
    )
    # Steps of their own: a resumed run repeats some, which wandb's counter would refuse.
    run.define_metric("*", step_metric="step")
    return run
