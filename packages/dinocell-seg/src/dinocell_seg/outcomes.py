"""What happened to each image of a batch, and segment_summary.csv, which says so."""

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dinocell_io import atomic_path, file_lock, listed
from dinocell_seg.output_files import output_files, output_stem

Existing = Literal["refuse", "overwrite", "skip"]
SUMMARY_NAME = "segment_summary.csv"
SUMMARY_COLUMNS = ("image", "status", "num_cells", "seconds", "message")
_LOCK_NAME = ".segment_summary.lock"


@dataclass(frozen=True)
class Outcome:
    """What happened to one image. `num_cells` is None where it failed or was left out; `message` says why, or holds
    what a user should know of how the image was read and shown to the network, or is empty. `keeps_result` says that a
    whole earlier result was left as it is, so that its row in the summary stays true."""

    image: str
    status: Literal["done", "skipped", "failed", "left out"]
    num_cells: int | None = None
    seconds: float = 0.0
    message: str = ""
    keeps_result: bool = False


class KeptResultError(ValueError):
    """A whole earlier result is there that was made otherwise; it is left as it is."""


class Recorder:
    """Hears of each outcome: keeps it, adds its row to the summary of a folder, and passes it on."""

    def __init__(self, output: str | Path, report: Callable[[Outcome], None]) -> None:
        self.outcomes: list[Outcome] = []
        self.path = Path(output) / SUMMARY_NAME
        self._report = report

    def __call__(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        with suppress(OSError):  # told at the end, when the whole summary is written
            append_outcome(self.path, outcome)
        self._report(outcome)


@contextmanager
def recorded(output: str | Path, report: Callable[[Outcome], None]) -> Iterator[Recorder]:
    """A recorder of the outcomes within; the summary is written whole at the end, however that comes.

    Raises OSError if it cannot be written.
    """
    recorder = Recorder(output, report)
    try:
        yield recorder
    finally:
        write_summary(recorder.path, recorder.outcomes)


def refuse_existing(images: Sequence[str], output: str | Path) -> None:
    """Raise ValueError if a file that segmenting these images writes is there already, whoever wrote it."""
    there = [image for image in images if any(path.exists() for path in output_files(image, output).values())]
    if there:
        raise ValueError(
            f"{output} already holds results of {listed(there, 3)}; pass --skip-existing to keep them, "
            "--overwrite to make them again, or another --output"
        )


def append_outcome(path: str | Path, outcome: Outcome) -> None:
    """Add a row to a summary at once, so that a run that is killed leaves one for each image that it finished.

    Until `write_summary` an image may have several rows, of which the last one counts.
    """
    path = Path(path)
    with _locked(path.parent):
        if not _is_ours(path):
            _write(path, [])
        if outcome.keeps_result and output_stem(outcome.image).casefold() in _stems(_earlier_rows(path)):
            return
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(_row(outcome))
        with path.open("r+b") as file:
            if file.seek(0, os.SEEK_END) and not _ends_with_newline(file):
                file.write(b"\n")  # a run was killed within a row
            file.write(text.getvalue().encode("utf-8", errors="backslashreplace"))


def write_summary(path: str | Path, outcomes: Sequence[Outcome]) -> None:
    """Write one row per image: image, status, num_cells, seconds, message.

    Rows of a summary that is there stay, unless one of these images has the same output files; a file that was left out
    has no output files, and its row stays until it is segmented. So does the row of an earlier result that was kept.
    What is no Unicode in a file's name is written as in Python, \\udcfc for the byte 0xfc. Processes that write into
    one folder wait for each other, so that none loses the rows of another.
    """
    path = Path(path)
    with _locked(path.parent):
        all_rows = _earlier_rows(path)
        stems = _stems(all_rows)
        all_rows += [
            _row(outcome)
            for outcome in outcomes
            if not (outcome.keeps_result and output_stem(outcome.image).casefold() in stems)
        ]
        taken = {image for image, status, *_ in all_rows if status != "left out"}
        rows = {
            (image if status == "left out" else output_stem(image).casefold(), status == "left out"): row
            for row in all_rows
            for image, status, *_ in [row]
            if status != "left out" or image not in taken
        }
        _write(path, list(rows.values()))


def _row(outcome: Outcome) -> list[str]:
    cells = "" if outcome.num_cells is None else str(outcome.num_cells)
    return [outcome.image, outcome.status, cells, f"{outcome.seconds:.3f}", outcome.message]


def _stems(rows: Sequence[Sequence[str]]) -> set[str]:
    return {output_stem(image).casefold() for image, status, *_ in rows if status != "left out"}


def _write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SUMMARY_COLUMNS)
        writer.writerows(rows)


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline().decode(errors="replace").strip() == ",".join(SUMMARY_COLUMNS)


def _earlier_rows(path: Path) -> list[list[str]]:
    """The rows of a summary, none if there is no file or somebody else's."""
    if not _is_ours(path):
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        _, *rows = csv.reader(file)
    return [row for row in rows if len(row) == len(SUMMARY_COLUMNS)]


def _ends_with_newline(file: io.BufferedRandom) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone among the processes that write the folder's summary; the lock's file stays, hidden and empty."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with file_lock(handle):
            yield
    finally:
        os.close(handle)
