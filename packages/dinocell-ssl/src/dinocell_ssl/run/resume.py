"""Checkpoints: everything a run needs to continue exactly, and which checkpoints are kept.

Random numbers need none: crops, masks and the randomness of the student are functions of the recipe's seed and the
step. The state of a generator (`rng`) that older checkpoints hold is not used.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dinocell_core.atomic_file import not_written
from dinocell_core.recipe import differences, merged
from dinocell_io import atomic_path
from dinocell_ssl.model.sharded import copy_into, gathered, load_optimizer
from dinocell_ssl.run.recipe import PretrainRecipe
from dinocell_ssl.watch.monitor import TrainState

# What may change between a run and its continuation: nothing here changes the numbers.
_FREE = (
    "loading",
    "monitoring",
    "data.cache",
    "data.folders",
    "data.stream.index",
    "data.stream.selection",
    "data.stream.uri",
    "schedule.checkpoint_every",
    "schedule.keep",
    "schedule.log_every",
    "schedule.max_consecutive_skips",
)


def checkpoint_path(output: Path, step: int) -> Path:
    """`checkpoints/step_00001000.pt` of a run's folder."""
    return output / "checkpoints" / f"step_{step:08d}.pt"


def latest_checkpoint(output: Path) -> Path | None:
    """The checkpoint with the most steps, None if there is no checkpoint."""
    found = [
        (int(match.group(1)), path)
        for path in (output / "checkpoints").glob("step_*.pt")
        if (match := re.fullmatch(r"step_(\d+)\.pt", path.name))
    ]
    return max(found)[1] if found else None


def checkpoint_contents(
    state: TrainState,
    *,
    data: Mapping[str, Any],
    centers: Mapping[str, Tensor],
    start: Mapping[str, Any],
    is_kept: bool = True,
) -> dict[str, Any]:
    """Everything a run must remember, and what it started from.

    Of sharded weights all ranks must call, and only those that keep the contents get the weights.

    Its `teacher` entry has the layout of the published training checkpoints: other programs, and `network.start_from`,
    read it as one.
    """
    return {
        "teacher": gathered(state.teacher.state_dict(), is_kept=is_kept),
        "student": gathered(state.student.state_dict(), is_kept=is_kept),
        "gram_anchor": {} if state.anchor is None else gathered(state.anchor.backbone.state_dict(), is_kept=is_kept),
        "optimizer": gathered(state.optimizer.state_dict(), is_kept=is_kept),
        "centers": dict(centers),
        "step": state.step,
        "skipped_steps": state.skipped_steps,
        "data": dict(data),
        "start": dict(start),
        "recipe": state.recipe,
    }


def save_checkpoint(path: Path, contents: Mapping[str, Any]) -> None:
    """Write `checkpoint_contents`, all or nothing; OSError when the disk is full, and the file that was there stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        try:
            torch.save(dict(contents), temporary)
        except RuntimeError as error:  # torch's own writer has no OSError
            raise not_written(path, error) from error


def load_checkpoint(path: Path, state: TrainState, *, data: Mapping[str, Any]) -> dict[str, Tensor]:
    """Continue `state` from a checkpoint of the same recipe and data; returns the centres of softmax targets.

    Raises ValueError when the file is damaged, was written with another recipe or for other fields
    (naming what differs).
    """
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:  # OSError: cut short
        raise ValueError(f"{path} is not a complete checkpoint; remove it to continue from the one before") from error
    # A setting that is newer than the checkpoint had its default then.
    written = merged(PretrainRecipe().model_dump(mode="json"), contents["recipe"])
    changed = differences(_binding(written), _binding(state.recipe))
    # Facts that were not recorded when the checkpoint was written cannot be compared.
    changed += differences(contents["data"], {name: value for name, value in data.items() if name in contents["data"]})
    if changed:
        raise ValueError(
            f"{path} was written with another recipe ({'; '.join(changed)}); continue with the same one, or start in "
            "another folder (from these weights with --start-from)"
        )
    copy_into(state.student.state_dict(), contents["student"])
    copy_into(state.teacher.state_dict(), contents["teacher"])
    if state.anchor is not None:
        copy_into(state.anchor.backbone.state_dict(), contents["gram_anchor"])
    load_optimizer(state.optimizer, contents["optimizer"])
    state.step = contents["step"]
    state.skipped_steps = contents["skipped_steps"]
    device = next(state.student.parameters()).device
    return {head: center.to(device) for head, center in contents["centers"].items()}


def remove_old_checkpoints(output: Path, *, keep: int) -> int:
    """Keep the newest `keep` checkpoints; how many were removed."""
    old = sorted((output / "checkpoints").glob("step_*.pt"))[:-keep]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def _binding(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A resolved recipe without what may change."""
    return {
        key: _binding(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in recipe.items()
        if prefix + key not in _FREE
    }
