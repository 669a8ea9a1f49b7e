"""How many retries the stores of a process may make together."""

import threading
import time
from collections.abc import Callable
from functools import cache, partial

from dinocell_io.system.fork_safe import renew_after_fork


class RetryBudget:
    """Retries are paid for: each request earns `share` of one, each retry costs one, at most `reserve` are saved.

    In an outage every request fails; with four attempts each, a cluster would send four times its load at a server
    that is already down. With a share of 0.1 it sends at most 1.1 times its load once the reserves of its processes
    are spent. A reserve fills up again within `refill_seconds` without requests too.
    """

    def __init__(self, *, share: float = 0.1, reserve: int = 100, refill_seconds: float = 60.0) -> None:
        if not 0 <= share <= 1 or reserve < 1 or refill_seconds <= 0:
            raise ValueError(
                f"share {share}, reserve {reserve}, refill_seconds {refill_seconds}; expected a share of 0 to 1, "
                "a reserve of 1 or more, and a positive number of seconds"
            )
        self.share = share
        self.reserve = reserve
        self.refill_seconds = refill_seconds
        self._left = float(reserve)
        self._filled = time.monotonic()
        self.after_fork()
        renew_after_fork(self)

    def request(self) -> None:
        """Note a request that is not a retry."""
        with self._lock:
            self._left = min(self.reserve, self._left + self.share)

    def retry(self) -> bool:
        """Pay for one retry; False if there is nothing left to pay with."""
        with self._lock:
            now = time.monotonic()
            self._left = min(self.reserve, self._left + self.reserve * (now - self._filled) / self.refill_seconds)
            self._filled = now
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[[], "RetryBudget"], tuple[()]]:
        # the clock and what is left belong to this process; in another one the reserve is full
        if self is process_budget():
            return process_budget, ()
        return partial(RetryBudget, share=self.share, reserve=self.reserve, refill_seconds=self.refill_seconds), ()


@cache
def process_budget() -> RetryBudget:
    """The budget that all stores of this process share by default."""
    return RetryBudget()
