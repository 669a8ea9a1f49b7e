"""Fields that could not be read: written down once, never asked for again."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from .prefetch import FailedField

# what another attempt on another day will not change; network failures are tried again
LASTING_KINDS = frozenset(
    {"missing", "denied", "refused", "corrupt", "damaged", "format", "dtype", "constant", "shape"}
)


def append_quarantine(path: str | Path, failure: FailedField) -> None:
    """Add one line of JSON. Workers and ranks of one machine may write to one file: each line is one write."""
    line = json.dumps(asdict(failure), ensure_ascii=False) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def read_quarantine(path: str | Path) -> tuple[FailedField, ...]:
    """All failures in the file, none if it does not exist; a last line cut by a kill is left out.

    Raises ValueError for a line that is no failure of a field.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return ()
    failures = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last line end was cut
        try:
            failures.append(FailedField(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number} is no failed field ({error}); remove the line or choose another quarantine file"
            ) from error
    return tuple(failures)


def lasting_keys(failures: tuple[FailedField, ...]) -> frozenset[str]:
    """The keys of the fields that will fail again."""
    return frozenset(failure.key for failure in failures if failure.kind in LASTING_KINDS)
