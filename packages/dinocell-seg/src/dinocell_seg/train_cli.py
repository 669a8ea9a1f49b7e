"""The commands `dinocell train` and `dinocell calibrate`; nothing heavy is imported before one of them runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dinocell_io import FAILED, WRONG_COMMAND_LINE, counted, errors_told, held_alone

if TYPE_CHECKING:
    from dinocell_io import Sample
    from dinocell_seg.calibrate import Calibration

Data = Annotated[
    list[Path], typer.Option("--data", help="Dataset folder (images/, masks/, optional splits.csv); repeat for more.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]


def train(
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for model.safetensors and log.jsonl.")],
    recipe: Annotated[
        Path | None, typer.Option(help="YAML recipe; the recipe.json of any run shows all values.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One value of the recipe, as section.key=value; repeat for more.")
    ] = None,
    backbone: Annotated[
        Path | None, typer.Option(help="Backbone weights from 'dinocell pretrain', or DINOv3's .pth or .safetensors.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="Channel to train on, by name or by index from 0.")] = None,
    start_from: Annotated[
        Path | None, typer.Option(help="Model file to fine-tune, or 'default' for the embedded model.")
    ] = None,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --output.")] = False,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate/--no-calibrate", help="Choose thresholds on the val split afterwards."),
    ] = True,
    wandb: Annotated[str | None, typer.Option(help="Weights & Biases project to log to.")] = None,
) -> None:
    """Train a model on labelled images.

    Folders without splits.csv give a tenth of their images to validation. --resume continues a stopped run.
    """
    from dinocell_core import resolve_device
    from dinocell_core.recipe import merged, read_overrides, read_recipe, validated
    from dinocell_io import check_output_folder
    from dinocell_seg.train import run_training
    from dinocell_seg.train_recipe import TrainRecipe
    from dinocell_seg.training_preparation import prepare_training

    try:
        with errors_told(WRONG_COMMAND_LINE):
            values = read_recipe(recipe, expected="lines such as 'schedule: {steps: 5000}'") if recipe else {}
            values = merged(values, read_overrides(set_ or [], example="schedule.steps=5000"))
            if backbone is not None:
                values = merged(values, {"network": {"pretrained": backbone}})
            if channel is not None:
                values = merged(values, {"channel": channel})
            if start_from is not None:
                values = merged(values, {"network": {"start_from": start_from}})
            resolved = validated(TrainRecipe, values)
            check_output_folder(output)
            chosen = str(resolve_device(device))
            prepared = prepare_training(data, output, recipe=resolved, device=chosen, resume=resume)
        for note in prepared.notes():
            typer.echo(note)
        typer.echo(f"reading the images of {', '.join(map(str, data))}")
        with errors_told(FAILED):
            model = run_training(prepared, wandb_project=wandb)
    except KeyboardInterrupt as stop:  # TrainingStopped has a text and a code of its own
        if (output / "last.ckpt").exists():
            typer.echo(
                str(stop) or "stopped; the same command with --resume continues from the last checkpoint", err=True
            )
        raise typer.Exit(getattr(stop, "exit_code", 130)) from stop
    if calibrate:
        _calibrate_trained(model, data, channel=resolved.channel, device=device)
    typer.echo(f"wrote {model}; use it with: dinocell segment IMAGE --model {model} --output DIR")


def _calibrate_trained(model: Path, data: list[Path], *, channel: str | int | None, device: str) -> None:
    """Calibrate on the val split; a failure or an interrupt says where the model is and ends the command."""
    code, reason = FAILED, ""
    try:
        _calibrate(model, _samples(data, split="val"), metric="ap_mean", channel=channel, device=device)
        return
    except (ValueError, OSError) as error:
        reason = str(error)
    except KeyboardInterrupt:
        code, reason = 130, "interrupted"
    typer.echo(
        f"wrote {model}, but its thresholds are not calibrated: {reason}. Calibrate it, on these images or on others, "
        f"with: dinocell calibrate {model} --data FOLDER",
        err=True,
    )
    raise typer.Exit(code)


def calibrate(
    model: Annotated[Path, typer.Argument(help="Model file; the chosen thresholds are written into it.")],
    data: Data,
    split: Annotated[str, typer.Option(help="Split to calibrate on, or 'all'; never the test split.")] = "val",
    metric: Annotated[str, typer.Option(help="Metric to maximise, averaged over images.")] = "ap_mean",
    channel: Annotated[str | None, typer.Option(help="Channel of the images, by name or by index from 0.")] = None,
    device: Device = "auto",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for calibration.json and calibration.html.")
    ] = None,
) -> None:
    """Choose a model's thresholds on validation images and store them in its file."""
    from dinocell_io import check_output_folder
    from dinocell_seg.calibrate import check_choice

    with errors_told(WRONG_COMMAND_LINE):
        if str(model) == "default":
            raise ValueError(
                "thresholds are written into the model's file, and the built-in one stays as it is; copy it "
                "('dinocell info' shows where it is) and calibrate the copy"
            )
        if not model.is_file():
            raise FileNotFoundError(
                f"there is no model file {model}; give the .safetensors that 'dinocell train' wrote"
            )
        if output is not None:
            check_output_folder(output)
        check_choice(metric=metric, split=split)
        samples, note = _samples_to_calibrate_on(data, split=split)
    if note:
        typer.echo(note, err=True)
    busy = f"another process calibrates {model}; wait for it, or calibrate a copy"
    with errors_told(FAILED), held_alone(model.with_name(f".{model.name}.lock"), busy=busy):
        _calibrate(model, samples, metric=metric, channel=channel, device=device, output=output)


def _samples_to_calibrate_on(data: list[Path], *, split: str) -> "tuple[list[Sample], str]":
    """The images of a split, or all of a folder that is not divided, and what to say of it; "all" leaves out test."""
    from dataclasses import replace

    from dinocell_io import open_dataset

    whole = split == "all"
    chosen: list[Sample] = []
    undivided, num_left_out = [], 0
    for folder in data:
        samples = open_dataset(folder)
        if whole or (split == "val" and not any(sample.split for sample in samples)):
            undivided.append(str(folder))
            num_left_out += sum(sample.split == "test" for sample in samples)
            chosen += [replace(sample, split=None if whole else split) for sample in samples if sample.split != "test"]
        else:
            chosen += [sample for sample in samples if sample.split == split]
    if not chosen:
        raise ValueError(
            f"no image of {', '.join(map(str, data))} is in the split {split!r} of its splits.csv; name another one "
            "with --split, or take all images but those of the test split with --split all"
        )
    if not undivided:
        return chosen, ""
    note = f"on all {counted(len(chosen), 'image')} of {', '.join(undivided)}"
    note += f" but {num_left_out} of the test split" if num_left_out else "" if whole else ", which has no splits.csv"
    return chosen, f"{note}; where the model was trained on them, its scores are too good"


def _samples(data: list[Path], *, split: str) -> "list[Sample]":
    from dinocell_io import open_dataset
    from dinocell_seg.training_images import with_splits

    samples = [sample for folder in data for sample in with_splits(open_dataset(folder)) if sample.split == split]
    if not samples:
        raise ValueError(f"no image of {', '.join(map(str, data))} is in the split {split!r} of its splits.csv")
    return samples


def _calibrate(
    model: Path,
    samples: "list[Sample]",
    *,
    metric: str,
    channel: str | int | None,
    device: str,
    output: Path | None = None,
) -> None:
    from dinocell_seg.calibrate import calibrate as run_calibration
    from dinocell_seg.calibrate import store_calibration
    from dinocell_seg.pipeline import DINOCellPipeline

    calibration = run_calibration(DINOCellPipeline(model, device=device), samples, metric=metric, channel=channel)
    if output is not None:
        _write_calibration(output, calibration, model)
    store_calibration(model, calibration)
    best, interval = calibration.best, calibration.interval()
    typer.echo(
        f"calibrated on {counted(len(samples), 'image')}: peak {best.peak}, fill {best.fill}, "
        f"prominence {best.prominence}, full_prominence_px {best.full_prominence_px:g}, min_size {best.min_size} "
        f"({metric} {best.score:.3f}" + (f", 95 % {interval[0]:.3f} to {interval[1]:.3f}" if interval else "") + ")"
    )


def _write_calibration(output: Path, calibration: "Calibration", model: Path) -> None:
    import json

    from dinocell_eval import sweep_page
    from dinocell_io import atomic_path

    best = calibration.best
    facts = {
        "model": str(model),
        "prominence": "none" if best.prominence is None else f"{best.prominence:g}",
        "in full for cells from": f"{best.full_prominence_px:g} px",
        "smallest cell": f"{best.min_size} px",
        "split": calibration.split,
    }
    texts = {
        "calibration.json": json.dumps(calibration.as_dict(), indent=2, allow_nan=False) + "\n",
        "calibration.html": sweep_page(calibration.slice, title="Calibration of thresholds", facts=facts),
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with atomic_path(output / name) as temporary:
            Path(temporary).write_text(text, encoding="utf-8")
