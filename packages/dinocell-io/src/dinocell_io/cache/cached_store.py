"""A store with two caches before it: this process's memory, then a folder that all processes share."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, fields

from dinocell_io.cache.disk_cache import DiskCache
from dinocell_io.cache.ram_cache import RamCache
from dinocell_io.stores.store import ObjectInfo, Refused, Store
from dinocell_io.system.fork_safe import renew_after_fork


@dataclass
class CacheHits:
    """Where the objects and ranges that this process read came from.

    `ram`, `disk` and `origin` count reads, the fields in bytes their sizes; `joined` counts reads that waited for
    another thread's read of the same object, and `failed` those that raised an error.
    """

    ram: int = 0
    disk: int = 0
    origin: int = 0
    joined: int = 0
    failed: int = 0
    ram_bytes: int = 0
    disk_bytes: int = 0
    origin_bytes: int = 0

    @property
    def reads(self) -> int:
        """All reads that were answered."""
        return self.ram + self.disk + self.origin + self.joined

    def rate(self, tier: str) -> float | None:
        """The share of the answered reads that were of tier "ram", "disk", "origin" or "joined"; None before any."""
        if tier not in ("ram", "disk", "origin", "joined"):
            raise ValueError(f"tier {tier!r} is unknown; choose ram, disk, origin or joined")
        return getattr(self, tier) / self.reads if self.reads else None


class CachedStore:
    """`store` behind a RamCache, a DiskCache, or both; threads that read an object at the same time fetch it once.

    Objects that are read go into both caches. A range is a separate entry, unless the complete object is in memory; so
    cache only ranges that are read again. Cached objects count as unchanged: they are not compared with the store.
    `name` distinguishes objects of several stores; default the store's `uri`, needed if it has none.
    Listings and sizes are not cached. Writing goes to the store and drops the cached object.
    """

    def __init__(
        self, store: Store, *, ram: RamCache | None = None, disk: DiskCache | None = None, name: str | None = None
    ) -> None:
        uri = name or getattr(store, "uri", None)
        if not isinstance(uri, str):
            raise ValueError(
                f"{store!r} has no uri that distinguishes its objects from those of other stores; give the store a name"
            )
        self.store = store
        self.ram = ram
        self.disk = disk
        self.name = uri
        self.hits = CacheHits()
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[bytes]] = {}
        renew_after_fork(self)

    @property
    def uri(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"CachedStore({self.store!r}, ram={self.ram!r}, disk={self.disk!r})"

    def get(self, key: str) -> bytes:
        return self._read(self._entry(key), lambda: self.store.get(key))

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        whole = self.ram.get(self._entry(key)) if self.ram is not None else None
        if whole is not None:
            if not 0 <= start < stop <= len(whole):
                raise Refused(key, f"bytes {start} to {stop} requested of {len(whole)}; expected a range inside them")
            self._count("ram", stop - start)
            return whole[start:stop]
        return self._read(f"{self._entry(key)}\0{start}-{stop}", lambda: self.store.get_range(key, start, stop))

    def size(self, key: str) -> int:
        whole = self.ram.get(self._entry(key)) if self.ram is not None else None
        return self.store.size(key) if whole is None else len(whole)

    def list(self, prefix: str, *, delimiter: str | None = None) -> Iterator[ObjectInfo]:
        return self.store.list(prefix, delimiter=delimiter)

    def put(self, key: str, data: bytes) -> None:
        """Write to the store. Ranges of the old object that are cached stay: clear the cache if there may be some."""
        self.store.put(key, data)
        self.forget(key)

    def forget(self, key: str) -> None:
        """Drop the cached object, so that it is fetched again: its bytes turned out to be damaged, or old."""
        for cache in (self.ram, self.disk):
            if cache is not None:
                cache.discard(self._entry(key))

    def warm(self, key: str) -> bool:
        """Bring the object into the DiskCache, fetching it if needed; False if there is no space for it."""
        if self.disk is None:
            raise ValueError(f"{self!r} has no DiskCache to warm; open it with one")
        entry = self._entry(key)
        return entry in self.disk or self.disk.put(entry, self.store.get(key))

    def _entry(self, key: str) -> str:
        return f"{self.name}/{key}"

    def _read(self, entry: str, fetch: Callable[[], bytes]) -> bytes:
        with self._lock:  # both looks at once: between them another thread could finish, and the object be missed
            found = self.ram.get(entry) if self.ram is not None else None
            under_way = self._under_way.get(entry)
            mine: Future[bytes] = Future()
            if found is None and under_way is None:
                self._under_way[entry] = mine
        if found is not None:
            self._count("ram", len(found))
            return found
        try:
            if under_way is not None:
                data = under_way.result()
                self._count("joined", 0)
                return data
            data = self._fetch(entry, fetch)
        except BaseException as failure:
            mine.set_exception(failure)
            with self._lock:
                self.hits.failed += 1
            raise
        else:
            mine.set_result(data)
            return data
        finally:
            if under_way is None:
                with self._lock:
                    del self._under_way[entry]

    def _fetch(self, entry: str, fetch: Callable[[], bytes]) -> bytes:
        data = self.disk.get(entry) if self.disk is not None else None
        if data is not None:
            self._count("disk", len(data))
        else:
            data = fetch()
            self._count("origin", len(data))
            if self.disk is not None:
                self.disk.put(entry, data)
        if self.ram is not None:
            self.ram.put(entry, data)
        return data

    def _count(self, tier: str, count: int) -> None:
        with self._lock:
            setattr(self.hits, tier, getattr(self.hits, tier) + 1)
            if tier != "joined":
                name = f"{tier}_bytes"
                setattr(self.hits, name, getattr(self.hits, name) + count)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._under_way = {}
        for field in fields(self.hits):
            setattr(self.hits, field.name, 0)

    def __reduce__(self) -> tuple[object, ...]:
        return _reopened, (self.store, self.ram, self.disk, self.name)


def _reopened(store: Store, ram: RamCache | None, disk: DiskCache | None, name: str) -> CachedStore:
    return CachedStore(store, ram=ram, disk=disk, name=name)
