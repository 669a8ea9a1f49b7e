"""A lock that all processes of this machine share through an open file, and that dies with its holder."""

import errno
import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dinocell_io.system.fork_safe import renew_after_fork


def acquire(handle: int, *, wait: bool = True) -> bool:
    """Lock the open file; False if it is held elsewhere and `wait` is off.

    The lock belongs to the opened file: threads that share one handle must exclude each other by other means.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def file_lock(handle: int) -> Iterator[None]:
    """Hold the file's lock while the block lasts; a process that is killed inside gives it up."""
    acquire(handle)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


class LockWarning(UserWarning):
    """A file system has no locks, so other processes are not excluded."""


@contextmanager
def held_alone(path: Path, *, busy: str) -> Iterator[None]:
    """Hold a lock file that no other process may hold meanwhile; ValueError with the text `busy` if one does.

    The file is removed afterwards. One that a killed process left does no harm: the lock died with it. Where the file
    system has no locks a LockWarning says so.
    """
    held = _HeldFile(_opened_alone(path, busy))
    renew_after_fork(held)
    try:
        yield
    finally:
        if held.handle is not None:
            path.unlink(missing_ok=True)
            os.close(held.handle)


class _HeldFile:
    """A locked file. A forked child gives up its part of the lock, which would outlive a parent that is killed."""

    def __init__(self, handle: int) -> None:
        self.handle: int | None = handle

    def after_fork(self) -> None:
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None


def _opened_alone(path: Path, busy: str) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not acquire(handle, wait=False):
                raise ValueError(busy)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                os.close(handle)
                raise
            warnings.warn(
                f"{path.parent} is on a file system without locks: two processes there would disturb each other",
                LockWarning,
                stacklevel=4,
            )
            return handle
        except ValueError:
            os.close(handle)
            raise
        if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            return handle
        os.close(handle)  # the process that held it removed it meanwhile
