"""Objects with locks, threads or connections that a forked child has to create again."""

import os
from collections.abc import Callable
from typing import Protocol, runtime_checkable
from weakref import WeakSet


@runtime_checkable
class Forkable(Protocol):
    def after_fork(self) -> None:
        """Drop locks, threads and connections of the parent: in the child they are dead or shared."""
        ...


_KEPT: WeakSet[Forkable] = WeakSet()
_CALLED: list[Callable[[], None]] = []


def renew_after_fork(kept: Forkable) -> None:
    """Call `kept.after_fork()` in every process forked from this one, for as long as `kept` lives.

    A lock that another thread held at the fork stays held in the child, and a socket would be written by both.
    """
    _KEPT.add(kept)


def call_after_fork(forget: Callable[[], None]) -> None:
    """Call `forget()` in every process forked from this one: for what a module keeps."""
    _CALLED.append(forget)


def _renew_all() -> None:
    for forget in _CALLED:
        forget()
    for kept in list(_KEPT):
        kept.after_fork()


if hasattr(os, "register_at_fork"):  # other systems do not fork
    os.register_at_fork(after_in_child=_renew_all)
