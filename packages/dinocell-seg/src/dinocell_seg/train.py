"""Training: dataset folders in, a model file and a log out."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dinocell_core import DINOCell, save_model
from dinocell_io import StopRequest, TrainingStopped, counted, run_folder
from dinocell_seg.crops import Batch, random_batches
from dinocell_seg.losses import diameter_loss, distance_loss
from dinocell_seg.optimizer import learning_rate_factor
from dinocell_seg.train_recipe import TrainRecipe
from dinocell_seg.training_log import TrainingLog
from dinocell_seg.training_preparation import PreparedTraining, model_facts, prepare_training, read_images
from dinocell_seg.training_state import TrainingState, average_weights, save_state

REPORT_EVERY_SECONDS = 60.0  # between epochs: a line, and a checkpoint
SAVING_SHARE = 0.05  # of the time, at most, goes to checkpoints between epochs


def train(
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    recipe: TrainRecipe | None = None,
    device: str = "cpu",
    resume: bool = False,
    wandb_project: str | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Train on the 'train' split of the folders, validate on the 'val' split, and write the best averaged weights.

    Writes into ``output``: ``model.safetensors`` (best epoch so far), ``last.ckpt`` (to resume from, also within an
    epoch), ``log.jsonl`` (a line per epoch, and one a minute) and ``recipe.json``. A resumed run continues exactly as
    the uninterrupted one would have (bit for bit on a CPU with the same number of threads). A run that is interrupted
    or terminated writes how far it has come.

    Returns:
        Path of the model file.

    Raises:
        ValueError: no images in a split, or a folder named twice, or ``output`` holds a run and ``resume`` is False, or
            the reverse, or the recipe differs from the one that is resumed or does not fit its network, or another
            process trains into ``output``.
        FloatingPointError: a loss or a gradient is not finite; it reaches neither weights nor files.
        OSError: a file cannot be written; the ones of before stay.
        TrainingStopped: a KeyboardInterrupt after which the run can be resumed.
    """
    prepared = prepare_training(folders, output, recipe=recipe or TrainRecipe(), device=device, resume=resume)
    return run_training(prepared, wandb_project=wandb_project, on_epoch=on_epoch)


def run_training(
    prepared: PreparedTraining,
    *,
    wandb_project: str | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """The second half of `train`: reads the images, trains and writes."""
    with run_folder(prepared.output, doing="trains"):
        prepared.require_unchanged_output()
        _train(prepared, wandb_project=wandb_project, on_epoch=on_epoch)
    return prepared.output / "model.safetensors"


def _train(
    prepared: PreparedTraining, *, wandb_project: str | None, on_epoch: Callable[[dict[str, Any]], None] | None
) -> None:
    recipe, state = prepared.recipe, prepared.state
    images, validation = read_images(prepared)
    batches = random_batches(
        images,
        start=state.step,
        stop=recipe.schedule.steps,
        seed=recipe.seed,
        sampling=recipe.sampling,
        augmentation=recipe.augmentation,
        normalization=recipe.normalization,
        device=prepared.device,
        patch=model.architecture.patch if (model := prepared.state.model).diameter_head is not None else None,
    )
    facts, resolved = model_facts(prepared, images), recipe.model_dump(mode="json")
    with (
        TrainingLog(prepared.output, recipe=resolved, step=state.step, wandb_project=wandb_project) as log,
        StopRequest() as stop,
    ):
        num_crops = sum(len(batch.images) for batch in validation)
        log.say(
            f"{counted(len(images), 'image')} to train on, {counted(num_crops, 'crop')} to validate on; "
            f"{counted(recipe.schedule.steps - state.step, 'step')} of {counted(recipe.sampling.batch_size, 'crop')}, "
            f"a validation every {recipe.schedule.steps_per_epoch}"
        )
        _Run(prepared, validation=validation, facts=facts, log=log, stop=stop, on_epoch=on_epoch).take_steps(batches)


class _Run:
    """Takes the steps of one run; `facts` go into its model file."""

    def __init__(
        self,
        prepared: PreparedTraining,
        *,
        validation: Sequence[Batch],
        facts: dict[str, Any],
        log: TrainingLog,
        stop: StopRequest,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.state, self.recipe = prepared.state, prepared.recipe
        self._model, self._checkpoint = prepared.output / "model.safetensors", prepared.output / "last.ckpt"
        self._data, self._validation, self._facts = prepared.data, validation, facts
        self._log, self._stop, self._on_epoch = log, stop, on_epoch
        self._started, self._num_crops = time.perf_counter(), 0
        self._next_report = 0.0

    def take_steps(self, batches: Iterable[Batch]) -> None:
        """One step a batch, to the last one or until patience is at its end."""
        state, schedule = self.state, self.recipe.schedule
        self._save()  # a disk without room is known before the first step
        for batch in batches:
            if state.epochs_without_improvement >= schedule.patience:
                break
            state.epoch_losses.append(_step(state, batch, self.recipe))
            self._num_crops += len(batch.images)
            self._log.advance(state.step, loss=state.epoch_losses[-1])
            if state.step % schedule.steps_per_epoch == 0 or state.step == schedule.steps:
                self._end_epoch()
            elif time.monotonic() >= self._next_report:
                self._report()
            if self._stop.number is not None and state.step < schedule.steps:
                self._keep_and_stop(self._stop.number)

    def _end_epoch(self) -> None:
        state = self.state
        self._require_finite()
        loss = _validate(state.averaged, self._validation, self.recipe)
        if not math.isfinite(loss):
            raise FloatingPointError(
                _diverged(f"the validation loss after step {state.step} is {loss}", state, self.recipe)
            )
        is_best = self._count(loss)
        epoch = self._progress() | {"validation_loss": loss, "best_loss": state.best_loss}
        self._log.write(epoch)
        if is_best:
            self._save_model(loss)
        state.epoch_losses = []
        self._save()
        if self._on_epoch is not None:
            self._on_epoch(epoch)
        self._started, self._num_crops = time.perf_counter(), 0

    def _report(self) -> None:
        """A line of the epoch so far, and a checkpoint."""
        self._log.write(self._progress())
        self._save()

    def _keep_and_stop(self, number: int) -> None:
        state = self.state
        if state.epoch_losses:
            self._report()
        kept = f"{self._model} is of the best epoch so far"
        if not self._model.exists():
            self._save_model(None)
            kept = f"{self._model} holds the averaged weights of this step, which were not validated"
        raise TrainingStopped(
            f"stopped after step {state.step} of {self.recipe.schedule.steps}; the same command with --resume "
            f"continues from there. {kept}",
            number=number,
        )

    def _progress(self) -> dict[str, Any]:
        losses = self.state.epoch_losses
        return {
            "step": self.state.step,
            "train_loss": sum(losses) / len(losses),
            "learning_rate": self.state.optimizer.param_groups[0]["lr"],
            "crops_per_second": self._num_crops / (time.perf_counter() - self._started),
        }

    def _count(self, loss: float) -> bool:
        """Whether no epoch was better, by however little; patience counts by `min_delta`."""
        state = self.state
        if loss < state.loss_to_beat - self.recipe.schedule.min_delta:
            state.loss_to_beat, state.epochs_without_improvement = loss, 0
        else:
            state.epochs_without_improvement += 1
        is_best = loss < state.best_loss
        state.best_loss = min(loss, state.best_loss)
        return is_best

    def _require_finite(self) -> None:
        if unusable := self.state.not_finite():
            others = counted(len(unusable) - 1, "other tensor")
            what = f"after step {self.state.step} {unusable[0]} and {others} are not finite"
            raise FloatingPointError(_diverged(what, self.state, self.recipe))

    def _save_model(self, loss: float | None) -> None:
        facts = {**self._facts, "step": self.state.step, "validation_loss": loss}
        save_model(self._model, self.state.averaged, metadata=facts)

    def _save(self) -> None:
        """Write the checkpoint; the next one between epochs comes after a minute, or later where it takes long."""
        self._require_finite()
        started = time.monotonic()
        save_state(self._checkpoint, self.state, recipe=self.recipe.model_dump(mode="json"), data=self._data)
        now = time.monotonic()
        self._next_report = now + max(REPORT_EVERY_SECONDS, (now - started) / SAVING_SHARE)


def _step(state: TrainingState, batch: Batch, recipe: TrainRecipe) -> float:
    """One optimiser step; a loss or a gradient that is not finite ends the run instead of reaching the weights."""
    model, optimizer, settings = state.model, state.optimizer, recipe.optimization
    model.train()
    device = next(model.parameters()).device
    factor = learning_rate_factor(state.step, settings, total=recipe.schedule.steps)
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * group["multiplier"] * factor
    if model.stem_dropout > 0:
        # a function of seed and step, as the crops are, so that a resumed run drops the same maps
        torch.manual_seed(recipe.seed * 1_000_003 + state.step)
    loss = _loss(model, batch, recipe, device)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError(_diverged(f"the loss of step {state.step + 1} is {value}", state, recipe))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = float(
        torch.nn.utils.clip_grad_norm_(
            [parameter for parameter in model.parameters() if parameter.requires_grad], settings.clip_norm
        )
    )
    if not math.isfinite(norm):
        raise FloatingPointError(_diverged(f"the gradient of step {state.step + 1} has the norm {norm}", state, recipe))
    optimizer.step()
    state.step += 1
    average_weights(state.averaged, model, decay=recipe.schedule.ema, step=state.step)
    return value


def _diverged(what: str, state: TrainingState, recipe: TrainRecipe) -> str:
    rate = recipe.optimization.learning_rate
    slower = f"--set optimization.learning_rate={min(rate / 10, 1e-3):g}"
    exact = " or --set precision=fp32" if recipe.precision == "bf16" else ""
    return (
        f"{what} (learning rate {state.optimizer.param_groups[0]['lr']:g}, precision {recipe.precision}); the last "
        f"checkpoint is as it was. Give the same command again with --resume {slower}{exact}"
    )


def _loss(model: DINOCell, batch: Batch, recipe: TrainRecipe, device: torch.device) -> Tensor:
    """Loss of a batch in the recipe's precision, with its gradient where one is wanted."""
    images = batch.images.to(device).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
        logits, diameters = model.logits_and_diameters(images)
    weights = None if batch.weights is None else batch.weights.to(device)
    loss = distance_loss(logits, batch.targets.to(device), settings=recipe.loss, weights=weights)
    if diameters is not None and batch.diameters is not None:
        loss = loss + recipe.loss.diameter_weight * diameter_loss(diameters, batch.diameters.to(device))
    return loss


@torch.inference_mode()
def _validate(model: DINOCell, batches: Sequence[Batch], recipe: TrainRecipe) -> float:
    """Mean loss of the crops."""
    model.eval()
    device = next(model.parameters()).device
    total = sum(float(_loss(model, batch, recipe, device)) * len(batch.images) for batch in batches)
    return total / sum(len(batch.images) for batch in batches)
