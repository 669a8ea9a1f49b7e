"""Everything a run needs to continue exactly: weights, averages, optimiser and position."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dinocell_core import DINOCell
from dinocell_core.atomic_file import not_written
from dinocell_core.checkpoint_file import UNREADABLE
from dinocell_core.integrity import damaged_record, not_finite
from dinocell_core.recipe import differences, merged
from dinocell_io import atomic_path, counted

# Settings that may change when a run is resumed, so that a diverged run can continue; changes are kept with the run.
_MAY_CHANGE = ("optimization.learning_rate", "optimization.final_factor", "optimization.clip_norm", "precision")
# Of a run whose learning rate stays until its end is known, also that end, and the batch that another machine can take.
_MAY_CHANGE_WITHOUT_END = ("schedule.steps", "optimization.decay_steps", "sampling.batch_size")


class TrainingState:
    """A run in progress. Random numbers need no state: crops are a function of seed and step, and networks draw none.

    `origin` is what the run started from, `changes` are those of its recipe where it was resumed with another one.
    """

    def __init__(
        self, model: DINOCell, optimizer: torch.optim.Optimizer, *, origin: Mapping[str, Any] | None = None
    ) -> None:
        self.model = model
        self.averaged = copy.deepcopy(model).requires_grad_(False)
        self.optimizer = optimizer
        self.step = 0
        self.best_loss = float("inf")
        self.loss_to_beat = float("inf")  # by min_delta, for patience
        self.epochs_without_improvement = 0
        self.epoch_losses: list[float] = []  # of the steps since the last validation
        self.origin = dict(origin or {})
        self.changes: list[str] = []

    def not_finite(self) -> list[str]:
        """Names of weights, averaged weights and moments of the optimiser that hold NaN or infinity."""
        named = {"model": self.model.state_dict(), "averaged": self.averaged.state_dict()}
        return _not_finite(named, self.optimizer.state_dict())


@torch.no_grad()
def average_weights(averaged: DINOCell, model: DINOCell, *, decay: float, step: int) -> None:
    """Exponential moving average of weights and running statistics; young averages follow faster."""
    decay = min(decay, (1 + step) / (10 + step))
    old, new = averaged.state_dict(), model.state_dict()
    floats = [name for name, tensor in old.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([old[name] for name in floats], [new[name] for name in floats], 1 - decay)
    for name in old.keys() - set(floats):
        old[name].copy_(new[name])


def save_state(path: str | Path, state: TrainingState, *, recipe: dict[str, Any], data: str) -> None:
    """Write a checkpoint, completely or not at all; `data` identifies the images, see `load_state`.

    Raises OSError when the disk is full, and FloatingPointError for numbers that are not finite; the checkpoint that
    was there stays.
    """
    if unusable := state.not_finite():
        raise FloatingPointError(f"{path} was not written: {', '.join(unusable[:3])} are not finite")
    contents = {
        "model": state.model.state_dict(),
        "averaged": state.averaged.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "best_loss": state.best_loss,
        "loss_to_beat": state.loss_to_beat,
        "epochs_without_improvement": state.epochs_without_improvement,
        "epoch_losses": state.epoch_losses,
        "origin": state.origin,
        "changes": state.changes,
        "recipe": recipe,
        "data": data,
    }
    with atomic_path(path) as temporary:
        try:
            torch.save(contents, temporary)
        except RuntimeError as error:  # torch's own writer has no OSError
            raise not_written(path, error) from error


def load_state(
    path: str | Path, state: TrainingState, *, recipe: dict[str, Any], data: str, defaults: dict[str, Any] | None = None
) -> None:
    """Continue from a checkpoint of the same recipe and data; a setting that its version did not know had its default.

    Another learning rate, clipping or precision is taken, and noted in `state.changes`; with `decay_steps` also another
    number of steps, and another batch size.

    Raises:
        ValueError: the file is damaged or not finite, or was written with another recipe (the message names what
            differs), or of other data.
    """
    contents = _read(Path(path))
    changed = differences(merged(defaults or {}, contents["recipe"]), recipe)
    open_ended = contents["recipe"].get("optimization", {}).get("decay_steps") is not None
    free = _MAY_CHANGE + (_MAY_CHANGE_WITHOUT_END if open_ended else ())
    refused = [difference for difference in changed if difference.partition(":")[0] not in free]
    if refused:
        raise ValueError(
            f"{path} was written with another recipe ({'; '.join(refused)}); resume with the same recipe or "
            "start in another folder"
        )
    if contents.get("data", data) != data:
        raise ValueError(
            f"{path} was trained on other images (other folders, names or splits); resume with the same --data, in the "
            "same order, or start in another folder, from this run's model with --start-from"
        )
    try:
        state.model.load_state_dict(contents["model"])
        state.averaged.load_state_dict(contents["averaged"])
        state.optimizer.load_state_dict(contents["optimizer"])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not fit the network of its recipe ({error}); start the run again") from error
    state.step = contents["step"]
    state.best_loss = contents["best_loss"]
    state.loss_to_beat = contents.get("loss_to_beat", state.best_loss)
    state.epochs_without_improvement = contents["epochs_without_improvement"]
    state.epoch_losses = list(contents.get("epoch_losses", ()))
    state.origin = contents.get("origin", state.origin)
    state.changes = [*contents.get("changes", ()), *(f"from step {state.step}: {change}" for change in changed)]


def _read(path: Path) -> dict[str, Any]:
    """What a checkpoint holds; ValueError if it is damaged, of something else, or not finite."""
    if damaged_record(path) is not None:
        raise ValueError(f"{path} is not a complete checkpoint; start the run again")
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ValueError(f"{path} is not a complete checkpoint; start the run again") from error
    entries = {"model", "averaged", "optimizer", "step", "best_loss", "epochs_without_improvement", "recipe"}
    if not isinstance(contents, dict) or not entries <= contents.keys():
        raise ValueError(f"{path} is not a checkpoint of 'dinocell train'; start the run again in another folder")
    if unusable := _not_finite({name: contents[name] for name in ("model", "averaged")}, contents["optimizer"]):
        raise ValueError(
            f"{path} cannot be continued: {unusable[0]} and {counted(len(unusable) - 1, 'other tensor')} in it are not "
            "finite. "
            "Start in another folder, from the best epoch of this run with "
            f"--start-from {path.parent / 'model.safetensors'}"
        )
    return contents


def _not_finite(weights: Mapping[str, Mapping[str, Tensor]], optimizer: Mapping[str, Any]) -> list[str]:
    named = {f"{part}.{name}": tensor for part, tensors in weights.items() for name, tensor in tensors.items()}
    for number, moments in optimizer["state"].items():
        named |= {f"optimizer.{number}.{name}": value for name, value in moments.items() if isinstance(value, Tensor)}
    return not_finite(named)
