"""Objects kept in this process's memory, the least recently used leaving first."""

import threading

from cachetools import LRUCache

from dinocell_io.system.fork_safe import renew_after_fork

ENTRY_BYTES = 256  # what one entry takes besides its data: key, links, headers


class RamCache:
    """Bytes by key, at most `max_bytes` of them (each entry counts its data and 256 bytes), least recently used out.

    May be used from several threads: cachetools alone loses count and raises KeyError there. An object larger than
    the whole cache is not kept. A forked child starts empty, so that its memory is not the parent's twice.
    Raises ValueError if `max_bytes` is not positive.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 1:
            raise ValueError(f"a cache of {max_bytes} bytes; expected 1 or more, or no cache at all (None)")
        self.max_bytes = max_bytes
        self._entries = self._empty()
        self._lock = threading.Lock()
        renew_after_fork(self)

    def get(self, key: str) -> bytes | None:
        """The object, now the most recently used one; None if it is not here."""
        with self._lock:
            return self._entries.get(key)

    def put(self, key: str, data: bytes) -> bool:
        """Keep the object; False if it is larger than the cache."""
        if len(data) + ENTRY_BYTES > self.max_bytes:
            self.discard(key)
            return False
        with self._lock:
            self._entries[key] = data
        return True

    def discard(self, key: str) -> None:
        """Drop the object if it is here."""
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def used_bytes(self) -> int:
        with self._lock:
            return int(self._entries.currsize)

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def after_fork(self) -> None:
        self._entries = self._empty()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["RamCache"], tuple[int]]:
        return RamCache, (self.max_bytes,)

    def _empty(self) -> "LRUCache[str, bytes]":
        return LRUCache(self.max_bytes, getsizeof=lambda data: len(data) + ENTRY_BYTES)
