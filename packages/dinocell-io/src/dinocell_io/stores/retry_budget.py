"""How many retries all processes of a machine may make together."""

import os
import struct
import tempfile
import threading
import time
from pathlib import Path

from dinocell_io.system.file_lock import file_lock
from dinocell_io.system.fork_safe import renew_after_fork

_STATE = struct.Struct("<dd")  # retries left, time of the last change


class RetryBudget:
    """Retries are paid for: each request earns `share` of one, each retry costs one, at most `reserve` are saved.

    In an outage every request fails; with four attempts each, a cluster would send four times its load at a server
    that is already down. With a share of 0.1 it sends at most 1.1 times its load once the reserve is spent. The
    reserve fills up again within `refill_seconds` without requests too.

    With a `path`, the budget is one for all processes that name the same file (16 bytes, locked for each retry and
    each ten requests or so). Without, it is this process's own.
    """

    def __init__(
        self, *, share: float = 0.1, reserve: int = 100, refill_seconds: float = 60.0, path: str | Path | None = None
    ) -> None:
        if not 0 <= share <= 1 or reserve < 1 or refill_seconds <= 0:
            raise ValueError(
                f"share {share}, reserve {reserve}, refill_seconds {refill_seconds}; expected a share of 0 to 1, "
                "a reserve of 1 or more, and a positive number of seconds"
            )
        self.share = share
        self.reserve = reserve
        self.refill_seconds = refill_seconds
        self.path = None if path is None else Path(path)
        self._left = float(reserve)
        self._earned = 0.0
        self._changed = time.time()
        self._handle: int | None = None
        self._lock = threading.Lock()
        renew_after_fork(self)

    @classmethod
    def of_node(cls) -> "RetryBudget":
        """The budget that all processes of this user on this machine share by default.

        Where no file can be made for it (a system that is read-only), it is this process's own.
        """
        folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        user = os.getuid() if hasattr(os, "getuid") else 0
        budget = cls(path=Path(folder, f"dinocell-retries-{user}"))
        try:
            budget._opened()
        except OSError:
            return cls()
        return budget

    def request(self) -> None:
        """Note a request that is not a retry."""
        with self._lock:
            self._earned += self.share
            if self._earned >= 1.0:
                self._pay(0.0)

    def retry(self) -> bool:
        """Pay for one retry; False if there is nothing left to pay with."""
        with self._lock:
            return self._pay(1.0)

    def _pay(self, cost: float) -> bool:
        if self.path is None:
            self._left, allowed = self._after(cost, left=self._left, changed=self._changed)
            self._changed = time.time()
            return allowed
        handle = self._opened()
        with file_lock(handle):
            os.lseek(handle, 0, os.SEEK_SET)
            kept = os.read(handle, _STATE.size)
            left, changed = _STATE.unpack(kept) if len(kept) == _STATE.size else (float(self.reserve), 0.0)
            left, allowed = self._after(cost, left=left, changed=changed)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, _STATE.pack(left, time.time()))
        return allowed

    def _after(self, cost: float, *, left: float, changed: float) -> tuple[float, bool]:
        """What is left after what was earned, what time brought and the cost; and whether that could be paid."""
        brought = self.reserve * max(0.0, time.time() - changed) / self.refill_seconds
        left = min(float(self.reserve), max(0.0, left) + brought + self._earned)
        self._earned = 0.0
        return (left - cost, True) if left >= cost else (left, False)

    def _opened(self) -> int:
        if self._handle is None:
            assert self.path is not None
            # in a folder that others may write to, a link could lead anywhere
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
            self._handle = os.open(self.path, flags, 0o600)
        return self._handle

    def after_fork(self) -> None:
        # a lock belongs to the open file, which the parent and this child still share: the child opens its own
        self._lock = threading.Lock()
        self._close()

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"} | {"_handle": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        renew_after_fork(self)

    def __del__(self) -> None:
        if "_handle" in self.__dict__:
            self._close()
