"""How a store's requests went."""

import threading

from dinocell_io.system.fork_safe import renew_after_fork


class StoreCounts:
    """Requests, and the attempts beyond the first that they took; per process, from the start or the last fork."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def note(self, attempts: int) -> None:
        with self._lock:
            self.requests += 1
            self.retries += attempts - 1

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self.requests = 0
        self.retries = 0

    def __reduce__(self) -> tuple[type["StoreCounts"], tuple[()]]:
        return StoreCounts, ()
