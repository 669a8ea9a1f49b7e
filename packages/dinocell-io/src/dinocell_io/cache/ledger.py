"""How many bytes a cache folder holds, known to all its processes without counting the files."""

import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from dinocell_io.system.file_lock import file_lock

COUNTERS = ("hits", "misses", "stored", "refused", "evicted", "corrupt")
_STATE = struct.Struct("<8sqqqq6qI")
_MAGIC = b"DINOLEDG"


@dataclass
class Totals:
    """What the ledger holds. `policy` is 0 for never-evict and 1 for LRU; the counters are of all processes so far."""

    quota: int
    policy: int
    used: int
    changing: int = 0
    hits: int = 0
    misses: int = 0
    stored: int = 0
    refused: int = 0
    evicted: int = 0
    corrupt: int = 0


class CacheLedger:
    """The file `ledger` of a cache folder, changed only under its lock.

    A process may be killed in the middle of a change: `changing` is set before the folder is touched and cleared
    after, so a process that finds it set counts the folder again (`recount`). A torn or missing ledger is also counted
    again, with the quota and policy that this process read last, or with `quota`. The lock of a killed process is free
    at once.
    """

    def __init__(self, path: Path, *, recount: Callable[[], int], quota: int | None = None) -> None:
        self._path = path
        self._recount = recount
        self._lock = threading.RLock()
        self._handle: int | None = None
        self._held: Totals | None = None
        self._known = None if quota is None else (quota, 0)  # quota and policy as last read

    @contextmanager
    def opened(self) -> Iterator[Totals]:
        """The totals, locked, to be changed in place and written at the end; may be nested in one thread.

        Raises FileNotFoundError if there is no ledger and no known quota to begin one with, and ValueError if the
        ledger is torn and no quota is known.
        """
        with self._lock:
            if self._held is not None:
                yield self._held
                return
            handle = self._open(create=self._known is not None)
            with file_lock(handle):
                self._held = self._read(handle)
                try:
                    yield self._held
                finally:
                    # after an exception the folder and the numbers may differ: `changing` stays as the block left it
                    self._write(handle, self._held)
                    self._held = None

    @contextmanager
    def change(self) -> Iterator[Totals]:
        """Totals for a block that also changes the folder; if it is killed inside, the next process counts again.

        Nested in another change it is part of that one.
        """
        with self.opened() as totals:
            if totals.changing:
                yield totals
                return
            totals.changing = 1
            assert self._handle is not None
            self._write(self._handle, totals)
            yield totals
            totals.changing = 0

    def _read(self, handle: int) -> Totals:
        os.lseek(handle, 0, os.SEEK_SET)
        kept = os.read(handle, _STATE.size)
        if len(kept) == _STATE.size and kept[:8] == _MAGIC and _checksum(kept[:-4]) == _STATE.unpack(kept)[-1]:
            totals = Totals(*_STATE.unpack(kept)[1:-1])
        elif self._known is not None:
            totals = Totals(*self._known, used=0, changing=1)
        else:
            raise ValueError(
                f"{self._path} is damaged; open the cache with quota_bytes=, on the command line 'dinocell cache warm "
                "--quota', to count its entries again"
            )
        self._known = totals.quota, totals.policy
        if not totals.changing:
            return totals
        totals.used, totals.changing = self._recount(), 0
        return totals

    def _write(self, handle: int, totals: Totals) -> None:
        values = [getattr(totals, field.name) for field in fields(totals)]
        packed = _STATE.pack(_MAGIC, *values, 0)[:-4]
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, packed + struct.pack("<I", _checksum(packed)))

    def _open(self, *, create: bool) -> int:
        if self._handle is None:
            flags = os.O_RDWR | (os.O_CREAT if create else 0) | getattr(os, "O_BINARY", 0)
            self._handle = os.open(self._path, flags, 0o666)
        return self._handle

    def close(self) -> None:
        """Close the file; it opens again by itself. Also for a forked child, whose file is its parent's."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __del__(self) -> None:
        if "_handle" in self.__dict__:
            self.close()

    def after_fork(self) -> None:
        self._lock = threading.RLock()
        self._held = None
        self.close()


def _checksum(data: bytes) -> int:
    return zlib.crc32(data)
