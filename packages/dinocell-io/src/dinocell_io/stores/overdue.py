"""Ends bodies that pass their deadline, however slowly they drip."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, runtime_checkable

from dinocell_io.stores.retry import Deadline
from dinocell_io.system.fork_safe import renew_after_fork


@runtime_checkable
class Response(Protocol):
    def shutdown(self) -> None:
        """Make the read that waits, and all later ones, end."""
        ...


# how long the thread stays awake for the next body: to wake it costs each one 0.1 ms
_NAP_SECONDS = 1.0


class OverdueBodies:
    """A thread that shuts the sockets of bodies that are overdue.

    A socket's timeout starts again with each byte received, so a body that arrives byte by byte never reaches it. The
    thread starts with the first body, sleeps while none is overdue, and ends with the process.
    """

    def __init__(self) -> None:
        self._watched: dict[int, tuple[Response, Deadline]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._next = float("inf")
        renew_after_fork(self)

    @contextmanager
    def watch(self, response: Response, deadline: Deadline) -> Iterator[None]:
        """Shut `response` when the deadline, which may move, has passed inside the block."""
        with self._changed:
            self._watched[id(response)] = (response, deadline)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="overdue-bodies", daemon=True)
                self._thread.start()
            elif deadline.at < self._next:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._watched.pop(id(response), None)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for key, (response, deadline) in list(self._watched.items()):
                    if deadline.at <= now:
                        del self._watched[key]
                        # it may have ended, and its connection been given back, in this very moment
                        with suppress(ValueError, RuntimeError, OSError):
                            response.shutdown()
                self._next = min((deadline.at for _, deadline in self._watched.values()), default=now + _NAP_SECONDS)
                slept_out = not self._changed.wait(max(0.0, self._next - now))
                if slept_out and not self._watched:
                    self._next = float("inf")
                    self._changed.wait()

    def after_fork(self) -> None:
        self._watched = {}
        self._changed = threading.Condition()
        self._thread = None
        self._next = float("inf")


OVERDUE = OverdueBodies()
