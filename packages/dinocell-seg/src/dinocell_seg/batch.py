"""Many images in their order: each has an outcome, and none of them stops the others."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from dinocell_seg.image_sets import parts_of_images
from dinocell_seg.outcomes import Existing, KeptResultError, Outcome, recorded, refuse_existing
from dinocell_seg.output_files import output_files
from dinocell_seg.pipeline import DINOCellPipeline
from dinocell_seg.plane_choice import PlaneChoice
from dinocell_seg.provenance import full_address, read_provenance, sha256_of, sha256_of_files
from dinocell_seg.segment import OpenedImage, Segmentation, open_image_to_segment, segment_image, write_segmentation

LARGE_BYTES = 64 * 2**20  # of the pixels of all channels; larger images are not read ahead

# What a bad file, a full disk or too large an image raises. Anything else is a bug, and stops the run with its trace.
FILE_ERRORS = (ValueError, OSError, MemoryError, torch.OutOfMemoryError, cv2.error)


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
    left_out: Mapping[str, str] | None = None,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Segment images into one folder, and write segment_summary.csv with what happened to each.

    A file that cannot be read or segmented is an outcome, not an exception. `scene`, `z` and `t` choose the plane
    of every image, as in `segment_file`. `existing` says what becomes of images whose _run.json is there: "refuse"
    raises ValueError before anything is written; "overwrite" segments them again; "skip" keeps those that were
    made from the same pixels with the same model and settings, and fails the others, so that one folder never
    mixes two settings unnoticed. OME-Zarr and what is in a bucket have no hash: there the same address counts as
    the same pixels, and a change behind it is not noticed. `left_out` are files that somebody may miss, and why:
    they are outcomes too, so that the summary has a row for each; so are further files of an image of several files.

    The summary keeps the rows of earlier runs into `output` for other images, and is also written, of the images so
    far, when the run is interrupted. Raises OSError if it cannot be written.
    """
    if existing == "refuse":
        refuse_existing(images, output)
    work = ImageWork(output, pipeline, PlaneChoice(channel, scene, z, t), save_distance_map, existing)
    parts = parts_of_images(images, scene)
    with recorded(output, report) as done:
        for file, why in {**(left_out or {}), **parts}.items():
            done(Outcome(file, "left out", message=why))
        segment_in_turn([image for image in images if image not in parts], work, done)
        return list(done.outcomes)


@dataclass(frozen=True)
class ImageWork:
    """What is to be done with each image, in three steps; a step that fails gives the outcome instead."""

    output: str | Path
    pipeline: DINOCellPipeline
    choice: PlaneChoice
    save_distance_map: bool
    existing: Existing

    def open(self, image: str) -> OpenedImage | Outcome:
        files = output_files(image, self.output, save_distance_map=self.save_distance_map)
        try:
            if self.existing == "skip" and files["run"].exists():
                return Outcome(image, "skipped", _cells_of_same_run(image, files, self.pipeline, self.choice))
            return open_image_to_segment(image, self.choice)
        except (*FILE_ERRORS, RuntimeError) as error:
            return _failed(image, error)

    def segment(self, image: str, opened: OpenedImage | Outcome) -> tuple[OpenedImage, Segmentation] | Outcome:
        if isinstance(opened, Outcome):
            return opened
        try:
            return opened, segment_image(opened.plane, self.pipeline)
        except (*FILE_ERRORS, RuntimeError) as error:
            return _failed(image, error)

    def write(self, image: str, segmented: tuple[OpenedImage, Segmentation] | Outcome) -> Outcome:
        if isinstance(segmented, Outcome):
            return segmented
        save = self.save_distance_map
        try:
            result = write_segmentation(*segmented, self.output, self.pipeline, save_distance_map=save)
        except (*FILE_ERRORS, RuntimeError) as error:
            return _failed(image, error)
        prediction = segmented[1].prediction
        notes = "; ".join((*segmented[0].image.notes, *prediction.normalization.notes, *prediction.notes))
        return Outcome(image, "done", result.num_cells, result.seconds, notes)


def _failed(image: str, error: Exception) -> Outcome:
    """The outcome of an image with this error, which is raised again if it is a bug."""
    if not isinstance(error, FILE_ERRORS) and "can't allocate memory" not in str(error):
        raise error  # torch reports missing CPU memory as a plain RuntimeError
    message = " ".join(str(error).split()) or type(error).__name__
    return Outcome(image, "failed", message=message, keeps_result=isinstance(error, KeptResultError))


def segment_in_turn(images: Sequence[str], work: ImageWork, done: Callable[[Outcome], None]) -> None:
    """Segment the images in their order; `done` hears of each when its files are written, or when it has failed.

    While one image is segmented the next is read and the one before is written, so that nobody waits for a disk or
    a bucket; a large image is alone in memory.
    """
    written: list[Future[Outcome]] = []  # at most one

    def settle() -> None:
        while written:
            done(written.pop().result())

    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        coming = [reader.submit(work.open, image) for image in images[:1]]
        try:
            for number, image in enumerate(images, start=1):
                opened = coming.pop().result()
                alone = isinstance(opened, OpenedImage) and opened.image.pixels.nbytes > LARGE_BYTES
                if alone:
                    settle()
                else:
                    coming = [reader.submit(work.open, following) for following in images[number : number + 1]]
                segmented = work.segment(image, opened)
                settle()
                written.append(writer.submit(work.write, image, segmented))
                if alone:
                    settle()
                    coming = [reader.submit(work.open, following) for following in images[number : number + 1]]
        finally:
            settle()


def _cells_of_same_run(image: str, files: dict[str, Path], pipeline: DINOCellPipeline, choice: PlaneChoice) -> int:
    """The number of cells of an earlier result; ValueError if it was made otherwise or is incomplete."""
    missing = [path.name for path in files.values() if not path.exists()]
    if missing:
        raise ValueError(f"the earlier result lacks {', '.join(missing)}; pass --overwrite")
    run = read_provenance(files["run"])
    source = run["input"]
    sha256 = sha256_of(image)
    files_before = source.get("files") or {}
    differs = [
        name
        for name, before, now in (
            ("pixels", source["sha256"], sha256),
            ("further files", files_before, sha256_of_files(Path(image).with_name(name) for name in files_before)),
            ("address", source["uri"], full_address(image) if sha256 is None else source["uri"]),
            *((key.removesuffix("_asked"), source.get(key), asked) for key, asked in choice.as_record().items()),
            ("model", run["model"]["sha256"], pipeline.identity.sha256),
            ("settings", run["settings"], pipeline.settings.model_dump(mode="json")),
        )
        if before != now
    ]
    if differs:
        raise KeptResultError(
            f"the earlier result in {files['run'].parent} has other {' and '.join(differs)}; "
            "pass --overwrite to make it again, or another --output"
        )
    return int(run["result"]["num_cells"])
