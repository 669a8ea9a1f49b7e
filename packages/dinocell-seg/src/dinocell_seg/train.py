"""Training: dataset folders in, a model file and a log out."""

import hashlib
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dinocell_core import DINOCell, save_model
from dinocell_io import open_dataset
from dinocell_seg.crops import Batch, random_batches, validation_batches
from dinocell_seg.losses import distance_loss
from dinocell_seg.optimizer import learning_rate_factor
from dinocell_seg.train_recipe import TrainRecipe
from dinocell_seg.training_images import TrainingImage, load_training_images, with_splits
from dinocell_seg.training_log import TrainingLog
from dinocell_seg.training_start import origin, start
from dinocell_seg.training_state import TrainingState, average_weights, load_state, save_state


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


@dataclass(frozen=True)
class PreparedTraining:
    """A run whose settings fit each other, of which no image is read yet."""

    folders: tuple[Path, ...]
    output: Path
    recipe: TrainRecipe
    device: str
    state: TrainingState
    data: str


def prepare_training(
    folders: Sequence[str | Path], output: str | Path, *, recipe: TrainRecipe, device: str = "cpu", resume: bool = False
) -> PreparedTraining:
    """The first half of `train`: what can be wrong with a command line, found before anything is read or written.

    Raises ValueError or FileNotFoundError.
    """
    paths, output = tuple(map(Path, folders)), Path(output)
    checkpoint = output / "last.ckpt"
    if checkpoint.exists() and not resume:
        raise ValueError(f"{output} already holds a run; continue it with --resume or choose another folder")
    if (output / "model.safetensors").exists() and not resume:
        raise ValueError(f"{output} already holds a model.safetensors; choose another folder")
    if resume and not checkpoint.exists():
        raise ValueError(f"there is no {checkpoint} to resume; start without --resume")
    _refuse_repeated(paths)
    for folder in paths:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}; a dataset is a folder with images/ and masks/ in it")
    state, data = start(recipe, device), _data_of(paths)
    if resume:
        load_state(
            checkpoint,
            state,
            recipe=recipe.model_dump(mode="json"),
            data=data,
            defaults=TrainRecipe().model_dump(mode="json"),
        )
    return PreparedTraining(paths, output, recipe, device, state, data)


def run_training(
    prepared: PreparedTraining,
    *,
    wandb_project: str | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """The second half of `train`: reads the images, trains and writes."""
    folders, output, recipe, device = prepared.folders, prepared.output, prepared.recipe, prepared.device
    state, checkpoint = prepared.state, prepared.output / "last.ckpt"
    training_images = load_training_images(
        folders, split="train", normalization=recipe.normalization, channel=recipe.channel
    )
    validation_images = load_training_images(
        folders, split="val", normalization=recipe.normalization, channel=recipe.channel
    )
    validation = validation_batches(
        validation_images, sampling=recipe.sampling, max_crops=recipe.schedule.validation_crops
    )
    output.mkdir(parents=True, exist_ok=True)
    diameters = sorted(image.median_diameter for image in training_images if image.median_diameter > 0)
    facts: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json"),
        "normalization": recipe.normalization.model_dump(mode="json"),
        "training_data": [
            {
                "folder": folder.resolve().name,
                "num_train": sum(sample.split == "train" for sample in with_splits(open_dataset(folder))),
            }
            for folder in folders
        ],
        "diameter_px": [diameters[round(q * (len(diameters) - 1))] for q in (0.05, 0.5, 0.95)] if diameters else None,
        "pixel_size_um": _pixel_size_um(training_images),
        **origin(recipe),
        "tile": recipe.sampling.crop_px,
        "overlap": recipe.sampling.crop_px // 4,
    }
    batches = random_batches(
        training_images,
        start=state.step,
        stop=recipe.schedule.steps,
        seed=recipe.seed,
        sampling=recipe.sampling,
        augmentation=recipe.augmentation,
        normalization=recipe.normalization,
        device=device,
    )
    with TrainingLog(
        output, recipe=recipe.model_dump(mode="json"), step=state.step, wandb_project=wandb_project
    ) as log:
        losses: list[float] = []
        started, crops = time.perf_counter(), 0
        for batch in batches:
            if state.epochs_without_improvement >= recipe.schedule.patience:
                break
            losses.append(_step(state, batch, recipe))
            crops += len(batch.images)
            log.advance(state.step, loss=losses[-1])
            last = state.step == recipe.schedule.steps
            if state.step % recipe.schedule.steps_per_epoch == 0 or last:
                validation_loss = _validate(state.averaged, validation, recipe)
                if validation_loss < state.loss_to_beat - recipe.schedule.min_delta:
                    state.loss_to_beat, state.epochs_without_improvement = validation_loss, 0
                else:
                    state.epochs_without_improvement += 1
                if validation_loss < state.best_loss:  # by however little
                    state.best_loss = validation_loss
                    facts["step"] = state.step
                    facts["validation_loss"] = validation_loss
                    save_model(output / "model.safetensors", state.averaged, metadata=facts)
                epoch = {
                    "step": state.step,
                    "train_loss": sum(losses) / len(losses),
                    "validation_loss": validation_loss,
                    "best_loss": state.best_loss,
                    "learning_rate": state.optimizer.param_groups[0]["lr"],
                    "crops_per_second": crops / (time.perf_counter() - started),
                }
                save_state(checkpoint, state, recipe=recipe.model_dump(mode="json"), data=prepared.data)
                log.epoch(epoch)
                if on_epoch is not None:
                    on_epoch(epoch)
                losses, started, crops = [], time.perf_counter(), 0
    return output / "model.safetensors"


def _refuse_repeated(folders: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise ValueError(
                f"{folder} is named twice; name each dataset folder once, sampling.modality_balance weighs"
            )
        seen.add(folder.resolve())


def _data_of(folders: Sequence[Path]) -> str:
    """A hash of the names and splits of all images: the same data at another place are the same."""
    rows = [(sample.name, sample.split) for folder in folders for sample in with_splits(open_dataset(folder))]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _pixel_size_um(images: Sequence[TrainingImage]) -> float | None:
    """The median pixel size of the images; None if a file does not tell its own."""
    sizes = [image.pixel_size_um for image in images if image.pixel_size_um is not None]
    return statistics.median(sizes) if len(sizes) == len(images) else None


def _step(state: TrainingState, batch: Batch, recipe: TrainRecipe) -> float:
    """One optimiser step; a loss that is not finite ends the run instead of reaching the weights."""
    model, optimizer, settings = state.model, state.optimizer, recipe.optimization
    model.train()
    device = next(model.parameters()).device
    factor = learning_rate_factor(state.step, settings, total=recipe.schedule.steps)
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * group["multiplier"] * factor
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
    images = batch.images.to(device).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
        logits = model.logits(images)
    return distance_loss(logits, batch.targets.to(device), settings=recipe.loss)


@torch.inference_mode()
def _validate(model: DINOCell, batches: Sequence[Batch], recipe: TrainRecipe) -> float:
    model.eval()
    device = next(model.parameters()).device
    total = sum(float(_loss(model, batch, recipe, device)) * len(batch.images) for batch in batches)
    return total / sum(len(batch.images) for batch in batches)
