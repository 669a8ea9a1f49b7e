"""Sequences in the folders of the Cell Tracking Challenge.

DATASET/01_GT/TRA/man_track000.tif, ..., man_track.txt     markers and tracks of the truth
DATASET/01_GT/SEG/man_seg000.tif or man_seg_000_003.tif    some frames, or slices TTT_ZZZ of them, outlined
DATASET/01_ST/SEG/man_seg000.tif                           silver truth
DATASET/01_RES/mask000.tif, ..., res_track.txt             the result
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from dinocell_eval.correspondence import lineage
from dinocell_eval.ctc_labels import read_ctc_labels
from dinocell_eval.field_of_interest import keep_in_field, labels_in_field, tracks_in_field
from dinocell_eval.tracking import TrackingEvaluation, evaluate_tracking
from dinocell_eval.tracks import Tracks, read_tracks

MEASURES = ("seg", "det", "tra")
Labels = Integer[np.ndarray, "..."]


@dataclass(frozen=True)
class CtcSequence:
    """The files of one sequence by frame; those of the truth may be sparse, those of the result more than needed.

    `segmentation` holds a file for a whole frame, or files of single slices by their z.
    """

    digits: int
    markers: Mapping[int, Path]
    segmentation: Mapping[int, Path | Mapping[int, Path]]
    results: Mapping[int, Path]
    markers_folder: Path
    segmentation_folder: Path
    result_folder: Path

    @property
    def truth_tracks(self) -> Path:
        return self.markers_folder / "man_track.txt"

    @property
    def result_tracks(self) -> Path:
        return self.result_folder / "res_track.txt"


def open_ctc_sequence(
    dataset: str | Path, sequence: str, *, digits: int = 3, silver_truth: bool = False
) -> CtcSequence:
    """The files of a sequence such as "01", their frames numbered with `digits` digits.

    `silver_truth` takes SEG's truth from `01_ST/SEG`. Raises ValueError if a frame is there twice, and
    FileNotFoundError if the folder of the truth or of the result does not exist.
    """
    if digits < 1:
        raise ValueError(f"digits is {digits}, expected the digits of the frame numbers, 3 as in mask000.tif")
    dataset = Path(dataset)
    truth, result = dataset / f"{sequence}_GT", dataset / f"{sequence}_RES"
    segmentation = (dataset / f"{sequence}_ST" if silver_truth else truth) / "SEG"
    for folder in (dataset, segmentation.parent, result):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder; expected {truth}/TRA, {segmentation} and {result}")
    return CtcSequence(
        digits=digits,
        markers=_numbered(truth / "TRA", "man_track", digits),
        segmentation=_segmentation_files(segmentation, digits),
        results=_numbered(result, "mask", digits),
        markers_folder=truth / "TRA",
        segmentation_folder=segmentation,
        result_folder=result,
    )


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
        raise ValueError(_nothing_found(sequence.markers_folder, "man_track", sequence.digits))
    if not segmentation and "seg" in wanted:
        raise ValueError(_nothing_found(sequence.segmentation_folder, "man_seg", sequence.digits))
    needed = markers.keys() | segmentation.keys()
    notes += _check_results(sequence, needed, missing_as_empty=missing_as_empty)
    misread: dict[str, set[str]] = {}

    def read(path: Path) -> Labels:
        labels, departures = read_ctc_labels(path, strict=strict)
        for departure in departures:
            misread.setdefault(departure, set()).add(str(path))
        return labels

    truth_tracks, result_tracks = _tracks(sequence, strict=strict) if "tra" in wanted else (None, None)
    renamed: dict[int, dict[int, int]] = {}
    if field_of_interest:
        notes.append(f"result objects wholly within {field_of_interest} pixels of the border are left out")
        if result_tracks is not None:
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
    notes += [f"{min(paths)} {what} ({len(paths)} files in all)" for what, paths in sorted(misread.items())]
    return replace(evaluation, notes=(*notes, *evaluation.notes))


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
    if unknown := sorted(set(measures) - set(MEASURES)) or not measures:
        raise ValueError(f"measures are {list(measures)}, expected some of {', '.join(MEASURES)}; unknown: {unknown}")
    return frozenset(measures)


def _available(sequence: CtcSequence) -> tuple[frozenset[str], list[str]]:
    """What can be computed from the files that are there, and what cannot and why."""
    measures, notes = set(), []
    no_markers = _nothing_found(sequence.markers_folder, "man_track", sequence.digits)
    no_segmentation = _nothing_found(sequence.segmentation_folder, "man_seg", sequence.digits)
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
        raise FileNotFoundError(_nothing_found(sequence.result_folder, "mask", sequence.digits))
    if not sequence.results and any(sequence.result_folder.glob("mask*.tif")):
        raise FileNotFoundError(_nothing_found(sequence.result_folder, "mask", sequence.digits))
    missing = [f"mask{frame:0{sequence.digits}d}.tif" for frame in sorted(needed) if frame not in sequence.results]
    if missing and not missing_as_empty:
        raise FileNotFoundError(
            f"{sequence.result_folder} lacks {_some(missing)}, expected a result for each of the {len(needed)} true "
            "frames; add them, or pass --missing-as-empty to count them as empty"
        )
    notes = [f"{len(missing)} result files are missing ({_some(missing)}) and counted as empty"] if missing else []
    if sequence.markers and (extra := sequence.results.keys() - sequence.markers.keys() - set(needed)):
        notes.append(f"{len(extra)} result files have no true frame ({_some(sorted(extra))}) and are ignored")
    return notes


def _tracks(sequence: CtcSequence, *, strict: bool) -> tuple[Tracks, Tracks]:
    return read_tracks(sequence.truth_tracks, strict=strict), read_tracks(sequence.result_tracks, strict=strict)


def _tracks_left(
    sequence: CtcSequence, tracks: Tracks, read: Callable[[Path], Labels], *, margin: int
) -> tuple[Tracks, dict[int, dict[int, int]]]:
    """Tracks of the result in the field of interest, and new labels; the whole tracks are checked before."""
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


def _numbered(folder: Path, prefix: str, digits: int) -> dict[int, Path]:
    """Files such as mask000.tif by frame, in the order of time."""
    found = {}
    for path in _tiffs(folder):
        match = re.fullmatch(rf"{prefix}([0-9]+)\.tif", path.name)
        if match and _is_frame(match[1], digits):
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def _segmentation_files(folder: Path, digits: int) -> dict[int, Path | Mapping[int, Path]]:
    found: dict[int, Path | Mapping[int, Path]] = {**_numbered(folder, "man_seg", digits)}
    slices: dict[int, dict[int, Path]] = {}
    for path in _tiffs(folder):
        match = re.fullmatch(r"man_seg_([0-9]+)_([0-9]+)\.tif", path.name)
        if match and _is_frame(match[1], digits):
            of_frame = slices.setdefault(int(match[1]), {})
            if int(match[2]) in of_frame:
                raise ValueError(
                    f"{folder} holds {of_frame[int(match[2])].name} and {path.name}, expected each slice once"
                )
            of_frame[int(match[2])] = path
    if both := sorted(found.keys() & slices.keys()):
        raise ValueError(
            f"{folder} holds frame {both[0]} whole and as slices, expected one of the two; remove the other"
        )
    return dict(sorted({**found, **slices}.items()))


def _tiffs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tif")) if folder.is_dir() else []


def _is_frame(number: str, digits: int) -> bool:
    return number == str(int(number)).zfill(digits)


def _nothing_found(folder: Path, prefix: str, digits: int) -> str:
    first = f"{prefix}{0:0{digits}d}.tif"
    if not folder.is_dir():
        return f"no {first} and so on: {folder} is not a folder"
    names = [path.name for path in _tiffs(folder)]
    others = [name for name in names if re.fullmatch(rf"{prefix}_?[0-9_]+\.tif", name)]
    if others:
        found = len(re.findall(r"[0-9]+", others[0])[0])
        return f"{folder} has no {first} and so on, but {_some(others)}; the number of digits is {found}, not {digits}"
    return f"{folder} has no {first} and so on, its TIFF files are: {_some(names) or 'none'}"


def _some(names: Collection[object], limit: int = 5) -> str:
    shown = [str(name) for name in list(names)[:limit]]
    return ", ".join(shown) + (f", ... {len(names) - limit} more" if len(names) > limit else "")
