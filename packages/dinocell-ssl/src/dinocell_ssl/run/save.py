"""What a run writes to disk at a checkpoint, and what it does if the disk is full."""

import warnings
from collections.abc import Mapping
from typing import Any

from dinocell_ssl.backbones.backbone_file import read_backbone_facts, save_backbone_weights
from dinocell_ssl.data.intensity import NORMALIZATION
from dinocell_ssl.run.assemble import Run, data_identity
from dinocell_ssl.run.resume import checkpoint_contents, checkpoint_path, remove_old_checkpoints, save_checkpoint


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; the next one will be tried."""


def save(run: Run, *, is_last: bool) -> None:
    """Write checkpoint and backbone; if the disk has no room for one of them, the other is still written.

    A full disk is an error only of the last checkpoint before the run ends: until then the next may find room.
    """
    state = run.state
    contents = _contents(run)
    if not run.ranks.is_first:
        return
    failures: list[OSError] = []
    for write in (_write_checkpoint, _write_backbone):
        try:
            write(run, contents)
        except OSError as error:
            failures.append(error)
    if not failures:
        remove_old_checkpoints(state.output, keep=run.recipe.schedule.keep)
    elif is_last:
        raise OSError(
            f"{'; '.join(map(str, failures))}. Make room and give the same command again: the run continues from its "
            "last checkpoint"
        ) from failures[0]
    else:
        message = "; ".join(map(str, failures))
        warnings.warn(f"step {state.step}: {message}; training continues", CheckpointWarning, stacklevel=2)


def complete(run: Run) -> None:
    """Write the backbone of a finished run that was stopped between its last checkpoint and this."""
    path = run.state.output / "backbone.safetensors"
    if path.is_file() and read_backbone_facts(path)["step"] == run.state.step:
        return
    contents = _contents(run)
    if run.ranks.is_first:
        _write_backbone(run, contents)


def _contents(run: Run) -> dict[str, Any]:
    data = data_identity(run.plan, run.recipe)
    return checkpoint_contents(
        run.state, data=data, centers=run.targets.centers, start=run.start.facts, is_kept=run.ranks.is_first
    )


def _write_checkpoint(run: Run, contents: Mapping[str, Any]) -> None:
    path = checkpoint_path(run.state.output, run.state.step)
    try:
        save_checkpoint(path, contents)
    except OSError:
        # A run needs only the newest one to continue: the others make room.
        if not remove_old_checkpoints(run.state.output, keep=1):
            raise
        save_checkpoint(path, contents)


def _write_backbone(run: Run, contents: Mapping[str, Any]) -> None:
    prefix = "backbone."
    save_backbone_weights(
        run.state.output / "backbone.safetensors",
        {name.removeprefix(prefix): tensor for name, tensor in contents["teacher"].items() if name.startswith(prefix)},
        config=run.network.backbone.config,
        facts=_facts(run),
    )


def _facts(run: Run) -> dict[str, Any]:
    return {
        "size": run.recipe.network.size,
        "step": run.state.step,
        "epoch": run.plan.epoch(run.state.step),
        "num_fields": len(run.plan.fields),
        "start": dict(run.start.facts),
        "recipe": run.state.recipe,
        "normalization": NORMALIZATION,
    }
