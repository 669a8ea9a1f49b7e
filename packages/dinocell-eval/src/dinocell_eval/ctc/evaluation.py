"""The measures of a sequence in the folders of the Cell Tracking Challenge, read frame by frame."""

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from dinocell_eval.ctc.dataset import CtcSequence, nothing_found
from dinocell_eval.ctc.labels import read_ctc_labels
from dinocell_eval.tracking.correspondence import lineage
from dinocell_eval.tracking.evaluate_tracking import TrackingEvaluation, evaluate_tracking
from dinocell_eval.tracking.field_of_interest import keep_in_field, labels_in_field, tracks_in_field
from dinocell_eval.tracking.tracks import Tracks, read_tracks
from dinocell_io import counted, listed

MEASURES = ("seg", "det", "tra")
Labels = Integer[np.ndarray, "..."]


def evaluate_ctc_sequence(
    sequence: CtcSequence,
    *,
    measures: Collection[str] | None = None,
    missing_as_empty: bool = False,
    strict: bool = False,
    field_of_interest: int = 0,
    max_bc_tolerance: int = 3,
) -> TrackingEvaluation:
    """Evaluate the files of a sequence, frame by frame, as `evaluate_tracking` does with arrays.

    `measures` are of "seg", "det" and "tra", where "tra" stands for all that needs tracks; only their files are read.
    By default all that have truth are computed, and notes say what was left out. Result files without truth are
    ignored. `missing_as_empty` counts a missing result file as an empty image. `strict` refuses files that the official
    tools do. `field_of_interest` is the margin in pixels whose result objects do not count; then result files are read
    twice for "tra". Raises ValueError or FileNotFoundError naming the file.
    """
    wanted, notes = _available(sequence) if measures is None else (_known(measures), [])
    markers = sequence.markers if wanted & {"det", "tra"} else {}
    segmentation = sequence.segmentation if "seg" in wanted else {}
    if not markers and wanted & {"det", "tra"}:
        raise ValueError(nothing_found(sequence.markers_folder, "man_track", sequence.digits))
    if not segmentation and "seg" in wanted:
        raise ValueError(nothing_found(sequence.segmentation_folder, "man_seg", sequence.digits))
    needed = markers.keys() | segmentation.keys()
    notes += _check_results(sequence, needed, missing_as_empty=missing_as_empty)
    read = _Reader(strict=strict)
    truth_tracks, result_tracks = _tracks(sequence, strict=strict) if "tra" in wanted else (None, None)
    renamed: dict[int, dict[int, int]] = {}
    if field_of_interest:
        notes.append(f"result objects entirely within {counted(field_of_interest, 'pixel')} of the border are left out")
        if result_tracks is not None and len(markers) == max(markers) + 1:  # else no tracks are evaluated
            result_tracks, renamed = _tracks_left(sequence, result_tracks, read, margin=field_of_interest)

    def read_result(frame: int) -> Labels:
        labels = read(sequence.results[frame])
        if field_of_interest:
            labels = keep_in_field(labels, margin=field_of_interest, renamed=renamed.get(frame, {}))
        return labels

    with ThreadPoolExecutor(1) as pool:
        pending: list[Future[Labels] | None] = []

        def truths() -> Iterator[Labels | None]:
            for frame in range(max(needed) + 1):
                there = frame in needed and frame in sequence.results
                # the result is decoded while the truth of the same frame is
                pending.append(pool.submit(read_result, frame) if there else None)
                yield read(markers[frame]) if frame in markers else None

        def results() -> Iterator[Labels | None]:
            for _ in range(max(needed) + 1):
                yield _taken(pending)  # without a name here, which would hold the frame while the next one is read

        evaluation = evaluate_tracking(
            truths(),
            truth_tracks,
            results(),
            result_tracks,
            segmentation_truths=_SegmentationFiles(segmentation, read),
            max_bc_tolerance=max_bc_tolerance,
        )
    return replace(evaluation, notes=(*notes, *read.notes(), *evaluation.notes))


class _Reader:
    """Reads label files, and keeps what the official tools would misread in which of them."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.misread: dict[str, set[str]] = {}

    def __call__(self, path: Path) -> Labels:
        labels, departures = read_ctc_labels(path, strict=self.strict)
        for departure in departures:
            self.misread.setdefault(departure, set()).add(str(path))
        return labels

    def notes(self) -> list[str]:
        return [
            f"{min(paths)} {what} ({counted(len(paths), 'file')} in all)"
            for what, paths in sorted(self.misread.items())
        ]


def _taken(pending: list[Future[Labels] | None]) -> Labels | None:
    result = pending.pop()
    return None if result is None else result.result()


@dataclass(frozen=True)
class _Slices(Mapping[int, Labels]):
    """Label images by number, each read when it is looked up."""

    files: Mapping[int, Path]
    read: Callable[[Path], Labels]

    def __getitem__(self, z: int) -> Labels:
        return self.read(self.files[z])

    def __iter__(self) -> Iterator[int]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True)
class _SegmentationFiles(Mapping[int, Labels | Mapping[int, Labels]]):
    files: Mapping[int, Path | Mapping[int, Path]]
    read: Callable[[Path], Labels]

    def __getitem__(self, frame: int) -> Labels | Mapping[int, Labels]:
        files = self.files[frame]
        return _Slices(files, self.read) if isinstance(files, Mapping) else self.read(files)

    def __iter__(self) -> Iterator[int]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __contains__(self, frame: object) -> bool:
        return frame in self.files  # the inherited one would read the file


def _known(measures: Collection[str]) -> frozenset[str]:
    if not measures or set(measures) - set(MEASURES):
        raise ValueError(f"measures are {list(measures)}, expected one or more of {', '.join(MEASURES)}")
    return frozenset(measures)


def _available(sequence: CtcSequence) -> tuple[frozenset[str], list[str]]:
    """What can be computed from the files that are there, and what cannot and why."""
    measures, notes = set(), []
    no_markers = nothing_found(sequence.markers_folder, "man_track", sequence.digits)
    no_segmentation = nothing_found(sequence.segmentation_folder, "man_seg", sequence.digits)
    if not sequence.markers and not sequence.segmentation:
        raise ValueError(f"{no_markers}; {no_segmentation}")
    if sequence.segmentation:
        measures.add("seg")
    else:
        notes.append(f"{no_segmentation}: SEG is left out")
    if not sequence.markers:
        return frozenset(measures), [*notes, f"{no_markers}: DET and TRA are left out"]
    measures.add("det")
    absent = [str(path) for path in (sequence.truth_tracks, sequence.result_tracks) if not path.is_file()]
    if absent:
        notes.append(f"{' and '.join(absent)} not found: TRA and all that needs tracks are left out")
    else:
        measures.add("tra")
    return frozenset(measures), notes


def _check_results(sequence: CtcSequence, needed: Collection[int], *, missing_as_empty: bool) -> list[str]:
    if not sequence.results and not missing_as_empty:
        raise FileNotFoundError(nothing_found(sequence.result_folder, "mask", sequence.digits))
    if not sequence.results and any(sequence.result_folder.glob("mask*.tif")):
        raise FileNotFoundError(nothing_found(sequence.result_folder, "mask", sequence.digits))
    missing = [f"mask{frame:0{sequence.digits}d}.tif" for frame in sorted(needed) if frame not in sequence.results]
    if missing and not missing_as_empty:
        raise FileNotFoundError(
            f"{sequence.result_folder} lacks {listed(missing, 5)}, expected a result for each of the "
            f"{len(needed)} true frames; add them, or pass --missing-as-empty (missing_as_empty=True) to "
            "count them as empty images"
        )
    notes = [f"missing result files are counted as empty images: {listed(missing, 5)}"] if missing else []
    if sequence.markers and (extra := sequence.results.keys() - sequence.markers.keys() - set(needed)):
        notes.append(f"result files of frames without truth are ignored: {listed(sorted(extra), 5)}")
    return notes


def _tracks(sequence: CtcSequence, *, strict: bool) -> tuple[Tracks, Tracks]:
    return read_tracks(sequence.truth_tracks, strict=strict), read_tracks(sequence.result_tracks, strict=strict)


def _tracks_left(
    sequence: CtcSequence, tracks: Tracks, read: Callable[[Path], Labels], *, margin: int
) -> tuple[Tracks, dict[int, dict[int, int]]]:
    """Tracks of the result in the field of interest, and new labels; the complete tracks are checked first."""
    every, kept = {}, {}
    for frame in sequence.markers.keys() & sequence.results.keys():
        labels = read(sequence.results[frame])
        every[frame] = labels_in_field(labels, margin=0)
        kept[frame] = labels_in_field(labels, margin=margin)
    frames = sorted(every)
    lineage(
        tracks,
        frame=np.repeat(np.array(frames, np.int64), [every[frame].size for frame in frames]),
        label=np.concatenate([np.zeros(0, np.int64), *(every[frame] for frame in frames)]),
        num_frames=max(sequence.markers) + 1,
        role="result",
    )
    return tracks_in_field(tracks, kept)
