"""Fields that could not be read: recorded once, never requested again."""

import json
import os
from dataclasses import asdict, fields
from pathlib import Path

from dinocell_io.stream.prefetch import FailedField

# what another attempt on another day will not change; network failures are tried again
LASTING_KINDS = frozenset(
    {
        *("missing", "denied", "refused", "corrupt"),
        *("damaged", "format", "dtype", "constant", "shape", "illumination", "pixel_size"),
    }
)

_START = b'{"key": '  # of every line


def append_quarantine(path: str | Path, failure: FailedField) -> None:
    """Add one line of JSON. Workers and ranks of one machine may write to one file: each line is one write.

    After a line that was cut by a kill or a full disk, a new line is begun.
    """
    line = (json.dumps(asdict(failure), ensure_ascii=False) + "\n").encode()
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if os.lseek(handle, 0, os.SEEK_END) > 0:
            os.lseek(handle, -1, os.SEEK_END)
            if os.read(handle, 1) != b"\n":
                line = b"\n" + line
        os.write(handle, line)
    finally:
        os.close(handle)


def read_quarantine(path: str | Path) -> tuple[FailedField, ...]:
    """All failures in the file, none if it does not exist; lines that were cut by a kill or a full disk are left out.

    Raises ValueError for a line that is neither the failure of a field nor the beginning of one.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return ()
    failures = []
    for number, line in enumerate(lines, start=1):
        try:
            failures.append(_checked(FailedField(**json.loads(line))))
        except (ValueError, TypeError) as error:
            if isinstance(error, ValueError) and line[: len(_START)] == _START[: len(line)]:  # cut, or blank
                continue
            raise ValueError(
                f"{path}, line {number} is not a failed field ({error}); remove the line or choose another quarantine "
                "file"
            ) from error
    return tuple(failures)


def _checked(failure: FailedField) -> FailedField:
    wrong = [one.name for one in fields(failure) if type(getattr(failure, one.name)) is not one.type]
    if wrong:
        raise TypeError(f"{', '.join(wrong)} of another type")
    return failure


def lasting_keys(failures: tuple[FailedField, ...]) -> frozenset[str]:
    """The keys of the fields that will fail again."""
    return frozenset(failure.key for failure in failures if failure.kind in LASTING_KINDS)
