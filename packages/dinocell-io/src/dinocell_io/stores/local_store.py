"""A folder on this machine as a store."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from dinocell_io.stores.store import AccessDenied, NotFound, ObjectInfo, Refused, StoreError
from dinocell_io.system.atomic import atomic_path

# files that atomic_path is still writing are not objects yet
_UNFINISHED = re.compile(r"\..*\.[0-9a-f]{12}\.partial(\.[^.]*)?")


class LocalStore:
    """The files below `root`, with their paths below it as keys.

    Hidden files count (a Zarr array is described by one). Links are followed for reading, but a listing does not
    enter linked folders, which could lead round in circles. Keys that lead out of `root` by ".." are refused.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(os.path.abspath(root))

    @property
    def uri(self) -> str:
        return self.root.as_uri()

    def __repr__(self) -> str:
        return f"LocalStore({str(self.root)!r})"

    def get(self, key: str) -> bytes:
        path = self._object_path(key)
        try:
            return path.read_bytes()
        except OSError as error:
            raise _failure(error, path) from None

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        path = self._object_path(key)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if 0 <= start < stop <= size:
                    file.seek(start)
                    data = file.read(stop - start)
        except OSError as error:
            raise _failure(error, path) from None
        check_range(str(path), start=start, stop=stop, size=size)
        if len(data) != stop - start:
            raise Refused(str(path), f"the file was cut to {start + len(data)} bytes while it was read; read it again")
        return data

    def size(self, key: str) -> int:
        path = self._object_path(key)
        try:
            if path.is_dir():
                raise IsADirectoryError
            return path.stat().st_size
        except OSError as error:
            raise _failure(error, path) from None

    def list(self, prefix: str, *, delimiter: str | None = None) -> Iterator[ObjectInfo]:
        if delimiter not in (None, "/"):
            raise Refused(prefix, f'the delimiter of a folder is "/", got {delimiter!r}')
        folder, _, start = prefix.rpartition("/")
        path = self._path(folder)
        try:
            if path.is_dir():
                yield from _listing(path, f"{folder}/" if folder else "", start=start, deep=delimiter is None)
        except OSError as error:
            raise _failure(error, Path(error.filename or path)) from None

    def put(self, key: str, data: bytes) -> None:
        path = self._object_path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise _failure(error, path) from None

    def _object_path(self, key: str) -> Path:
        if not key or key.endswith("/"):
            raise Refused(str(self.root / key), f"{key!r} is a folder's key; expected the key of an object")
        return self._path(key)

    def _path(self, key: str) -> Path:
        if {".", ".."} & set(key.split("/")) or key.startswith("/") or "\0" in key:
            raise Refused(key, f"keys are paths below {self.root}, without '.', '..' and a '/' in front")
        return self.root / key


def check_range(key: str, *, start: int, stop: int, size: int) -> None:
    """Raise Refused unless bytes start to stop - 1 are at least one byte, all inside an object of `size` bytes."""
    if not 0 <= start < stop <= size:
        raise Refused(key, f"bytes {start} to {stop} requested of {size}; expected 0 <= start < stop <= {size}")


def _listing(folder: Path, prefix: str, *, start: str, deep: bool) -> Iterator[ObjectInfo]:
    with os.scandir(folder) as entries:
        found = []
        for entry in entries:
            is_folder = entry.is_dir()
            if entry.name.startswith(start) and not _UNFINISHED.fullmatch(entry.name):
                # with its slash a folder sorts where its keys do: "a-b" before "a/b" before "a0"
                found.append((f"{entry.name}/" if is_folder else entry.name, entry))
    found.sort(key=lambda pair: os.fsencode(pair[0]))
    for name, entry in found:
        if not name.endswith("/"):
            try:
                yield ObjectInfo(prefix + name, entry.stat().st_size, None)
            except FileNotFoundError:  # removed since the folder was read, or a link to nothing
                continue
        elif not deep:
            yield ObjectInfo(prefix + name, 0, None)
        elif not entry.is_symlink():
            yield from _listing(folder / entry.name, prefix + name, start="", deep=True)


def _failure(error: OSError, path: Path) -> StoreError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFound(str(path), "there is no such file")
    if isinstance(error, PermissionError):
        return AccessDenied(str(path), "this user may not read or write it; change its permissions")
    if isinstance(error, IsADirectoryError):
        return NotFound(str(path), "this is a folder; expected the key of a file in it")
    return StoreError(str(path), error.strerror or str(error))
