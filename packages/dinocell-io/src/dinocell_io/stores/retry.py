"""Trying again: how often, after which waits, for how long, and paid by whom."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dinocell_io.stores.retry_budget import RetryBudget
from dinocell_io.stores.store import Exhausted

Result = TypeVar("Result")


class Transient(Exception):
    """One attempt failed in a way that another may not. Internal: callers see Exhausted."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often one object is tried.

    Before attempt n + 1 a store waits for a random time between 0 and first_wait_seconds * 2^(n-1), at most
    longest_wait_seconds: full jitter, so that a thousand clients that failed together do not come back together.
    One answer may be silent for read_seconds. All attempts together take at most deadline_seconds, and for large
    objects one second more for each slowest_bytes_per_second that they have.
    """

    attempts: int = 4
    first_wait_seconds: float = 0.1
    longest_wait_seconds: float = 5.0
    connect_seconds: float = 3.0
    read_seconds: float = 10.0
    deadline_seconds: float = 30.0
    slowest_bytes_per_second: int = 256 * 1024

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"{self.attempts} attempts; expected 1 or more (1: never try again)")
        times = (self.connect_seconds, self.read_seconds, self.deadline_seconds, self.slowest_bytes_per_second)
        if min(times) <= 0 or min(self.first_wait_seconds, self.longest_wait_seconds) < 0:
            raise ValueError(f"{self}: expected positive limits, and waits of 0 or more")

    def wait_seconds(self, failures: int) -> float:
        """A random wait after this number of failures."""
        longest = min(self.longest_wait_seconds, self.first_wait_seconds * 2 ** (failures - 1))
        return random.uniform(0.0, longest)


class Deadline:
    """The moment at which one object's attempts end; extended for large objects."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._started = time.monotonic()
        self.at = self._started + policy.deadline_seconds

    def allow_bytes(self, count: int) -> None:
        extra = count / self._policy.slowest_bytes_per_second
        self.at = self._started + self._policy.deadline_seconds + extra

    def left(self) -> float:
        """Seconds left, negative when it has passed."""
        return self.at - time.monotonic()


def with_retries(
    attempt: Callable[[Deadline], Result], *, key: str, policy: RetryPolicy, budget: RetryBudget
) -> tuple[Result, int]:
    """Call `attempt` until it gives a result; return it with the number of attempts.

    Only Transient is tried again; every other exception passes at once. Raises Exhausted with the last cause when
    the attempts, the deadline or the budget are used up.
    """
    deadline = Deadline(policy)
    budget.request()
    failures = 0
    while True:
        try:
            return attempt(deadline), failures + 1
        except Transient as failure:
            failures += 1
            cause = str(failure)
        if failures >= policy.attempts:
            raise Exhausted(key, cause, failures)
        wait = policy.wait_seconds(failures)
        if deadline.left() <= wait:
            raise Exhausted(key, f"{cause}; its {policy.deadline_seconds:g} seconds are over", failures)
        if not budget.retry():
            raise Exhausted(key, f"{cause}; no more retries, as too many requests of this process fail", failures)
        time.sleep(wait)
