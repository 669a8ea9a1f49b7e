"""Files of lines that a run appends to: each line is complete or absent."""

import errno
import os
import warnings
from pathlib import Path
from types import TracebackType


class LogWarning(UserWarning):
    """Lines of a log could not be written; training continues."""


class LineFile:
    """A text file that lines are appended to; the operating system has the line when `append` returns.

    A line that does not fit on the disk leaves nothing behind, so the file stays readable, and the first of several
    gives a LogWarning. Raises OSError if the file cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = self.path.open("ab", buffering=0)
        self._is_full = False

    def __enter__(self) -> "LineFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def append(self, line: str) -> None:
        """Append a line; `line` must not hold a line break."""
        data = f"{line}\n".encode()
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(data) < len(data):  # the part that fitted
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._file.truncate(end)
            if not self._is_full:
                warnings.warn(
                    f"lines of {self.path} are lost ({error.strerror}) until there is room; training continues",
                    LogWarning,
                    stacklevel=3,
                )
            self._is_full = True
        else:
            self._is_full = False

    def close(self) -> None:
        """Nothing can be added afterwards."""
        self._file.close()
