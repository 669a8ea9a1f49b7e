"""The command `dinocell probe`: what a backbone knows, without labels or with few."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dinocell_io import FAILED, WRONG_COMMAND_LINE, counted, errors_told

if TYPE_CHECKING:
    from dinocell_ssl import FewShotPoint


def probe(
    checkpoint: Annotated[Path, typer.Argument(help="backbone.safetensors or checkpoint of a run, or a DINOv3 file.")],
    data: Annotated[
        list[Path],
        typer.Option("--data", help="Folder of fields that the backbone was not trained on; repeat for more."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for probe.json and channels.png.")],
    channel_pattern: Annotated[
        str | None,
        typer.Option(help="For one file per channel: regular expression with (?P<channel>...) and (?P<field>...)."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split to use of folders with splits.csv; default all images.")
    ] = None,
    size: Annotated[int, typer.Option(min=16, help="Side of the squares that the backbone is shown, in pixels.")] = 224,
    max_fields: Annotated[int, typer.Option(min=1, help="Number of fields to use, spread over the folders.")] = 50,
    max_places: Annotated[int, typer.Option(min=1, help="Number of squares per field.")] = 9,
    shown: Annotated[
        Literal["repeated", "in_its_place"] | None,
        typer.Option(help="How a channel is shown to a backbone of several channels; default as in its training run."),
    ] = None,
    labelled: Annotated[
        Path | None, typer.Option(help="Dataset folder with splits train and val; adds few-shot segmentation.")
    ] = None,
    num_images: Annotated[
        str, typer.Option(help="Few-shot: numbers of labelled images, separated by commas.")
    ] = "5,10,25,50",
    seeds: Annotated[int, typer.Option(min=1, help="Few-shot: training runs per number of images.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Few-shot: steps per training run.")] = 200,
    fine_tune: Annotated[bool, typer.Option(help="Few-shot: train the backbone too.")] = False,
    precision: Annotated[
        Literal["fp32", "bf16"],
        typer.Option(help="Few-shot: precision of training; bf16 is faster if the device supports it."),
    ] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Probe a pretrained backbone beside random weights: k-NN, channel consistency, rank; few-shot segmentation."""
    from rich.console import Console
    from rich.table import Table

    from dinocell.few_shot import FewShotSegmentation
    from dinocell_core import resolve_device
    from dinocell_io import atomic_path
    from dinocell_ssl import (
        ProbeSettings,
        backbone_architecture,
        few_shot_curve,
        probe_checkpoint,
        probe_table,
        require_backbone_file,
    )

    console = Console()
    with errors_told(WRONG_COMMAND_LINE):
        numbers = _numbers(num_images)
        chosen = str(resolve_device(device))
        require_backbone_file(checkpoint)
        for folder in (*data, *([] if labelled is None else [labelled])):
            if not folder.is_dir():
                raise FileNotFoundError(f"there is no folder {folder}; give a folder of images")
    with errors_told(FAILED):
        report = probe_checkpoint(
            checkpoint,
            data,
            output,
            settings=ProbeSettings(size=size, max_places=max_places, shown=shown),
            max_fields=max_fields,
            channel_pattern=channel_pattern,
            split=split,
            device=chosen,
        )
        rows = Table("measure", "pretrained", "random weights", "chance")
        for row in probe_table(report):
            rows.add_row(*row)
        console.print(rows)
        for note in report.notes:
            console.print(f"note: {note}", soft_wrap=True, highlight=False, markup=False)
        if labelled is not None:
            backbone_size, patch, _ = backbone_architecture(checkpoint)
            trainer = FewShotSegmentation(
                dataset=labelled,
                work=output / "few_shot",
                size=backbone_size,
                patch=patch,
                steps=steps,
                fine_tune=fine_tune,
                precision=precision,
                device=chosen,
            )
            curve = few_shot_curve(trainer, checkpoint, num_images=numbers, seeds=range(seeds))
            with atomic_path(output / "few_shot.json") as temporary:
                temporary.write_text(json.dumps(curve.to_json(), indent=2) + "\n")
            for point in curve.points:
                typer.echo(_few_shot_line(point))
    typer.echo(f"wrote {report.path}")


def _few_shot_line(point: "FewShotPoint") -> str:
    interval = ""
    if point.gain_interval is not None:
        low, high = point.gain_interval
        interval = f", 95 % interval {low:+.3f} to {high:+.3f}"
    return (
        f"{counted(point.num_images, 'image')}: OP_CSB {point.pretrained:.3f}, random weights {point.random:.3f} "
        f"(gain {point.gain:+.3f}{interval})"
    )


def _numbers(words: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(word) for word in words.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise ValueError(f"--num-images is {words!r}; give numbers of images separated by commas, such as 5,10,25")
    return numbers
