"""Pretraining: folders of images in, a backbone and a log out; the same call again continues."""

import json
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.nn.parallel import DistributedDataParallel

from dinocell_io import FieldList, atomic_path
from dinocell_ssl.assemble import Run, assemble, data_identity
from dinocell_ssl.backbone_file import save_backbone_weights
from dinocell_ssl.data import Batch, load_batches
from dinocell_ssl.distributed import joined_ranks
from dinocell_ssl.field_source import Skipped
from dinocell_ssl.fields import Fields
from dinocell_ssl.monitor import Monitor
from dinocell_ssl.monitoring import run_monitors
from dinocell_ssl.objective import Objective
from dinocell_ssl.pace import Pace
from dinocell_ssl.recipe import PretrainRecipe, step_rates
from dinocell_ssl.resume import (
    checkpoint_contents,
    checkpoint_path,
    remove_old_checkpoints,
    save_checkpoint,
)
from dinocell_ssl.step import Stepper
from dinocell_ssl.tracking import Tracker, WandbSettings


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; the next one will be tried."""


def pretrain(
    recipe: PretrainRecipe,
    output: str | Path,
    *,
    fields: Fields | FieldList | None = None,
    device: str = "cpu",
    monitors: Sequence[Monitor] = (),
    wandb: WandbSettings | None = None,
    console: Console | None = None,
) -> Path:
    """Pretrain a backbone on unlabelled fields and write the teacher's.

    Writes into `output`: `log.jsonl` (one line per logged step), `checkpoints/`, `backbone.safetensors` (with every
    checkpoint), `recipe.yaml` as resolved, and `skipped.jsonl` with the fields that could not be used, and why. A
    folder that holds a run is continued, exactly as the uninterrupted run would have gone on (bit for bit on a CPU
    with the same number of threads and ranks); one that is finished is left as it is.

    Started by torchrun, the ranks share the batch: with the same recipe they compute what one process would.

    Args:
        fields: what to train on, instead of the recipe's data; a `FieldList` is streamed.
        device: `cpu`, `cuda` (with torchrun each rank its own) or `mps`.
        monitors: besides those of the recipe's `monitoring`; see `dinocell_ssl.monitor`.

    Returns:
        Path of the backbone file.

    Raises:
        ValueError: no usable field, or `output` holds a run of another recipe.
        FloatingPointError: too many steps in a row were not finite.
        CollapseError: a monitor was asked to stop a collapsed run.
    """
    output = Path(output)
    if fields is None:
        fields = recipe.data.open()
    with joined_ranks(torch.device(device).type) as ranks:
        run = assemble(recipe, output, fields, device=device, ranks=ranks)
        if run.state.step < recipe.schedule.steps:
            if ranks.is_first:
                output.mkdir(parents=True, exist_ok=True)
                tracking = Tracker(
                    output,
                    config=run.state.recipe,
                    num_steps=recipe.schedule.steps,
                    step=run.state.step,
                    wandb=wandb,
                    console=console,
                )
                with tracking as tracker, _recipe_monitors(recipe, output, fields) as watching:
                    _write_recipe(output, recipe)
                    _train(run, (*watching, *monitors), tracker)
            else:
                _train(run, (), None)
        ranks.wait_for_all()
    return output / "backbone.safetensors"


def _train(run: Run, monitors: Sequence[Monitor], tracker: Tracker | None) -> None:
    """From the run's step to its last; only the first rank has a tracker and writes."""
    state, schedule = run.state, run.recipe.schedule
    pace = Pace(device=run.device)
    batches = load_batches(
        run.plan,
        start=state.step,
        stop=schedule.steps,
        loading=run.recipe.loading,
        pin_memory=run.device.type == "cuda",
    )
    stepper = _stepper(run)
    reported: set[Skipped] = set()
    while state.step < schedule.steps:
        if state.step == run.head_only_steps and run.head_only_steps > 0:
            stepper = _stepper(run)  # DDP counts the parameters that learn when it is made
        with pace.waiting():
            batch = next(batches)
        rates = step_rates(run.recipe, state.step)
        values = stepper.take(batch, rates)
        pace.count(schedule.batch_size)
        _check_skips(run)
        if tracker is not None:
            _report_skipped(state.output, batch, reported)
            values |= {
                "lr": rates.learning_rate,
                "weight_decay": rates.weight_decay,
                "momentum": rates.momentum,
                "teacher_temperature": rates.teacher_temperature,
                "epoch": run.plan.epoch(state.step),
                "skipped_steps": state.skipped_steps,
            }
            _observe(run, values, monitors, tracker, pace)
        if state.step % schedule.checkpoint_every == 0 or state.step == schedule.steps:
            _save(run)


def _recipe_monitors(
    recipe: PretrainRecipe, output: Path, fields: Fields | FieldList
) -> AbstractContextManager[list[Monitor]]:
    return run_monitors(
        recipe.monitoring,
        output,
        fields=None if isinstance(fields, FieldList) else fields,
        size=recipe.crops.global_px,
        num_steps=recipe.schedule.steps,
        in_channels=recipe.network.in_channels,
        shown="in_its_place" if recipe.network.in_channels > 1 else "repeated",
        channel_pattern=recipe.data.channel_pattern,
    )


def _stepper(run: Run) -> Stepper:
    learns = run.state.step >= run.head_only_steps
    run.network.backbone.requires_grad_(learns)
    objective: Objective | DistributedDataParallel = run.objective
    if run.ranks.group is not None and not run.is_sharded:
        objective = DistributedDataParallel(
            objective,
            device_ids=[run.device.index] if run.device.type == "cuda" else None,
            process_group=run.ranks.group,
            gradient_as_bucket_view=True,
        )
    return Stepper(run.state, run.recipe, objective, targets=run.targets, ranks=run.ranks, device=run.device)


def _observe(run: Run, values: dict[str, float], monitors: Sequence[Monitor], tracker: Tracker, pace: Pace) -> None:
    state, schedule = run.state, run.recipe.schedule
    called = [monitor for monitor in monitors if state.step % monitor.every == 0]
    is_logged = state.step % schedule.log_every == 0 or state.step in (1, schedule.steps)
    if is_logged or called:
        values |= pace.read()
        for monitor in called:
            values |= monitor.on_step(state.step, values, state)
        tracker.log({"step": state.step, **values})


def _check_skips(run: Run) -> None:
    state, schedule = run.state, run.recipe.schedule
    if state.consecutive_skips >= schedule.max_consecutive_skips:
        raise FloatingPointError(
            f"the last {state.consecutive_skips} steps up to {state.step} had a loss or gradient that is not finite; "
            f"none of them changed the weights. Lower optimization.learning_rate (now "
            f"{run.recipe.optimization.learning_rate}) or set precision: fp32, in another folder; the last checkpoint "
            f"can be its network.start_from"
        )


def _report_skipped(output: Path, batch: Batch, reported: set[Skipped]) -> None:
    for skipped in batch.skipped:
        if skipped not in reported:
            reported.add(skipped)
            with (output / "skipped.jsonl").open("a") as file:
                file.write(json.dumps({"step": batch.step, **skipped._asdict()}) + "\n")


def _save(run: Run) -> None:
    """Checkpoint and backbone. A full disk ends a run only when it is finished: until then the next may find room."""
    state, schedule = run.state, run.recipe.schedule
    contents = checkpoint_contents(state, data=data_identity(run.plan, run.recipe), centers=run.targets.centers)
    if run.ranks.is_first:
        try:
            save_checkpoint(checkpoint_path(state.output, state.step), contents)
            teacher = contents["teacher"]
            prefix = "backbone."
            save_backbone_weights(
                state.output / "backbone.safetensors",
                {name.removeprefix(prefix): tensor for name, tensor in teacher.items() if name.startswith(prefix)},
                config=run.network.backbone.config,
                facts=_facts(run),
            )
        except OSError as error:
            if state.step == schedule.steps:
                raise
            warnings.warn(f"step {state.step}: {error}; training goes on", CheckpointWarning, stacklevel=2)
        else:
            remove_old_checkpoints(state.output, keep=schedule.keep)


def _facts(run: Run) -> dict[str, Any]:
    return {
        "size": run.recipe.network.size,
        "step": run.state.step,
        "epoch": run.plan.epoch(run.state.step),
        "num_fields": len(run.plan.fields),
        "start": dict(run.start.facts),
        "recipe": run.state.recipe,
        "normalization": {"method": "percentile", "low_percentile": 1.0, "high_percentile": 99.8},
    }


def _write_recipe(output: Path, recipe: PretrainRecipe) -> None:
    import yaml

    with atomic_path(output / "recipe.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
