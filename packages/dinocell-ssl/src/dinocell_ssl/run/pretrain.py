"""Pretraining: folders of images in, a backbone and a log out; the same call continues a stopped run."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from torch.nn.parallel import DistributedDataParallel

from dinocell_core import resolve_device
from dinocell_io import (
    FieldList,
    LineFile,
    StopRequest,
    Tracker,
    TrainingStopped,
    WandbSettings,
    atomic_path,
    check_output_folder,
    run_folder,
)
from dinocell_ssl.data.batches import Batch, load_batches
from dinocell_ssl.data.field_source import Skipped
from dinocell_ssl.data.fields import Fields
from dinocell_ssl.distributed import joined_ranks
from dinocell_ssl.probes.few_shot import FewShotTrainer
from dinocell_ssl.run.assemble import Run, assemble
from dinocell_ssl.run.objective import Objective
from dinocell_ssl.run.pace import Pace, Reads
from dinocell_ssl.run.recipe import PretrainRecipe, step_rates
from dinocell_ssl.run.save import complete, save
from dinocell_ssl.run.step import Stepper
from dinocell_ssl.watch.few_shot_monitor import FewShotTask, MakeTrainer
from dinocell_ssl.watch.monitor import Monitor
from dinocell_ssl.watch.run_monitors import run_monitors


def pretrain(
    recipe: PretrainRecipe,
    output: str | Path,
    *,
    fields: Fields | FieldList | None = None,
    device: str = "cpu",
    monitors: Sequence[Monitor] = (),
    few_shot: MakeTrainer | None = None,
    wandb: WandbSettings | None = None,
    console: Console | None = None,
) -> Path:
    """Pretrain a backbone on unlabelled fields and write the teacher's.

    Writes into `output`: `log.jsonl` (one line per logged step), `checkpoints/`, `backbone.safetensors` (with every
    checkpoint), `recipe.yaml` as resolved, and `skipped.jsonl` with the fields that could not be used, and why
    (each once per rank; of streamed fields `quarantine.jsonl`). A
    folder that holds a run is continued, exactly as the uninterrupted run would have gone on (bit for bit on a CPU
    with the same number of threads and ranks); one that is finished is left as it is (but for a backbone that is
    missing or older than the last checkpoint, which is written). On Ctrl-C, SIGTERM or SIGHUP a checkpoint of the step
    is written before the run ends (of several ranks at the next logged step, whichever of them the signal reaches).

    Started by torchrun, the ranks share the batch: with the same recipe they compute what one process would, up to
    rounding, without drop path and the augmentation of positions (`network.drop_path` 0, `network.rope_rescale`
    null), which each rank draws for itself; streamed fields come in another order.

    Args:
        fields: what to train on, instead of the recipe's data; a `FieldList` is streamed.
        device: `cpu`, `cuda` (with torchrun each rank its own), `mps`, or `auto` for the best there is.
        monitors: besides those of the recipe's `monitoring`; see `dinocell_ssl.watch.monitor`.
        few_shot: gives the trainer for `monitoring.few_shot_folder`; `dinocell pretrain` brings one.

    Returns:
        Path of the backbone file.

    Raises:
        ValueError: no usable field, no such device, `output` holds a run of another recipe, or another process
            pretrains into it.
        OSError: `output` cannot be written.
        FloatingPointError: too many steps in a row were not finite.
        CollapseError: a monitor was set to stop a collapsed run.
        RankLostError: another rank was killed or no longer answers.
        WorkerLostError: a worker process was killed.
        TrainingStopped: a KeyboardInterrupt after which the same call continues the run.
    """
    output = Path(output)
    check_output_folder(output)
    if fields is None:
        fields = recipe.data.open()
    with (
        joined_ranks(resolve_device(device).type) as ranks,
        run_folder(output, doing="pretrains") if ranks.is_first else nullcontext(),
    ):
        ranks.wait_for_all()  # the first has the folder, or has ended
        run = assemble(recipe, output, fields, device=device, ranks=ranks)
        if run.state.step < recipe.schedule.steps:
            if ranks.is_first:
                tracking = Tracker(
                    output,
                    config=run.state.recipe,
                    num_steps=recipe.schedule.steps,
                    step=run.state.step,
                    wandb=wandb,
                    console=console,
                )
                with tracking as tracker, _recipe_monitors(run, fields, few_shot) as watching, StopRequest() as stop:
                    _write_recipe(output, recipe)
                    _train(run, (*watching, *monitors), tracker, stop)
            else:
                with StopRequest() as stop:
                    _train(run, (), None, stop)
        else:
            complete(run)
        ranks.wait_for_all()
    return output / "backbone.safetensors"


def _train(run: Run, monitors: Sequence[Monitor], tracker: Tracker | None, stop: StopRequest) -> None:
    """From the run's step to its last; only the first rank has a tracker and writes, but for the skipped fields."""
    state, schedule = run.state, run.recipe.schedule
    pace, reads = Pace(device=run.device), Reads()
    batches = load_batches(
        run.plan,
        start=state.step,
        stop=schedule.steps,
        loading=run.recipe.loading,
        pin_memory=run.device.type == "cuda",
    )
    stepper = _stepper(run)
    reported: set[Skipped] = set()
    periods = run.ranks.from_first([monitor.every for monitor in monitors])
    while state.step < schedule.steps:
        if state.step == run.head_only_steps and run.head_only_steps > 0:
            stepper = _stepper(run)  # DDP counts the parameters that learn when it is made
        with pace.waiting():
            batch = next(batches)
        rates = step_rates(run.recipe, state.step, head_only_steps=run.head_only_steps)
        values = stepper.take(batch, rates)
        pace.count(schedule.batch_size)
        reads.note(batch.worker, batch.reads)
        _check_skips(run)
        _report_skipped(state.output, batch, reported)
        if tracker is not None:
            values |= {
                "lr": rates.learning_rate,
                "backbone_lr": rates.learning_rate * rates.backbone_factor,
                "weight_decay": rates.weight_decay,
                "momentum": rates.momentum,
                "teacher_temperature": rates.teacher_temperature,
                "student_temperature": run.recipe.loss.student_temperature,
                "epoch": run.plan.epoch(state.step),
                "skipped_steps": state.skipped_steps,
            }
            _observe(run, values, monitors, tracker, pace, reads, stop)
        if any(state.step % every == 0 for every in periods):
            run.ranks.wait_for_all()  # a monitor of the first rank may take longer than a step may wait for a rank
        is_last = state.step == schedule.steps
        number = 0 if is_last else _requested_stop(run, stop)
        if state.step % schedule.checkpoint_every == 0 or is_last or number:
            save(run, is_last=is_last or number > 0)
            run.ranks.wait_for_all()  # nor do large checkpoints on slow disks
        if number:
            raise TrainingStopped(
                f"stopped after step {state.step} of {schedule.steps}; the same command continues from there",
                number=number,
            )


def _requested_stop(run: Run, stop: StopRequest) -> int:
    """The signal that a rank has noted, the same on all ranks; 0 if none, or if several ranks do not log the step.

    A signal may reach one rank alone, or each at another step; asking every rank at every step would cost time.
    """
    if run.ranks.world_size > 1 and run.state.step % run.recipe.schedule.log_every:
        return 0
    return run.ranks.highest(stop.number or 0)


def _recipe_monitors(
    run: Run, fields: Fields | FieldList, few_shot: MakeTrainer | None
) -> AbstractContextManager[list[Monitor]]:
    recipe, dataset = run.recipe, run.recipe.monitoring.few_shot_folder
    make: Callable[[Path], FewShotTrainer] | None = None
    if few_shot is not None and dataset is not None:
        maker = few_shot
        task = FewShotTask(
            dataset=dataset,
            work=run.state.output,
            size=recipe.network.size,
            patch=recipe.network.patch,
            precision=recipe.precision,
            device=str(run.device),
        )

        def make(work: Path) -> FewShotTrainer:
            return maker(replace(task, work=work))

    return run_monitors(
        recipe.monitoring,
        run.state.output,
        fields=None if isinstance(fields, FieldList) else fields,
        size=recipe.crops.global_px,
        num_steps=recipe.schedule.steps,
        in_channels=recipe.network.in_channels,
        shown="in_its_place" if recipe.network.in_channels > 1 else "repeated",
        channel_pattern=recipe.data.channel_pattern,
        few_shot=make,
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


def _observe(
    run: Run,
    values: dict[str, float],
    monitors: Sequence[Monitor],
    tracker: Tracker,
    pace: Pace,
    reads: Reads,
    stop: StopRequest,
) -> None:
    state, schedule = run.state, run.recipe.schedule
    called = [monitor for monitor in monitors if state.step % monitor.every == 0]
    is_logged = state.step % schedule.log_every == 0 or state.step in (1, schedule.steps)
    if is_logged or called:
        values |= pace.read() | reads.read()
        for monitor in called:
            try:
                values |= monitor.on_step(state.step, values, state)
            except TrainingStopped as stopped:  # few-shot training heard the signal; this run has a step to keep
                stop.number = stopped.number
                break
        tracker.log({"step": state.step, **values})
    if called:
        pace.restart()


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
    """Add what this rank left out to the file of all: a line is one write at its end."""
    new = [skipped for skipped in batch.skipped if skipped not in reported]
    if not new:
        return
    reported.update(new)
    with LineFile(output / "skipped.jsonl") as file:
        for skipped in new:
            file.append(json.dumps({"step": batch.step, **skipped._asdict()}))


def _write_recipe(output: Path, recipe: PretrainRecipe) -> None:
    import yaml

    with atomic_path(output / "recipe.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
