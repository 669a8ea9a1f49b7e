"""Training: dataset folders in, a model file and a log out."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from dinocell_core import DINOCell, create_dinocell_model, load_model, save_model
from dinocell_core.model import Size
from dinocell_io import open_dataset
from dinocell_seg.augment import Augmentation
from dinocell_seg.data import Batch, Sampling, load_training_images, random_batches, validation_batches, with_splits
from dinocell_seg.losses import Loss, distance_loss
from dinocell_seg.normalize import Normalization
from dinocell_seg.optimizer import Optimization, create_optimizer, learning_rate_factor
from dinocell_seg.pipeline import default_model_path
from dinocell_seg.training_log import TrainingLog
from dinocell_seg.training_state import TrainingState, average_weights, load_state, save_state


class Network(BaseModel):
    """The network to train; see ``dinocell_core.create_dinocell_model``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Size = "tiny"
    patch: int = 16
    in_channels: int = 1
    stem_channels: tuple[int, ...] = (32, 48, 96, 128)
    decoder_channels: tuple[int, ...] = (128, 96, 64, 32)
    norm: Literal["batch", "group"] = "batch"
    pretrained: Path | None = Field(default=None, description="backbone weights to start from")
    start_from: Path | None = Field(
        default=None,
        description="model file to start from ('default': the embedded one); its architecture replaces the one above",
    )
    freeze_backbone: bool = False


class Schedule(BaseModel):
    """Length of a run and when it is looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=3000, ge=1)
    steps_per_epoch: int = Field(default=200, ge=1, description="steps between validations")
    patience: int = Field(default=7, ge=1, description="epochs without improvement before the run stops")
    min_delta: float = Field(default=1e-4, ge=0, description="smallest improvement of the validation loss that counts")
    validation_crops: int = Field(default=128, ge=1)
    ema: float = Field(default=0.998, ge=0, lt=1, description="decay of the averaged weights, after its own warm-up")


class TrainRecipe(BaseModel):
    """Everything that decides a training run besides its data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Network = Network()
    normalization: Normalization = Normalization()
    sampling: Sampling = Sampling()
    augmentation: Augmentation = Augmentation()
    loss: Loss = Loss()
    optimization: Optimization = Optimization()
    schedule: Schedule = Schedule()
    channel: str | int | None = Field(default=None, description="channel to train on, for multi-channel images")
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0


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
    recipe = recipe or TrainRecipe()
    output = Path(output)
    checkpoint = output / "last.ckpt"
    if checkpoint.exists() and not resume:
        raise ValueError(f"{output} already holds a run; continue it with --resume or choose another folder")
    if resume and not checkpoint.exists():
        raise ValueError(f"there is no {checkpoint} to resume; start without --resume")
    _refuse_repeated(folders)
    state = _start(recipe, device)
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
    if resume:
        load_state(
            checkpoint,
            state,
            recipe=recipe.model_dump(mode="json"),
            defaults=TrainRecipe().model_dump(mode="json"),
        )
    diameters = sorted(image.median_diameter for image in training_images if image.median_diameter > 0)
    facts: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json"),
        "normalization": recipe.normalization.model_dump(mode="json"),
        "training_data": [
            {
                "folder": Path(folder).name,
                "num_train": sum(sample.split == "train" for sample in with_splits(open_dataset(folder))),
            }
            for folder in folders
        ],
        "diameter_px": [diameters[round(q * (len(diameters) - 1))] for q in (0.05, 0.5, 0.95)] if diameters else None,
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
                improved = validation_loss < state.best_loss - recipe.schedule.min_delta
                state.epochs_without_improvement = 0 if improved else state.epochs_without_improvement + 1
                if validation_loss < state.best_loss:  # by however little: min_delta is for patience
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
                save_state(checkpoint, state, recipe=recipe.model_dump(mode="json"))
                log.epoch(epoch)
                if on_epoch is not None:
                    on_epoch(epoch)
                losses, started, crops = [], time.perf_counter(), 0
    return output / "model.safetensors"


def _refuse_repeated(folders: Sequence[str | Path]) -> None:
    seen: set[Path] = set()
    for folder in folders:
        if Path(folder).resolve() in seen:
            raise ValueError(
                f"{folder} is named twice; name each dataset folder once, sampling.modality_balance weighs"
            )
        seen.add(Path(folder).resolve())


def _start(recipe: TrainRecipe, device: str) -> TrainingState:
    torch.manual_seed(recipe.seed)
    network = recipe.network
    if network.start_from is not None:
        path = default_model_path() if str(network.start_from) == "default" else network.start_from
        if not path.is_file():
            raise ValueError(f"there is no model file {path} to start from; give a .safetensors file, or 'default'")
        model = load_model(path)
    else:
        if network.pretrained is not None and not network.pretrained.exists():
            raise ValueError(
                f"there is no file {network.pretrained} of backbone weights; give what 'dinocell pretrain' wrote, or "
                "DINOv3 weights as .pth or .safetensors"
            )
        model = create_dinocell_model(
            network.size,
            patch=network.patch,
            in_channels=network.in_channels,
            stem_channels=network.stem_channels,
            decoder_channels=network.decoder_channels,
            norm=network.norm,
            pretrained=network.pretrained,
        )
    crop_px, multiple = recipe.sampling.crop_px, model.size_multiple
    if crop_px % multiple:  # no tile of that side could be segmented afterwards
        raise ValueError(
            f"sampling.crop_px is {crop_px}, no multiple of {multiple}, the model's coarsest grid; "
            f"use {max(1, crop_px // multiple) * multiple}"
        )
    if network.freeze_backbone:
        model.freeze_backbone()
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch stubs lack it
    return TrainingState(model, create_optimizer(model, recipe.optimization))


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
