"""Tracks as the Cell Tracking Challenge writes them: label, first frame, last frame, parent."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from dinocell_io import atomic_path, listed

Row = tuple[int, int, int, int]
LARGEST_OFFICIAL_LABEL = 65535
_LISTED_PROBLEMS = 8


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks in ascending order of label. Frames count from 0, `end` is a track's last one; parent 0 means none.

    `notes` say what the official tools would have refused in the file.
    """

    label: Int64[np.ndarray, "track"]
    begin: Int64[np.ndarray, "track"]
    end: Int64[np.ndarray, "track"]
    parent: Int64[np.ndarray, "track"]
    notes: tuple[str, ...] = ()

    @property
    def num_tracks(self) -> int:
        return int(self.label.size)

    @cached_property
    def parent_row(self) -> Int64[np.ndarray, "track"]:
        """Row of each track's parent, -1 without one."""
        return np.where(self.parent > 0, np.searchsorted(self.label, self.parent), -1)

    @cached_property
    def num_children(self) -> Int64[np.ndarray, "track"]:
        return np.bincount(self.parent_row[self.parent_row >= 0], minlength=self.num_tracks)

    @cached_property
    def is_fork(self) -> Bool[np.ndarray, "track"]:
        """Tracks that divide: the parents of two tracks or more."""
        return self.num_children >= 2

    def children(self, row: int) -> list[int]:
        """Rows of a track's children, ascending."""
        first, last = np.searchsorted(self._parents_in_order, [row, row + 1])
        return self._by_parent[first:last].tolist()

    def rows(self) -> list[Row]:
        """(label, begin, end, parent) of every track."""
        columns = (self.label, self.begin, self.end, self.parent)
        return [(int(a), int(b), int(c), int(d)) for a, b, c, d in zip(*columns, strict=True)]

    @cached_property
    def _by_parent(self) -> Int64[np.ndarray, "track"]:
        return np.argsort(self.parent_row, kind="stable")

    @cached_property
    def _parents_in_order(self) -> Int64[np.ndarray, "track"]:
        return self.parent_row[self._by_parent]


TrackRows = Tracks | Iterable[Any]  # rows are checked by `as_tracks`, with better words than a type checker has


def as_tracks(rows: TrackRows, *, role: str) -> Tracks:
    """Tracks from rows (label, begin, end, parent) in any order; `role` ("truth" or "result") is used in messages.

    Raises ValueError listing every row that is not four whole numbers, repeats a label, ends before it begins,
    or has a parent that is unknown, itself, or not over before the child begins.
    """
    if isinstance(rows, Tracks):
        return rows
    found: list[Row] = []
    for number, row in enumerate(rows):
        values = tuple(row)
        if len(values) != 4 or not all(map(_is_whole, values)):
            raise ValueError(
                f"row {number} of the {role} tracks is {values}, expected four whole numbers: label, begin, end, parent"
            )
        label, begin, end, parent = (int(value) for value in values)
        found.append((label, begin, end, parent))
    return _checked(found, [f"row {number}" for number in range(len(found))], f"the {role} tracks")


def read_tracks(path: str | Path, *, strict: bool = False) -> Tracks:
    """Tracks of a `man_track.txt` or `res_track.txt`: a line `L B E P` for each, in any order, blanks or tabs between.

    Blanks at the end of a line and empty lines at the end of the file are accepted with a note, and so are labels
    above 65535; `strict` refuses them, as the official tools do. Raises ValueError that names the file and every wrong
    line: lines that are not four whole numbers, and everything that `as_tracks` refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; expected a track file with a line `label begin end parent` each"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file ({error}); expected lines `label begin end parent`") from error
    lines = text.split("\n")
    while lines and not lines[-1]:
        lines.pop()
    notes, rows, places, problems = [], [], [], []
    last = max((number for number, line in enumerate(lines) if line.strip()), default=-1)
    if last + 1 < len(lines) or text.endswith(("\n\n", "\n\r\n")):
        notes.append(f"{path} has empty lines at its end, which the official tools refuse")
    trailing = []
    for number, line in enumerate(lines[: last + 1], start=1):
        content = line.removesuffix("\r")
        if content != content.rstrip():
            trailing.append(number)
        words = content.split()
        if len(words) == 4 and all(re.fullmatch(r"[+-]?[0-9]{1,18}", word) for word in words):
            label, begin, end, parent = map(int, words)
            rows.append((label, begin, end, parent))
            places.append(f"line {number}")
        else:
            problems.append(f"line {number} is {content[:60]!r}, expected four whole numbers `label begin end parent`")
    if problems:
        raise _inconsistent(str(path), problems)
    if trailing:
        notes.append(f"{path} has blanks at the end of line {listed(trailing, 5)}, which the official tools refuse")
    large = [row[0] for row in rows if row[0] > LARGEST_OFFICIAL_LABEL]
    if large:
        notes.append(
            f"{path} has labels above {LARGEST_OFFICIAL_LABEL} ({listed(large, 5)}), which the official tools refuse"
        )
    if strict and notes:
        raise ValueError("; ".join(notes) + "; remove them or leave out --strict")
    return _checked(rows, places, str(path), tuple(notes))


def write_tracks(path: str | Path, tracks: TrackRows) -> None:
    """Write a track file atomically, one line `L B E P` per track, in ascending order of label."""
    rows = as_tracks(tracks, role="given").rows()
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{' '.join(map(str, row))}\n" for row in rows), encoding="ascii", newline="\n")


def _is_whole(value: object) -> bool:
    return isinstance(value, int | float | np.number) and bool(np.isfinite(value) and int(value) == value)


def _checked(rows: list[Row], places: list[str], source: str, notes: tuple[str, ...] = ()) -> Tracks:
    problems = []
    by_label: dict[int, tuple[Row, str]] = {}
    for row, place in zip(rows, places, strict=True):
        label, begin, end, _ = row
        if label < 1:
            problems.append(f"{place}: the label is {label}, expected 1 or more (0 is background)")
        elif label in by_label:
            problems.append(
                f"{place}: label {label} was already used in {by_label[label][1]}, expected each label once"
            )
        else:
            by_label[label] = (row, place)
        if not 0 <= begin <= end:
            problems.append(
                f"{place}: track {label} begins in frame {begin} and ends in {end}, expected 0 <= begin <= end"
            )
    for (label, begin, _, parent), place in zip(rows, places, strict=True):
        if parent == 0:
            continue
        if parent == label:
            problems.append(f"{place}: track {label} is its own parent; write 0 for a track without parent")
        elif parent not in by_label:
            problems.append(
                f"{place}: the parent of track {label} is {parent}, which is not a track; write 0 for no parent"
            )
        elif (last := by_label[parent][0][2]) >= begin:
            problems.append(
                f"{place}: track {label} begins in frame {begin} but its parent {parent} ends in {last}, "
                "expected the parent to end before"
            )
    if problems:
        raise _inconsistent(source, problems)
    table = np.array(sorted(rows), np.int64).reshape(-1, 4)
    return Tracks(table[:, 0], table[:, 1], table[:, 2], table[:, 3], notes)


def _inconsistent(source: str, problems: list[str]) -> ValueError:
    return ValueError(f"{source}: {listed(problems, _LISTED_PROBLEMS, '; ')}")
