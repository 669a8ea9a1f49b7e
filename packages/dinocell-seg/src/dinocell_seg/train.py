"""Training: dataset folders in, a model file and a log out."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dinocell_core import DINOCell, save_model
from dinocell_seg.crops import Batch, random_batches
from dinocell_seg.losses import diameter_loss, distance_loss
from dinocell_seg.optimizer import learning_rate_factor
from dinocell_seg.train_recipe import TrainRecipe
from dinocell_seg.training_log import TrainingLog
from dinocell_seg.training_preparation import PreparedTraining, model_facts, prepare_training, read_images
from dinocell_seg.training_state import TrainingState, average_weights, save_state


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
    """Train on the 'train' split of the folders, watch the 'val' split, and write the best averaged weights.

    Writes into ``output``: ``model.safetensors`` (best epoch so far), ``last.ckpt`` (to resume from), ``log.jsonl``
    (one line per epoch) and ``recipe.json``. A resumed run continues exactly as the uninterrupted one would have
    (bit for bit on a CPU with the same number of threads).

    Returns:
        Path of the model file.

    Raises:
        ValueError: no images in a split, or a folder named twice, or ``output`` holds a run and ``resume`` is False, or
            the reverse, or the recipe differs from the one that is resumed or does not fit its network.
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
    recipe, output = prepared.recipe, prepared.output
    images, validation = read_images(prepared)
    batches = random_batches(
        images,
        start=prepared.state.step,
        stop=recipe.schedule.steps,
        seed=recipe.seed,
        sampling=recipe.sampling,
        augmentation=recipe.augmentation,
        normalization=recipe.normalization,
        device=prepared.device,
        patch=model.architecture.patch if (model := prepared.state.model).diameter_head is not None else None,
    )
    output.mkdir(parents=True, exist_ok=True)
    resolved = recipe.model_dump(mode="json")
    with TrainingLog(output, recipe=resolved, step=prepared.state.step, wandb_project=wandb_project) as log:
        run = _Run(
            prepared.state,
            recipe,
            output,
            data=prepared.data,
            validation=validation,
            facts=model_facts(prepared, images),
            log=log,
            on_epoch=on_epoch,
        )
        run.take_steps(batches)
    return output / "model.safetensors"


class _Run:
    """Takes the steps of one run; `facts` go into its model file, `data` tells its images apart on resuming."""

    def __init__(
        self,
        state: TrainingState,
        recipe: TrainRecipe,
        output: Path,
        *,
        data: str,
        validation: Sequence[Batch],
        facts: dict[str, Any],
        log: TrainingLog,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.state, self.recipe, self.output = state, recipe, output
        self._data, self._validation, self._facts = data, validation, facts
        self._log, self._on_epoch = log, on_epoch
        self._losses: list[float] = []
        self._started, self._num_crops = time.perf_counter(), 0

    def take_steps(self, batches: Iterable[Batch]) -> None:
        """One step a batch, to the last one or until patience is at its end."""
        schedule = self.recipe.schedule
        for batch in batches:
            if self.state.epochs_without_improvement >= schedule.patience:
                break
            self._losses.append(_step(self.state, batch, self.recipe))
            self._num_crops += len(batch.images)
            self._log.advance(self.state.step, loss=self._losses[-1])
            if self.state.step % schedule.steps_per_epoch == 0 or self.state.step == schedule.steps:
                self._end_epoch()

    def _end_epoch(self) -> None:
        loss = _validate(self.state.averaged, self._validation, self.recipe)
        self._keep_best(loss)
        epoch = {
            "step": self.state.step,
            "train_loss": sum(self._losses) / len(self._losses),
            "validation_loss": loss,
            "best_loss": self.state.best_loss,
            "learning_rate": self.state.optimizer.param_groups[0]["lr"],
            "crops_per_second": self._num_crops / (time.perf_counter() - self._started),
        }
        save_state(self.output / "last.ckpt", self.state, recipe=self.recipe.model_dump(mode="json"), data=self._data)
        self._log.epoch(epoch)
        if self._on_epoch is not None:
            self._on_epoch(epoch)
        self._losses, self._started, self._num_crops = [], time.perf_counter(), 0

    def _keep_best(self, loss: float) -> None:
        """Write the model file if no epoch was better, by however little; patience counts by `min_delta`."""
        state = self.state
        if loss < state.loss_to_beat - self.recipe.schedule.min_delta:
            state.loss_to_beat, state.epochs_without_improvement = loss, 0
        else:
            state.epochs_without_improvement += 1
        if loss < state.best_loss:
            state.best_loss = loss
            facts = {**self._facts, "step": state.step, "validation_loss": loss}
            save_model(self.output / "model.safetensors", state.averaged, metadata=facts)


def _step(state: TrainingState, batch: Batch, recipe: TrainRecipe) -> float:
    """One optimiser step; a loss that is not finite ends the run instead of reaching the weights."""
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
        raise FloatingPointError(
            f"the loss of step {state.step} is {value}; lower optimization.learning_rate (now "
            f"{settings.learning_rate}) or use precision fp32, then --resume from the last epoch"
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(
        [parameter for parameter in model.parameters() if parameter.requires_grad], settings.clip_norm
    )
    optimizer.step()
    state.step += 1
    average_weights(state.averaged, model, decay=recipe.schedule.ema, step=state.step)
    return value


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
