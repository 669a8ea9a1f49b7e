"""The files of a cache folder: which entry is where, and what writers that died have left."""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from dinocell_io.cache.entry import stored_key
from dinocell_io.system.file_lock import acquire


class CacheFiles:
    """Whole entries below `objects`, by a hash of their keys, and those that are being written in `partial`.

    The name of an unfinished file begins with the bytes that were counted for it, and its writer holds its lock.
    """

    def __init__(self, folder: Path) -> None:
        self._objects = folder / "objects"
        self._partial = folder / "partial"

    def make_folders(self) -> None:
        self._objects.mkdir(parents=True, exist_ok=True)
        self._partial.mkdir(exist_ok=True)

    def path(self, key: str) -> Path:
        """Where the entry of a key is, or would be."""
        name = sha256(key.encode()).hexdigest()[:40]
        return self._objects / name[:2] / name[2:]

    def new_partial(self, size: int) -> Path:
        """A name that no other writer has, for a file for which `size` bytes are counted."""
        return self._partial / f"{size}-{os.urandom(8).hex()}"

    def entries(self) -> Iterator[tuple[Path, int]]:
        """Path and bytes of each entry, in no order."""
        for folder in self._objects.iterdir():
            with os.scandir(folder) as entries:
                for entry in entries:
                    try:
                        yield Path(entry.path), entry.stat().st_size
                    except FileNotFoundError:  # dropped by another process
                        continue

    def counted_bytes(self) -> int:
        """The bytes of all entries, and those counted for the files that are being written."""
        unfinished = sum(_counted_bytes(partial) for partial in self._partial.iterdir())
        return unfinished + sum(size for _, size in self.entries())

    def abandoned(self) -> Iterator[tuple[Path, int]]:
        """The unfinished files of writers that are dead (nobody holds their locks), with the bytes counted for them.

        Each is locked by this process until the next one is asked for.
        """
        for partial in list(self._partial.iterdir()):
            handle = os.open(partial, os.O_RDWR)
            try:
                if acquire(handle, wait=False):
                    yield partial, _counted_bytes(partial)
            finally:
                os.close(handle)


def key_in(path: Path) -> str | None:
    """The key of an entry; None if it is damaged, or gone."""
    try:
        with path.open("rb") as file:
            return stored_key(file)
    except FileNotFoundError:
        return None


def _counted_bytes(partial: Path) -> int:
    return int(partial.name.partition("-")[0])
