"""The command `dinocell simulate`: an image whose true labels are known."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dinocell_io import FAILED, WRONG_COMMAND_LINE, counted


def simulate(
    output: Annotated[Path, typer.Argument(help="Image to write, for example field.ome.tif.")],
    labels: Annotated[Path | None, typer.Option(help="Also write the true labels here (.tif or .png).")] = None,
    objects: Annotated[Literal["cells", "nuclei"], typer.Option(help="What the true labels outline.")] = "cells",
    height: Annotated[int, typer.Option(min=1, help="Height of the image in pixels.")] = 512,
    width: Annotated[int, typer.Option(min=1, help="Width of the image in pixels.")] = 512,
    num_cells: Annotated[int, typer.Option(min=0, help="Number of cells.")] = 60,
    diameter: Annotated[float, typer.Option(help="Mean diameter of the cells, in pixels.")] = 40.0,
    nucleus_fraction: Annotated[
        float,
        typer.Option(
            help="Diameter of the nucleus divided by that of its cell, 0.3 to 0.95; near 0.95 nuclei touch as cells do."
        ),
    ] = 0.5,
    channels: Annotated[
        str,
        typer.Option(
            help="Separated by commas, from DNA, ER, AGP, RNA, Mito, Membrane, Phase, DIC, Brightfield and Absorbing."
        ),
    ] = "DNA,ER,AGP",
    cell_shape: Annotated[str, typer.Option(help="One of round, rods, yeast, blood, spread and tissue.")] = "round",
    artefacts: Annotated[
        str, typer.Option(help="Separated by commas, from debris, bubbles, scratches, defocus, frame and saturation.")
    ] = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same image.")] = 0,
) -> None:
    """Write a simulated 16-bit field of cells in several channels, and its true labels.

    Folders are made as needed. OME-TIFF keeps the names of the channels; PNG holds only one channel.
    """
    from dinocell_io import check_output_folder, simulate_field, write_image, write_labels

    try:
        for file in (output, labels or output):
            check_output_folder(file.parent, name=f"the folder of {file.name}")
        field = simulate_field(
            (height, width),
            num_cells=num_cells,
            diameter_px=diameter,
            nucleus_fraction=nucleus_fraction,
            channels=_names(channels),
            cell_shape=cell_shape,
            artefacts=_names(artefacts),
            seed=seed,
        )
        output.parent.mkdir(parents=True, exist_ok=True)
        write_image(output, field.image)
        if labels is not None:
            labels.parent.mkdir(parents=True, exist_ok=True)
            truth = field.labels if objects == "cells" else field.nuclei_labels
            write_labels(labels, truth, pixel_size_um=field.image.pixel_size_um)
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(FAILED if isinstance(error, OSError) else WRONG_COMMAND_LINE) from error
    written = f"{output} ({counted(num_cells, 'cell')}, channels {', '.join(field.image.channels)})"
    typer.echo(written if labels is None else f"{written} and {labels} ({objects})")


def _names(words: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in words.split(",") if name.strip())
