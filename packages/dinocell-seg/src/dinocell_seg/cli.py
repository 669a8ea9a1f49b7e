"""The commands `dinocell segment` and `dinocell info`; nothing heavy is imported before one of them runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dinocell_io import FAILED, WRONG_COMMAND_LINE, counted, errors_told

if TYPE_CHECKING:
    from dinocell_seg.inputs import Inputs
    from dinocell_seg.outcomes import Outcome
    from dinocell_seg.worker import WorkerBatch


def _diameter(text: str) -> float | Literal["auto"]:
    """The value of --diameter."""
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number of pixels nor auto") from None


def segment(
    inputs: Annotated[
        list[str], typer.Argument(help="Images, OME-Zarr, s3:// addresses, folders of images, or patterns in quotes.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Model file, or 'default' for the embedded model.")
    ] = "default",
    channel: Annotated[str | None, typer.Option(help="Channel to segment, by name or by index from 0.")] = None,
    scene: Annotated[
        str | None, typer.Option(help="Image to use of a file that holds several, by name or index.")
    ] = None,
    z: Annotated[int | None, typer.Option(help="Plane of a stack, from 0.")] = None,
    t: Annotated[int | None, typer.Option(help="Time of a series, from 0.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    peak: Annotated[float | None, typer.Option(help="Distance above which a pixel seeds a cell (0 to 1).")] = None,
    fill: Annotated[
        float | None, typer.Option(help="Distance down to which cells grow (0 to 1); higher values give smaller cells.")
    ] = None,
    prominence: Annotated[
        float | None,
        typer.Option(help="How far a seed must rise above the pass to a higher one, for cells of any size."),
    ] = None,
    min_size: Annotated[int | None, typer.Option(help="Smallest cell to keep, in pixels of the image.")] = None,
    keep_holes: Annotated[
        bool, typer.Option("--keep-holes", help="Leave holes, and small cells that one cell encloses, as they are.")
    ] = False,
    preset: Annotated[str | None, typer.Option(help="Named thresholds: samcell (0.47 and 0.09).")] = None,
    normalize: Annotated[
        Literal["percentile", "clahe"] | None, typer.Option(help="Intensity normalisation of the image.")
    ] = None,
    diameter: Annotated[
        float | None,
        typer.Option(
            parser=_diameter,
            metavar="PIXELS",
            help="Typical cell diameter, to which the model's is fitted; or auto, with a model that estimates it.",
        ),
    ] = None,
    pixel_size: Annotated[
        float | None,
        typer.Option(help="Micrometres per pixel, instead of the file's; resizes for models that state theirs."),
    ] = None,
    tile: Annotated[int | None, typer.Option(help="Side of the tiles that the network sees, in pixels.")] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Pixels that neighbouring tiles share (stride = tile - overlap).")
    ] = None,
    tta: Annotated[
        Literal["none", "flips", "dihedral"] | None,
        typer.Option(help="Average over 4 flips, or over 8 flips and turns: slower, but more stable."),
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None, typer.Option(help="auto: bf16 where it is measured to be faster.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="YAML file of settings, or NAME_run.json of an earlier result to repeat.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, as section.key=value; repeat for more.")
    ] = None,
    save_distance_map: Annotated[
        bool, typer.Option("--save-distance-map", help="Also write the distance map (float32 TIFF).")
    ] = False,
    overwrite: Annotated[
        bool | None,
        typer.Option("--overwrite/--skip-existing", help="Replace earlier results, or keep them."),
    ] = None,
) -> None:
    """Segment images into labels, a table of cells, an overlay and a record of the run.

    Writes NAME_labels.tif, NAME_cells.csv, NAME_overlay.png and NAME_run.json for each image, and
    segment_summary.csv. A bad file does not stop the others: it is listed at the end, and the exit code is 1. Files of
    a folder that look like images but are not segmented are listed too. --skip-existing continues a stopped run.

    An OME-Zarr folder is one image, a plate all of its fields; an s3:// address that ends with / is a folder. Of a file
    that holds several planes, --scene, --z and --t choose one; the choice counts for all images of the command. Labels,
    results and thumbnails beside the image of that name are left out and listed.

    Settings count in this order: options, --set, --recipe, --preset, the model's own calibration. With NAME_run.json
    as --recipe, settings, precision, channel and plane are those of that result, and another model is refused.
    """
    from dinocell_seg import worker
    from dinocell_seg.plane_choice import PlaneChoice
    from dinocell_seg.segment_request import SegmentRequest

    options = _settings_of(
        tile=tile,
        overlap=overlap,
        tta=tta,
        precision=precision,
        diameter_px=diameter,
        pixel_size_um=pixel_size,
        normalization={"method": normalize},
        thresholds={
            "peak": peak,
            "fill": fill,
            "prominence": prominence,
            "full_prominence_px": None if prominence is None else 0.0,
            "min_size": min_size,
            "min_size_of": None if min_size is None else "image",
            "fill_holes": False if keep_holes else None,
        },
    )
    existing: Literal["refuse", "overwrite", "skip"] = (
        "refuse" if overwrite is None else "overwrite" if overwrite else "skip"
    )
    request = SegmentRequest(
        output,
        model=model,
        device=device,
        choice=PlaneChoice(channel, scene, z, t),
        preset=preset,
        recipe=recipe,
        overrides=tuple(set_ or ()),
        options=options,
        save_distance_map=save_distance_map,
        existing=existing,
    )
    with errors_told(WRONG_COMMAND_LINE):
        found = _inputs(inputs, output, whole_zarr=scene is not None, refuse=existing == "refuse")
    outcomes: list[Outcome] = []
    batch = worker.WorkerBatch(request)
    try:
        with worker.signals_end_the_batch():
            with errors_told(WRONG_COMMAND_LINE):
                batch.start()
            exit_code, problem = _segment_all(batch, found, output, outcomes)
    finally:
        batch.stop()
    if outcomes:
        _print_outcomes(outcomes, output)
    if problem:
        typer.echo(problem, err=True)
    if exit_code or any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(exit_code or FAILED)


def info(
    target: Annotated[str, typer.Argument(help="Image, its s3:// address, model file, or 'default'.")] = "default",
    scene: Annotated[
        str | None, typer.Option(help="Image to use of a file that holds several, by name or index.")
    ] = None,
    z: Annotated[
        int | None, typer.Option(help="Plane of a stack to measure, from 0; the middle one if not given.")
    ] = None,
    t: Annotated[int | None, typer.Option(help="Time to measure, from 0.")] = None,
    thumbnail: Annotated[Path | None, typer.Option(help="Also write a small picture of the image, as PNG.")] = None,
) -> None:
    """Show what is in an image (axes, channels, intensities) or in a model (licence, scores, thresholds)."""
    from rich.console import Console

    from dinocell_io import is_zarr
    from dinocell_seg.describe import describe_image_file, describe_model_file

    is_model = target == "default" or Path(target).suffix == ".safetensors"
    with errors_told(WRONG_COMMAND_LINE):
        if target != "default" and "://" not in target and not Path(target).exists():
            raise FileNotFoundError(f"{target} does not exist; give an image, a model file, or 'default'")
        if Path(target).is_dir() and not is_zarr(target):
            raise IsADirectoryError(f"{target} is a folder of files; give one of them")
        given = {"--scene": scene, "--z": z, "--t": t, "--thumbnail": thumbnail}
        of_images = [option for option, value in given.items() if value is not None]
        if is_model and of_images:
            raise ValueError(f"{target} is a model; {' and '.join(of_images)} are for images")
        if thumbnail is not None and thumbnail.suffix.lower() != ".png":
            raise ValueError(f"--thumbnail {thumbnail}: a thumbnail is a PNG; give a name that ends with .png")
    with errors_told(FAILED):
        description = (
            describe_model_file(target)
            if is_model
            else describe_image_file(target, scene=scene, z=z, t=t, thumbnail=thumbnail)
        )
    Console().print(description)


def _settings_of(**options: Any) -> dict[str, Any]:
    """The options that were given, nested as the settings are."""
    given: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, dict):
            value = _settings_of(**value) or None
        if value is not None:
            given[name] = value
    return given


def _inputs(inputs: Sequence[str], output: Path, *, whole_zarr: bool, refuse: bool) -> "Inputs":
    """The images, and everything that can be wrong with them and with the folder, found before a file is written."""
    from dinocell_io import check_output_folder
    from dinocell_seg.inputs import find_images, without_clashes
    from dinocell_seg.outcomes import refuse_existing

    found = without_clashes(find_images(inputs, whole_zarr=whole_zarr), inputs)
    check_output_folder(output)
    if refuse:
        refuse_existing(found.images, output)
    return found


def _segment_all(batch: "WorkerBatch", found: "Inputs", output: Path, outcomes: "list[Outcome]") -> tuple[int, str]:
    """Fills `outcomes` image by image, so that they are there however the run ends; its exit code, and what went
    wrong."""
    from rich.console import Console
    from rich.progress import Progress

    from dinocell_seg.outcomes import Outcome, recorded
    from dinocell_seg.worker import Terminated

    num_images = len(found.images) + len(found.failed)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("segmenting", total=num_images)

        def report(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if outcome.status != "left out":
                progress.advance(task)

        try:
            if found.failed:
                with recorded(output, report) as done:
                    for image, why in found.failed.items():
                        done(Outcome(image, "failed", message=why, keeps_result=True))
            batch.segment(found.images, left_out=found.left_out, report=report)
        except KeyboardInterrupt as interrupt:
            num_finished = sum(outcome.status != "left out" for outcome in outcomes)
            return interrupt.exit_code if isinstance(interrupt, Terminated) else 130, (
                f"stopped after {num_finished} of {counted(num_images, 'image')}; "
                "the same command with --skip-existing continues"
            )
        except ChildProcessError as error:
            return FAILED, f"error: {error}; the same command with --skip-existing continues"
        except OSError as error:
            return FAILED, f"error: segment_summary.csv was not written: {error}"
    return 0, ""


def _print_outcomes(outcomes: "Sequence[Outcome]", output: Path) -> None:
    from rich.console import Console

    from dinocell_seg.outcome_table import print_outcomes

    print_outcomes(Console(), outcomes, output)
