"""Many images, one after the other: each has an outcome, and none of them stops the rest."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import cv2
import torch

from dinocell_io import atomic_path
from dinocell_seg.output_files import output_files, output_stem
from dinocell_seg.pipeline import DINOCellPipeline
from dinocell_seg.plane_choice import PlaneChoice
from dinocell_seg.provenance import full_address, read_provenance, sha256_of
from dinocell_seg.segment import segment_file

Existing = Literal["refuse", "overwrite", "skip"]
SUMMARY_NAME = "segment_summary.csv"
SUMMARY_COLUMNS = ("image", "status", "num_cells", "seconds", "message")

# What a bad file, a full disk or too large an image raises. Anything else is a bug, and stops the run with its trace.
FILE_ERRORS = (ValueError, OSError, MemoryError, torch.OutOfMemoryError, cv2.error)


@dataclass(frozen=True)
class Outcome:
    """What happened to one image. `num_cells` is None where it failed; `message` says why, or is empty."""

    image: str
    status: Literal["done", "skipped", "failed"]
    num_cells: int | None = None
    seconds: float = 0.0
    message: str = ""


def segment_files(
    images: Sequence[str],
    output: str | Path,
    pipeline: DINOCellPipeline,
    *,
    channel: str | int | None = None,
    scene: str | int | None = None,
    z: int | None = None,
    t: int | None = None,
    save_distance_map: bool = False,
    existing: Existing = "refuse",
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Segment images into one folder, and write segment_summary.csv with what happened to each.

    A file that cannot be read or segmented is an outcome, not an exception. `scene`, `z` and `t` choose the plane
    of every image, as in `segment_file`. `existing` says what becomes of images whose _run.json is there: "refuse"
    raises ValueError before anything is written; "overwrite" segments them again; "skip" keeps those that were
    made from the same pixels with the same model and settings, and fails the others, so that one folder never
    mixes two settings unnoticed. OME-Zarr and what is in a bucket have no hash: there the same address counts as
    the same pixels, and a change behind it is not noticed.

    The summary keeps the rows of earlier runs into `output` for other images, and is also written, of the images so
    far, when the run is interrupted. Raises OSError if it cannot be written.
    """
    if existing == "refuse":
        refuse_existing(images, output)
    choice = PlaneChoice(channel, scene, z, t)
    outcomes: list[Outcome] = []
    try:
        for image in images:
            outcome = _outcome_of(image, output, pipeline, choice, save_distance_map, existing)
            outcomes.append(outcome)
            report(outcome)
    finally:
        Path(output).mkdir(parents=True, exist_ok=True)
        write_summary(Path(output) / SUMMARY_NAME, outcomes)
    return outcomes


def refuse_existing(images: Sequence[str], output: str | Path) -> None:
    """Raise ValueError if a file that segmenting these images writes is there already, whoever wrote it."""
    there = [image for image in images if any(path.exists() for path in output_files(image, output).values())]
    if there:
        shown = ", ".join(there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "")
        raise ValueError(
            f"{output} already holds results of {shown}; pass --skip-existing to keep them, "
            "--overwrite to make them again, or another --output"
        )


def write_summary(path: str | Path, outcomes: Sequence[Outcome]) -> None:
    """Write one row per image: image, status, num_cells, seconds, message.

    Rows of a summary that is there stay, unless one of these images has the same output files. What is no Unicode in
    a file's name is written as in Python, \\udcfc for the byte 0xfc.
    """
    rows = {output_stem(row[0]).casefold(): row for row in _earlier_rows(Path(path))}
    for outcome in outcomes:
        cells = "" if outcome.num_cells is None else str(outcome.num_cells)
        row = [outcome.image, outcome.status, cells, f"{outcome.seconds:.3f}", outcome.message]
        rows[output_stem(outcome.image).casefold()] = row
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SUMMARY_COLUMNS)
        writer.writerows(rows.values())


def _earlier_rows(path: Path) -> list[list[str]]:
    """The rows of a summary, none if there is no file or somebody else's."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    return [row for row in rows if len(row) == len(SUMMARY_COLUMNS)] if tuple(header) == SUMMARY_COLUMNS else []


def _outcome_of(
    image: str,
    output: str | Path,
    pipeline: DINOCellPipeline,
    choice: PlaneChoice,
    save_distance_map: bool,
    existing: Existing,
) -> Outcome:
    files = output_files(image, output, save_distance_map=save_distance_map)
    try:
        if existing == "skip" and files["run"].exists():
            return Outcome(image, "skipped", _cells_of_same_run(image, files, pipeline, choice))
        result = segment_file(image, output, pipeline, **asdict(choice), save_distance_map=save_distance_map)
    except FILE_ERRORS as error:
        return Outcome(image, "failed", message=" ".join(str(error).split()) or type(error).__name__)
    return Outcome(image, "done", result.num_cells, result.seconds)


def _cells_of_same_run(image: str, files: dict[str, Path], pipeline: DINOCellPipeline, choice: PlaneChoice) -> int:
    """The number of cells of an earlier result; ValueError if it was made otherwise or is incomplete."""
    missing = [path.name for path in files.values() if not path.exists()]
    if missing:
        raise ValueError(f"the earlier result lacks {', '.join(missing)}; pass --overwrite")
    run = read_provenance(files["run"])
    source = run["input"]
    sha256 = sha256_of(image)
    differs = [
        name
        for name, before, now in (
            ("pixels", source["sha256"], sha256),
            ("address", source["uri"], full_address(image) if sha256 is None else source["uri"]),
            *((key.removesuffix("_asked"), source.get(key), asked) for key, asked in choice.as_record().items()),
            ("model", run["model"]["sha256"], pipeline.identity.sha256),
            ("settings", run["settings"], pipeline.settings.model_dump(mode="json")),
        )
        if before != now
    ]
    if differs:
        raise ValueError(
            f"the earlier result in {files['run'].parent} has other {' and '.join(differs)}; "
            "pass --overwrite to make it again, or another --output"
        )
    return int(run["result"]["num_cells"])
