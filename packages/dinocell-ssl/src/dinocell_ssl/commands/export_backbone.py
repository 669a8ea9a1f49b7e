"""The command `dinocell export-backbone`; nothing heavy is imported before it runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dinocell_io import FAILED, WRONG_COMMAND_LINE, counted, errors_told


def export_backbone(
    checkpoint: Annotated[Path, typer.Argument(help="backbone.safetensors or checkpoint of a run, or a DINOv3 file.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to write; for hugging_face a folder that does not exist yet."),
    ],
    layout: Annotated[
        Literal["meta", "hugging_face", "timm"],
        typer.Option(help="Program that is to load it: dinov3, transformers, timm."),
    ] = "hugging_face",
    rgb: Annotated[
        bool, typer.Option("--rgb", help="Spread a one-channel backbone over RGB, exactly, for programs that want RGB.")
    ] = False,
) -> None:
    """Write a pretrained backbone for transformers, Meta's dinov3 or timm."""
    from dinocell_ssl.backbones.export_backbone import as_rgb
    from dinocell_ssl.backbones.export_backbone import export_backbone as run_export
    from dinocell_ssl.backbones.open_backbone import open_backbone, require_backbone_file

    with errors_told(WRONG_COMMAND_LINE):
        require_backbone_file(checkpoint)
    with errors_told(FAILED):
        backbone, facts = open_backbone(checkpoint)
        report = run_export(as_rgb(backbone) if rgb else backbone, output, layout=layout, facts=facts)
    for note in report.notes:
        typer.echo(f"note: {note}")
    channels = counted(3 if rgb else backbone.in_channels, "channel")
    typer.echo(
        f"wrote {report.path}: {report.num_parameters:,} parameters, {channels}; give it "
        "(v - 0.5) / 0.25 with v from percentiles 1 and 99.8 of each image"
    )
