"""Images of JUMP that are known to be bad, shipped as a table with the place where each was reported.

Levels: `exclude` is never selected; `caution` is selected unless refused; `missing` marks plates of which some keys
are not in the bucket, so that a run does not count them as failures. The table grows by what quarantine files find.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from dinocell_io.jump.index import JumpIndex

LEVELS = ("exclude", "caution", "missing")


@dataclass(frozen=True)
class Denied:
    """One line: patterns (*, ?, [1-6]) of source, batch, plate and file name that all have to match."""

    level: str
    source: str
    batch: str
    plate: str
    file: str
    reason: str
    reference: str


@cache
def shipped_denylist() -> tuple[Denied, ...]:
    """The table that comes with the package."""
    return _parsed(files("dinocell_io.jump").joinpath("denylist.csv").read_text(encoding="utf-8"), "the shipped list")


def read_denylist(path: str | Path) -> tuple[Denied, ...]:
    """A table of one's own with the same columns. Raises ValueError for other columns or levels."""
    return _parsed(Path(path).read_text(encoding="utf-8"), str(path))


def is_expected_missing(source: str, plate: str) -> bool:
    """Whether keys of this plate are known to be missing from the bucket."""
    return any(
        entry.level == "missing" and fnmatchcase(source, entry.source) and fnmatchcase(plate, entry.plate)
        for entry in shipped_denylist()
    )


def denied_sites(
    index: JumpIndex, denylist: Iterable[Denied], *, levels: Sequence[str] = ("exclude",)
) -> Bool[np.ndarray, "site"]:
    """For each site of the index whether one of its files is on the list at one of the levels."""
    denied = np.zeros(len(index), np.bool_)
    for entry in denylist:
        if entry.level not in levels:
            continue
        plates = [
            number
            for number, plate in enumerate(index.plates)
            if fnmatchcase(plate.source, entry.source)
            and fnmatchcase(plate.batch, entry.batch)
            and fnmatchcase(plate.plate, entry.plate)
        ]
        if not plates:
            continue
        rows = np.flatnonzero(np.isin(index.plate, plates))
        if entry.file != "*":
            has_file = [
                any(fnmatchcase(key.rpartition("/")[2], entry.file) for key in index.keys(row).values())
                for row in rows.tolist()
            ]
            rows = rows[has_file]
        denied[rows] = True
    return denied


def _parsed(text: str, name: str) -> tuple[Denied, ...]:
    rows = list(csv.DictReader(io.StringIO(text)))
    try:
        entries = tuple(Denied(**row) for row in rows)
    except TypeError as error:
        raise ValueError(
            f"{name} is not a deny list ({error}); expected the columns {', '.join(Denied.__dataclass_fields__)}"
        ) from error
    wrong = {entry.level for entry in entries} - set(LEVELS)
    if wrong:
        raise ValueError(f"{name} has the levels {', '.join(sorted(map(str, wrong)))}; expected {', '.join(LEVELS)}")
    return entries
