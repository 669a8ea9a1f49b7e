"""One file in a store, read by byte ranges, or as a Python file object (RangeReader)."""

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dinocell_io.plural import counted
from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.store import Store
from dinocell_io.stores.uri import local_path
from dinocell_io.system.image_file_error import ImageFileError

# below this size one request for the complete file beats several for its parts (first byte ~50 ms, 10 to 50 MB/s)
WHOLE_FILE_BYTES = 4 << 20
_BLOCK_BYTES = 1 << 18
_MAX_BLOCKS = 32


@dataclass(frozen=True, eq=False)
class StoredFile:
    """A non-empty file: `size` bytes long, under `key` in `store`, at `path` on this machine, or in memory.

    A small file of a store is fetched once, at the first read, and kept as long as this object.
    """

    uri: str
    size: int
    path: Path | None = None
    store: Store | None = None
    key: str = ""
    _whole: list[bytes] = field(default_factory=list, repr=False)

    @property
    def suffix(self) -> str:
        name = self.uri.rstrip("/").rpartition("/")[2]
        return Path(name).suffix.lower()

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes start to stop - 1, or to the end; ValueError if they are not all in the file."""
        end = self.size if stop is None else stop
        if not 0 <= start <= end <= self.size:
            raise ImageFileError(
                f"{self.uri} has {counted(self.size, 'byte')}, but bytes {start} to {end} were needed; it is cut short"
            )
        if start == end:
            return b""
        if self._whole:
            return self._whole[0][start:end]
        if self.path is not None:
            with self.path.open("rb") as file:
                file.seek(start)
                content = file.read(end - start)
            if len(content) != end - start:
                raise ImageFileError(f"{self.uri} became shorter while it was read; read it again")
            return content
        assert self.store is not None
        if self.size > WHOLE_FILE_BYTES:
            return self.store.get_range(self.key, start, end)
        self._whole.append(self.store.get(self.key))
        return self._whole[0][start:end]


def stored_file(uri: str | Path, *, store: Store | None = None) -> StoredFile:
    """The file at a path, a `file://` or `s3://` address, or under the key `uri` of `store`.

    Raises FileNotFoundError if nothing is there, ValueError for a folder, an empty file or an unknown kind of
    address, and StoreError if the store cannot be reached.
    """
    text = str(uri)
    key = text
    if store is None:
        if isinstance(uri, Path) or urlsplit(text).scheme != "s3":
            path = local_path(uri)
            return StoredFile(str(path), path.stat().st_size, path)
        store, key = open_store(text)
    size = store.size(key)
    _check_not_empty(text, size)
    return StoredFile(text, size, None, store, key)


def file_in_memory(name: str, content: bytes) -> StoredFile:
    """A file whose content was fetched already; ValueError if it is empty."""
    _check_not_empty(name, len(content))
    return StoredFile(name, len(content), _whole=[content])


def _check_not_empty(name: str, size: int) -> None:
    if size == 0:
        raise ImageFileError(f"{name} is empty (0 bytes), expected an image; copy or export it again")


class RangeReader(io.RawIOBase):
    """A stored file as a read-only Python file: blocks of 256 KiB are fetched when touched, the last 32 are kept."""

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        if start + offset < 0:
            raise ImageFileError(f"{self._file.uri}: position {start + offset} lies before the file's first byte")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        available = max(0, min(len(view), self._file.size - self._position))
        done = 0
        while done < available:
            number, offset = divmod(self._position + done, _BLOCK_BYTES)
            part = self._block(number)[offset : offset + available - done]
            view[done : done + len(part)] = part
            done += len(part)
        self._position += done
        return done

    def _block(self, number: int) -> bytes:
        with self._lock:
            block = self._blocks.get(number)
            if block is None:
                start = number * _BLOCK_BYTES
                block = self._file.read(start, min(start + _BLOCK_BYTES, self._file.size))
                self._blocks[number] = block
            self._blocks.move_to_end(number)
            while len(self._blocks) > _MAX_BLOCKS:
                self._blocks.popitem(last=False)
            return block
