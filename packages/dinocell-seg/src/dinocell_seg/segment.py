"""segment_file: one image in, its labels, table, overlay and provenance out."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, Num

from dinocell_io import Image, read_image, write_labels
from dinocell_seg.exports import write_distance_map, write_overlay
from dinocell_seg.image_sets import check_holds_pixels
from dinocell_seg.measure import measure_cells, write_table
from dinocell_seg.normalize import prepare_as_fitted
from dinocell_seg.output_files import output_files
from dinocell_seg.pipeline import DINOCellPipeline, grey_plane
from dinocell_seg.plane_choice import PlaneChoice
from dinocell_seg.predict import Prediction
from dinocell_seg.provenance import describe_run, file_stamp, sha256_of, sha256_of_files, write_provenance
from dinocell_seg.watershed import confidence, labels_and_prominence


@dataclass(frozen=True)
class Segmentation:
    """Labels of one image (0 background, 1..n cells), what they were made from, and how long it took.

    `prominence` is the one that was used, lowered for small cells; None if cells are seeded by the peak alone.
    """

    labels: Int32[np.ndarray, "y x"]
    confidence: Float32[np.ndarray, " cell"]
    prediction: Prediction
    prominence: float | None
    seconds: Mapping[str, float]

    @property
    def distance_map(self) -> Float32[np.ndarray, "y x"]:
        return self.prediction.distance_map

    @property
    def num_cells(self) -> int:
        return len(self.confidence)


@dataclass(frozen=True)
class OpenedImage:
    """An image as it was read, the plane of it that is to be segmented, and how long reading took.

    `sha256` is of the bytes that were read, None if they are not those of a local file; `sha256_of_files` those of an
    image's files, by name, where it has several.
    """

    uri: str | Path
    choice: PlaneChoice
    image: Image
    plane: Num[np.ndarray, "y x"]
    sha256: str | None
    sha256_of_files: Mapping[str, str | None]
    seconds: float


@dataclass(frozen=True)
class SegmentedFile:
    """What segment_file wrote: the number of cells and the files, by what they hold."""

    num_cells: int
    files: Mapping[str, Path]
    seconds: float


def segment_image(
    image: Image | Num[np.ndarray, "..."], pipeline: DINOCellPipeline, *, channel: str | int | None = None
) -> Segmentation:
    """Labels of one image: [y x], RGB [y x 3], or an Image of which `channel` names the plane.

    An image without cells gives labels that are all 0. Raises ValueError for an image that cannot be
    segmented.
    """
    prediction = pipeline.predict(grey_plane(image, channel))
    started = time.perf_counter()
    thresholds = pipeline.settings.thresholds.for_map(scale=prediction.scale)
    labels, prominence = labels_and_prominence(prediction.heights, **thresholds)
    scores = confidence(prediction.distance_map, labels)
    seconds = {**prediction.seconds, "labels": time.perf_counter() - started}
    return Segmentation(labels, scores, prediction, prominence, seconds)


def segment_file(
    uri: str | Path,
    output: str | Path,
    pipeline: DINOCellPipeline,
    *,
    channel: str | int | None = None,
    scene: str | int | None = None,
    z: int | None = None,
    t: int | None = None,
    save_distance_map: bool = False,
) -> SegmentedFile:
    """Segment one image into the folder `output`: a file, an OME-Zarr folder, or an s3:// address of either.

    `scene`, `z` and `t` choose the plane of a file that holds several, as in `read_image`, which refuses such a
    file without them, and a plane that is not there.
    Writes <stem>_labels.tif, _cells.csv, _overlay.png, and last _run.json, whose presence therefore says
    that the others are complete; with `save_distance_map` also _distance_map.tif (float32). Each appears
    completely or not at all. Of an earlier result _run.json is removed first, then all its other files.
    An image without cells is a result like any other: its table has only a header.
    """
    opened = open_image_to_segment(uri, PlaneChoice(channel, scene, z, t))
    segmentation = segment_image(opened.plane, pipeline)
    return write_segmentation(opened, segmentation, output, pipeline, save_distance_map=save_distance_map)


def open_image_to_segment(uri: str | Path, choice: PlaneChoice) -> OpenedImage:
    """Read an image and choose its plane: the first step of `segment_file`.

    Raises ValueError for a file that another program writes to meanwhile: its hash would not be that of these pixels.
    """
    started = time.perf_counter()
    before = file_stamp(uri)
    image = read_image(uri, scene=choice.scene, z=choice.z, t=choice.t)
    sha256, sha256_of_each = sha256_of(uri), sha256_of_files(image.files)
    if file_stamp(uri) != before:
        raise ValueError(f"{uri} was changed while it was read; segment it again when it is complete")
    check_holds_pixels(image, choice.scene)
    plane = grey_plane(image, choice.channel)
    return OpenedImage(uri, choice, image, plane, sha256, sha256_of_each, time.perf_counter() - started)


def write_segmentation(
    opened: OpenedImage,
    segmentation: Segmentation,
    output: str | Path,
    pipeline: DINOCellPipeline,
    *,
    save_distance_map: bool = False,
) -> SegmentedFile:
    """Measure the cells and write all files of an image: the last step of `segment_file`.

    If one of them cannot be written, none stays: labels without a record could be taken for a result.
    """
    files = output_files(opened.uri, output, save_distance_map=save_distance_map)
    files["labels"].parent.mkdir(parents=True, exist_ok=True)
    _withdraw(output_files(opened.uri, output, save_distance_map=True))
    try:
        return _written(opened, segmentation, files, pipeline)
    except BaseException:
        for path in files.values():
            path.unlink(missing_ok=True)
        raise


def _written(
    opened: OpenedImage, segmentation: Segmentation, files: Mapping[str, Path], pipeline: DINOCellPipeline
) -> SegmentedFile:
    started = time.perf_counter()
    image, labels = opened.image, segmentation.labels
    pixel_size_um = pipeline.settings.pixel_size_um or image.pixel_size_um
    table = measure_cells(labels, image, confidence=segmentation.confidence, pixel_size_um=pixel_size_um)
    write_labels(files["labels"], labels, pixel_size_um=pixel_size_um)
    write_table(files["cells"], table)
    normalization = segmentation.prediction.normalization
    prepared = prepare_as_fitted(opened.plane, pipeline.settings.normalization, normalization)
    write_overlay(files["overlay"], prepared, labels)
    if "distance_map" in files:
        write_distance_map(files["distance_map"], segmentation.distance_map)
    seconds = {"read": opened.seconds, **segmentation.seconds, "write": time.perf_counter() - started}
    run = describe_run(
        uri=opened.uri,
        sha256=opened.sha256,
        sha256_of_files=opened.sha256_of_files,
        image=image,
        choice=opened.choice,
        pipeline=pipeline,
        prediction=segmentation.prediction,
        prominence=segmentation.prominence,
        num_cells=segmentation.num_cells,
        pixel_size_um=pixel_size_um,
        seconds=seconds,
        files=files,
    )
    write_provenance(files["run"], run)
    return SegmentedFile(segmentation.num_cells, files, sum(seconds.values()))


def _withdraw(files: Mapping[str, Path]) -> None:
    """Take away an earlier result: first what says that it is whole, and next its distance map, for which there may
    be no new one. The others go last: they tell the next run of a map that is left where this one is killed.
    """
    others = [path for kind, path in files.items() if kind not in ("run", "distance_map")]
    if files["run"].exists() or any(path.exists() for path in others):
        for path in (files["run"], files["distance_map"], *others):
            path.unlink(missing_ok=True)
