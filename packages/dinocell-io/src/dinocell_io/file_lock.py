"""A lock that all processes of this machine share through an open file, and that dies with its holder."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

if sys.platform == "win32":
    import msvcrt

    def acquire(handle: int, *, wait: bool = True) -> bool:
        """Lock the open file; False if it is held elsewhere and `wait` is off."""
        os.lseek(handle, 0, os.SEEK_SET)
        while True:
            try:
                msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
            else:
                return True

    def release(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def acquire(handle: int, *, wait: bool = True) -> bool:
        """Lock the open file; False if it is held elsewhere and `wait` is off.

        The lock belongs to the opened file: threads that share one handle must exclude each other by other means.
        """
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


@contextmanager
def file_lock(handle: int) -> Iterator[None]:
    """Hold the file's lock while the block lasts; a process that is killed inside gives it up."""
    acquire(handle)
    try:
        yield
    finally:
        release(handle)
