"""Before the first step of a training run: checked settings, images, and the facts for the model file."""

import hashlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinocell_io import open_dataset, warn_of_leaks
from dinocell_seg.crops import Batch, validation_batches
from dinocell_seg.train_recipe import TrainRecipe
from dinocell_seg.training_images import TrainingImage, load_training_images, with_splits
from dinocell_seg.training_start import start
from dinocell_seg.training_state import TrainingState, load_state

_SAME_PIXEL_SIZE = 1.25  # ratio up to which images count as being of one magnification


@dataclass(frozen=True)
class PreparedTraining:
    """A run whose settings are checked and whose images are not read yet."""

    folders: tuple[Path, ...]
    output: Path
    recipe: TrainRecipe
    device: str
    state: TrainingState
    data: str
    checkpoint: tuple[int, int] | None

    def notes(self) -> list[str]:
        """What the weights that it starts from are, where they were changed, and what changes on resuming."""
        report = self.state.origin.get("backbone", {})
        changes = [report[key] for key in ("patch_conversion", "channel_conversion") if report.get(key)]
        notes = (
            [f"backbone {report['file']} ({report['layout']}): {', '.join(changes) or 'as it is'}"] if report else []
        )
        return notes + [f"resumed with another recipe, {change}" for change in self.state.changes]

    def require_unchanged_output(self) -> None:
        """Raise ValueError if another process has begun or continued a run there since this one was prepared."""
        if _identity(self.output / "last.ckpt") != self.checkpoint:
            raise ValueError(f"another process has written into {self.output} meanwhile; give the command again")


def prepare_training(
    folders: Sequence[str | Path], output: str | Path, *, recipe: TrainRecipe, device: str = "cpu", resume: bool = False
) -> PreparedTraining:
    """The first half of `train`: finds errors of the command line before anything is read or written.

    Raises ValueError or FileNotFoundError.
    """
    paths, output = tuple(map(Path, folders)), Path(output)
    checkpoint = output / "last.ckpt"
    if checkpoint.exists() and not resume:
        raise ValueError(f"{output} already holds a run; continue it with --resume or choose another folder")
    if (output / "model.safetensors").exists() and not resume:
        raise ValueError(f"{output} already holds a model.safetensors and no run to resume; choose another folder")
    if resume and not checkpoint.exists():
        raise ValueError(f"there is no {checkpoint} to resume; start without --resume")
    _refuse_repeated(paths)
    for folder in paths:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}; a dataset is a folder with images/ and masks/ in it")
    state, data, before = start(recipe, device), _data_of(paths), _identity(checkpoint)
    if resume:
        load_state(
            checkpoint,
            state,
            recipe=recipe.model_dump(mode="json"),
            data=data,
            defaults=TrainRecipe().model_dump(mode="json"),
        )
    return PreparedTraining(paths, output, recipe, device, state, data, before)


def _identity(checkpoint: Path) -> tuple[int, int] | None:
    """What distinguishes two checkpoints at one path; None without a checkpoint."""
    if not checkpoint.exists():
        return None
    status = checkpoint.stat()
    return status.st_ino, status.st_mtime_ns


def read_images(prepared: PreparedTraining) -> tuple[list[TrainingImage], list[Batch]]:
    """The images to train on, and the crops to validate on; warns of those that lie in several splits."""
    recipe = prepared.recipe
    warn_of_leaks([sample for folder in prepared.folders for sample in with_splits(open_dataset(folder))])
    images, validation = (
        load_training_images(
            prepared.folders,
            split=split,
            normalization=recipe.normalization,
            channel=recipe.channel,
            ignore_label=recipe.sampling.ignore_label,
        )
        for split in ("train", "val")
    )
    max_crops = recipe.schedule.validation_crops
    return images, validation_batches(validation, sampling=recipe.sampling, max_crops=max_crops)


def model_facts(prepared: PreparedTraining, images: Sequence[TrainingImage]) -> dict[str, Any]:
    """The facts about the training run for the model file, besides step and loss."""
    recipe = prepared.recipe
    diameters = sorted(image.median_diameter for image in images if image.median_diameter > 0)
    return {
        "recipe": recipe.model_dump(mode="json"),
        "normalization": recipe.normalization.model_dump(mode="json"),
        "training_data": [
            {
                "folder": folder.resolve().name,
                "num_train": sum(sample.split == "train" for sample in with_splits(open_dataset(folder))),
            }
            for folder in prepared.folders
        ],
        "diameter_px": [diameters[round(q * (len(diameters) - 1))] for q in (0.05, 0.5, 0.95)] if diameters else None,
        "pixel_size_um": _pixel_size_um(images),
        **prepared.state.origin,
        **({"recipe_changes": prepared.state.changes} if prepared.state.changes else {}),
        "tile": recipe.sampling.crop_px,
        "overlap": recipe.sampling.crop_px // 4,
    }


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
    """The median pixel size of the images; None if a file does not state its own, or if they differ."""
    sizes = [image.pixel_size_um for image in images if image.pixel_size_um is not None]
    if len(sizes) < len(images) or max(sizes) > _SAME_PIXEL_SIZE * min(sizes):
        return None
    return statistics.median(sizes)
