"""Which files of a folder were used longest ago, by the times that all processes write on them."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path


class UseOrder:
    """The order of use is kept in the files' modification times, so that every process and the next run know it.

    Finding the oldest file of a million by looking at all of them takes seconds. So one look gives a snapshot, from
    which the oldest files are taken one by one. A file used since then has another time than in the snapshot and is
    passed over; a new file is younger than all of it. What is taken is therefore always the oldest, at the price of
    one look for each time that the snapshot is used up.
    """

    def __init__(self, files: Callable[[], Iterable[Path]]) -> None:
        self._files = files
        self._snapshot: list[tuple[int, Path]] = []
        self._lock = threading.Lock()
        self._last_use = 0

    def use(self, path: Path) -> None:
        """Note that the file is used now; two uses in one process never have the same time."""
        with self._lock:
            self._last_use = max(self._last_use + 1, time.time_ns())
            now = self._last_use
        try:
            os.utime(path, ns=(now, now))
        except FileNotFoundError:  # dropped by another process
            return

    def take_oldest(self) -> tuple[Path, int] | None:
        """The file used longest ago, and its size; None if there is none. No other process may drop files meanwhile."""
        for look in (False, True):
            if look:
                found = ((path.stat().st_mtime_ns, path) for path in self._files())
                self._snapshot = sorted(found, reverse=True)
            while self._snapshot:
                used_at, path = self._snapshot.pop()
                try:
                    seen = path.stat()
                except FileNotFoundError:
                    continue
                if seen.st_mtime_ns == used_at:
                    return path, seen.st_size
        return None

    def forget(self) -> None:
        """Drop the snapshot, after files have been removed by other means."""
        self._snapshot = []

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._snapshot = []
