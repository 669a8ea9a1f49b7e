"""Objects kept in a folder, shared by all processes of a machine, bounded in bytes, and never a wrong byte."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from dinocell_io.cache.entry import Form, encode_entry, entry_bytes, read_entry
from dinocell_io.cache.files import CacheFiles, key_in
from dinocell_io.cache.ledger import CacheLedger, Totals
from dinocell_io.cache.use_order import UseOrder
from dinocell_io.system.file_lock import acquire
from dinocell_io.system.fork_safe import renew_after_fork

POLICIES = ("pin", "lru")
_FULL = (errno.ENOSPC, errno.EDQUOT)


def default_cache_folder() -> Path:
    """$DINOCELL_CACHE, or objects in dinocell's folder among the user's caches."""
    chosen = os.environ.get("DINOCELL_CACHE")
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(caches, "dinocell", "objects")


class DiskCache:
    """Bytes by key in `folder`, at most `quota_bytes`, including files that any process is still writing.

    `policy` "pin" keeps the first objects and refuses others when full; "lru" drops the least recently used. If each
    epoch has a new order, "pin" hits for the share of the data that fits, and "lru" for far less
    (3 % instead of 25 %). `form` "compact" packs 16-bit images without loss, to about half (see `cache_entry`).

    A file is written under a temporary name, locked, and renamed; its checksum is compared at every read. A process
    that is killed at any moment leaves no wrong entry, no lock, and no uncounted bytes. A damaged entry is a miss and
    is removed. Entries are not flushed to the disk: after a power cut some may be damaged, and are misses. They are
    never compared with their source again: objects that change need `discard` or `clear`.

    The folder must be on a disk of this machine; locks of network file systems are not relied on. The last process that
    passes `quota_bytes` sets quota and policy for all. Without `quota_bytes` the folder's own settings apply.
    Raises FileNotFoundError if there is no cache to take them from, ValueError for a quota below 1 or, with "pin",
    below what the folder holds already.
    """

    def __init__(
        self, folder: str | Path, *, quota_bytes: int | None = None, policy: str | None = None, form: Form = "raw"
    ) -> None:
        if quota_bytes is not None and quota_bytes < 1:
            raise ValueError(f"a cache of {quota_bytes} bytes; expected 1 or more")
        if policy not in (None, *POLICIES):
            raise ValueError(f"policy {policy!r} is unknown; choose pin (never evict) or lru")
        self.folder = Path(os.path.abspath(folder))
        self.form = form
        self._files = CacheFiles(self.folder)
        self._order = UseOrder(lambda: (path for path, _ in self._files.entries()))
        self._unsaved = {"hits": 0, "misses": 0}
        self._lock = threading.Lock()
        self._ledger = CacheLedger(self.folder / "ledger", recount=self._files.counted_bytes, quota=quota_bytes)
        if quota_bytes is None and not (self.folder / "ledger").exists():
            raise FileNotFoundError(
                f"{self.folder} is not a cache; make one with quota_bytes=, on the command line 'dinocell cache warm "
                "--quota', or name another folder"
            )
        self._files.make_folders()
        renew_after_fork(self)
        self._settle(quota_bytes, policy)

    def __repr__(self) -> str:
        return f"DiskCache({str(self.folder)!r})"

    def get(self, key: str) -> bytes | None:
        """The object; None if it is not here or its file is damaged."""
        path = self._files.path(key)
        try:
            with path.open("rb") as file:
                data = read_entry(key, file)
        except FileNotFoundError:
            self._count("misses")
            return None
        if data is None:
            self._remove(path, "corrupt")
            self._count("misses")
            return None
        self._count("hits")
        if self.policy == "lru":
            self._order.use(path)
        return data

    def put(self, key: str, data: bytes) -> bool:
        """Keep the object; False if the cache is full (or the disk is). An object that is here stays as it is."""
        path = self._files.path(key)
        if path.exists() or self._is_full_for(len(data)):
            return path.exists()
        parts = encode_entry(key, data, form=self.form)
        size = sum(len(part) for part in parts)
        partial = self._files.new_partial(size)
        handle = self._reserve(path, partial, size)
        if handle is None:
            return path.exists()
        try:
            try:
                for part in parts:
                    _write_all(handle, part)
                if self.policy == "lru":
                    self._order.use(partial)
            except OSError as error:
                self._give_up(partial, size)
                if error.errno in _FULL:
                    return False
                raise
            with self._ledger.change() as totals:
                if path.exists():  # another process was faster
                    partial.unlink()
                    totals.used -= size
                else:
                    path.parent.mkdir(exist_ok=True)
                    os.replace(partial, path)
                    totals.stored += 1
                self._save_counts(totals)
        finally:
            os.close(handle)
        return True

    def __contains__(self, key: str) -> bool:
        """Whether there is an entry, which is looked at only when it is read."""
        return self._files.path(key).exists()

    def discard(self, key: str) -> None:
        """Drop the object if it is here."""
        self._remove(self._files.path(key))

    def clear(self, prefix: str = "") -> int:
        """Drop the objects whose keys start with `prefix`; return the number of bytes freed."""
        freed = 0
        with self._ledger.change() as totals:
            for path, size in self._files.entries():
                if prefix and not (key_in(path) or "").startswith(prefix):
                    continue
                path.unlink(missing_ok=True)
                freed += size
            totals.used -= freed
            self._order.forget()
        return freed

    def totals(self) -> Totals:
        """Bytes and counters of all processes, those of others up to their last write or `close`."""
        with self._ledger.opened() as totals:
            self._save_counts(totals)
            return Totals(**vars(totals))

    @property
    def quota_bytes(self) -> int:
        return self.totals().quota

    def contents(self) -> Iterator[tuple[str, int]]:
        """Key and bytes of each entry, in no order; reads the head of each file."""
        for path, size in self._files.entries():
            key = key_in(path)
            if key is not None:
                yield key, size

    def close(self) -> None:
        """Save the counters. The cache may be used again."""
        with self._ledger.opened() as totals:
            self._save_counts(totals)
        self._ledger.close()

    def _settle(self, quota_bytes: int | None, policy: str | None) -> None:
        with self._ledger.opened() as totals:
            chosen = POLICIES[totals.policy] if policy is None else policy
            if quota_bytes is not None:
                if chosen == "pin" and totals.used > quota_bytes:
                    raise ValueError(
                        f"{self.folder} holds {totals.used} bytes, more than {quota_bytes}, and pinned entries stay; "
                        "clear it (dinocell cache clear), or give it a larger quota"
                    )
                totals.quota = quota_bytes
            self._sweep(totals)
            totals.policy = POLICIES.index(chosen)
            self.policy = chosen
            if totals.used > totals.quota:
                self._evict(totals, totals.used - totals.quota)

    def _is_full_for(self, data_bytes: int) -> bool:
        """Whether not even a packed object would fit; asked before the work of packing it."""
        least = entry_bytes("", data_bytes if self.form == "raw" else data_bytes // 8)
        with self._ledger.opened() as totals:
            self.policy = POLICIES[totals.policy]
            full = least > totals.quota
            if self.policy == "pin" and totals.used + least > totals.quota:
                self._sweep(totals)
                full = totals.used + least > totals.quota
            totals.refused += full
        return full

    def _reserve(self, path: Path, partial: Path, size: int) -> int | None:
        """Count the bytes, then make their file and lock it, so that they are given back if its writer dies."""
        with self._ledger.change() as totals:
            if path.exists():
                return None
            if totals.used + size > totals.quota:
                self._sweep(totals)
            missing = totals.used + size - totals.quota
            if missing > 0 and not (self.policy == "lru" and size <= totals.quota and self._evict(totals, missing)):
                totals.refused += 1
                return None
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
            acquire(handle)
            totals.used += size
        return handle

    def _give_up(self, partial: Path, size: int) -> None:
        with self._ledger.change() as totals:
            partial.unlink()
            totals.used -= size
            totals.refused += 1

    def _evict(self, totals: Totals, missing: int) -> bool:
        """Drop what was used longest ago until `missing` bytes are free; False if there is not so much to drop."""
        while missing > 0:
            oldest = self._order.take_oldest()
            if oldest is None:
                return False
            path, size = oldest
            path.unlink()
            totals.used -= size
            totals.evicted += 1
            missing -= size
        return True

    def _remove(self, path: Path, counter: str | None = None) -> None:
        with self._ledger.change() as totals:
            try:
                size = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                return
            totals.used -= size
            if counter is not None:
                setattr(totals, counter, getattr(totals, counter) + 1)

    def _count(self, counter: str) -> None:
        with self._lock:
            self._unsaved[counter] += 1

    def _save_counts(self, totals: Totals) -> None:
        with self._lock:
            totals.hits += self._unsaved["hits"]
            totals.misses += self._unsaved["misses"]
            self._unsaved = {"hits": 0, "misses": 0}

    def _sweep(self, totals: Totals) -> None:
        """Give back the bytes of writers that are dead."""
        for partial, counted in self._files.abandoned():
            with self._ledger.change():
                partial.unlink()
                totals.used -= counted

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._unsaved = {"hits": 0, "misses": 0}  # the parent saves its own
        self._order.after_fork()
        self._ledger.after_fork()

    def __reduce__(self) -> tuple[type["DiskCache"], tuple[str], dict[str, str]]:
        return DiskCache, (str(self.folder),), {"form": self.form}


def _write_all(handle: int, part: bytes) -> None:
    left = memoryview(part)
    while left:
        left = left[os.write(handle, left) :]
