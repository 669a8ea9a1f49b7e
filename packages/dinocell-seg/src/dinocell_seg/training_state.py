"""Everything a run must remember to continue exactly: weights, averages, optimiser, position, random state."""

import copy
import pickle
from pathlib import Path
from typing import Any

import torch

from dinocell_core import DINOCell
from dinocell_core.recipe import merged
from dinocell_io import atomic_path


class TrainingState:
    """A run in progress. Random crops need no state: they are a function of seed and step."""

    def __init__(self, model: DINOCell, optimizer: torch.optim.Optimizer) -> None:
        self.model = model
        self.averaged = copy.deepcopy(model).requires_grad_(False)
        self.optimizer = optimizer
        self.step = 0
        self.best_loss = float("inf")
        self.loss_to_beat = float("inf")  # by min_delta, for patience
        self.epochs_without_improvement = 0


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
    """Write a checkpoint, all of it or nothing; `data` tells the images apart, see `load_state`."""
    contents = {
        "model": state.model.state_dict(),
        "averaged": state.averaged.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "best_loss": state.best_loss,
        "loss_to_beat": state.loss_to_beat,
        "epochs_without_improvement": state.epochs_without_improvement,
        "rng": torch.get_rng_state(),
        "recipe": recipe,
        "data": data,
    }
    with atomic_path(path) as temporary:
        torch.save(contents, temporary)


def load_state(
    path: str | Path, state: TrainingState, *, recipe: dict[str, Any], data: str, defaults: dict[str, Any] | None = None
) -> None:
    """Continue from a checkpoint of the same recipe and data; a setting that its version did not know had its default.

    Raises:
        ValueError: the file is damaged, or was written with another recipe (the message names what differs), or of
            other data.
    """
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is not a complete checkpoint; start the run again") from error
    differences = sorted(_differences(merged(defaults or {}, contents["recipe"]), recipe))
    if differences:
        raise ValueError(
            f"{path} was written with another recipe ({'; '.join(differences)}); resume with the same recipe or "
            "start in another folder"
        )
    if contents.get("data", data) != data:
        raise ValueError(
            f"{path} was trained on other images (other folders, names or splits); resume with the same --data, in the "
            "same order, or start in another folder, from this run's model with --start-from"
        )
    state.model.load_state_dict(contents["model"])
    state.averaged.load_state_dict(contents["averaged"])
    state.optimizer.load_state_dict(contents["optimizer"])
    state.step = contents["step"]
    state.best_loss = contents["best_loss"]
    state.loss_to_beat = contents.get("loss_to_beat", state.best_loss)
    state.epochs_without_improvement = contents["epochs_without_improvement"]
    torch.set_rng_state(contents["rng"])


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            difference
            for key in old.keys() | new.keys()
            for difference in _differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
        ]
    return [] if old == new else [f"{prefix}: {old} then, {new} now"]
