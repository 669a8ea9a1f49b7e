"""Sequences in the folders of the Cell Tracking Challenge.

DATASET/01_GT/TRA/man_track000.tif, ..., man_track.txt     markers and tracks of the truth
DATASET/01_GT/SEG/man_seg000.tif or man_seg_000_003.tif    some frames, or slices TTT_ZZZ of them, outlined
DATASET/01_ST/SEG/man_seg000.tif                           silver truth
DATASET/01_RES/mask000.tif, ..., res_track.txt             the result
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dinocell_io import listed


@dataclass(frozen=True)
class CtcSequence:
    """The files of one sequence by frame; those of the truth may be sparse, those of the result more than needed.

    `segmentation` holds one file for a complete frame, or files of single slices by their z.
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
            f"{folder} holds frame {both[0]} both as one file and as slices, expected one of the two; remove the other"
        )
    return dict(sorted({**found, **slices}.items()))


def _tiffs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tif")) if folder.is_dir() else []


def _is_frame(number: str, digits: int) -> bool:
    return number == str(int(number)).zfill(digits)


def nothing_found(folder: Path, prefix: str, digits: int) -> str:
    """The message for missing files: which were looked for in a folder, and which are there."""
    first = f"{prefix}{0:0{digits}d}.tif"
    if not folder.is_dir():
        return f"no {first} and so on: {folder} is not a folder"
    names = [path.name for path in _tiffs(folder)]
    others = [name for name in names if re.fullmatch(rf"{prefix}_?[0-9_]+\.tif", name)]
    if others:
        found = len(re.findall(r"[0-9]+", others[0])[0])
        return (
            f"{folder} has no {first} and so on, but {listed(others, 5)}; the number of digits is {found}, not {digits}"
        )
    return f"{folder} has no {first} and so on, its TIFF files are: {listed(names, 5) or 'none'}"
