import math
import pickle
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dinocell_io.cache.cached_store import CachedStore
from dinocell_io.cache.disk_cache import DiskCache
from dinocell_io.cache.entry import entry_bytes
from dinocell_io.cache.ram_cache import ENTRY_BYTES, RamCache
from dinocell_io.stores.local_store import LocalStore
from dinocell_io.stores.store import NotFound, ObjectInfo, Refused, Store

BIG = 1 << 30


class CountingStore:
    """A store in memory that counts what it is asked, and waits at a gate if there is one."""

    uri = "counted://objects"

    def __init__(self, count: int, *, gate: threading.Event | None = None) -> None:
        self.objects = {str(n): str(n).encode().ljust(100, b".") for n in range(count)}
        self.asked: list[str] = []
        self.gate = gate

    def get(self, key: str) -> bytes:
        self.asked.append(key)
        if self.gate is not None:
            assert self.gate.wait(20)
        if key not in self.objects:
            raise NotFound(key, "404")
        return self.objects[key]

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        return self.get(key)[start:stop]

    def size(self, key: str) -> int:
        return len(self.get(key))

    def list(self, prefix: str, *, delimiter: str | None = None) -> Iterator[ObjectInfo]:
        return iter([ObjectInfo(key, len(data), None) for key, data in self.objects.items() if key.startswith(prefix)])

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = data


def test_a_cached_store_is_a_store() -> None:
    assert isinstance(CachedStore(CountingStore(1)), Store)


def test_what_was_read_comes_from_memory_then_from_disk_then_from_the_store(tmp_path: Path) -> None:
    origin = CountingStore(3)
    disk = DiskCache(tmp_path, quota_bytes=BIG)
    first = CachedStore(origin, ram=RamCache(BIG), disk=disk)
    assert [first.get("1"), first.get("1")] == [origin.objects["1"]] * 2
    again = CachedStore(origin, ram=RamCache(BIG), disk=disk)
    assert [again.get("1"), again.get("1")] == [origin.objects["1"]] * 2
    assert origin.asked == ["1"]
    assert (first.hits.origin, first.hits.ram, first.hits.disk) == (1, 1, 0)
    assert (again.hits.origin, again.hits.ram, again.hits.disk) == (0, 1, 1)
    assert (again.hits.rate("disk"), again.hits.rate("origin")) == (0.5, 0.0)
    assert (first.hits.origin_bytes, again.hits.disk_bytes, again.hits.ram_bytes) == (100, 100, 100)


def test_without_caches_every_read_goes_to_the_store() -> None:
    origin = CountingStore(1)
    store = CachedStore(origin)
    assert store.hits.rate("origin") is None
    assert [store.get("0"), store.get("0")] == [origin.objects["0"]] * 2
    assert store.hits.rate("origin") == 1.0
    with pytest.raises(ValueError, match="tier 'tape' is unknown; choose ram, disk, origin or joined"):
        store.hits.rate("tape")


def test_threads_that_ask_at_once_share_one_read() -> None:
    gate = threading.Event()
    origin = CountingStore(1, gate=gate)
    store = CachedStore(origin, ram=RamCache(BIG))
    with ThreadPoolExecutor(8) as threads:
        reads = [threads.submit(store.get, "0") for _ in range(8)]
        while not origin.asked:
            pass
        gate.set()
        assert {read.result() for read in reads} == {origin.objects["0"]}
    assert origin.asked == ["0"]
    assert store.hits.origin == 1
    assert store.hits.joined + store.hits.ram == 7


def test_a_failure_reaches_all_that_wait_and_the_next_read_tries_again() -> None:
    gate = threading.Event()
    origin = CountingStore(0, gate=gate)
    store = CachedStore(origin, ram=RamCache(BIG))
    with ThreadPoolExecutor(4) as threads:
        reads = [threads.submit(store.get, "0") for _ in range(4)]
        while not origin.asked:
            pass
        gate.set()
        for read in reads:
            with pytest.raises(NotFound):
                read.result()
    assert store.hits.failed == 4
    origin.put("0", b"now it is here")
    assert store.get("0") == b"now it is here"


def test_many_threads_over_both_tiers_read_right(tmp_path: Path) -> None:
    origin = CountingStore(30)
    disk = DiskCache(tmp_path, quota_bytes=12 * entry_bytes("counted://objects/00", 100), policy="lru")
    store = CachedStore(origin, ram=RamCache(6 * (100 + ENTRY_BYTES)), disk=disk)

    def work(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(200):
            key = str(chosen.randrange(30))
            assert store.get(key) == origin.objects[key]

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert store.hits.reads == 1200
    assert store.hits.origin == len(origin.asked)
    assert min(store.hits.ram, store.hits.disk, store.hits.origin) > 0


def test_ranges_are_cached_and_come_from_a_whole_object_in_memory(tmp_path: Path) -> None:
    origin = CountingStore(1)
    store = CachedStore(origin, ram=RamCache(BIG), disk=DiskCache(tmp_path, quota_bytes=BIG))
    data = origin.objects["0"]
    assert [store.get_range("0", 2, 9), store.get_range("0", 2, 9), store.get_range("0", 2, 8)] == [
        data[2:9],
        data[2:9],
        data[2:8],
    ]
    assert len(origin.asked) == 2
    store.get("0")
    assert store.get_range("0", 50, 70) == data[50:70]
    assert store.size("0") == 100
    assert len(origin.asked) == 3
    with pytest.raises(Refused, match="bytes 50 to 101 requested of 100"):
        store.get_range("0", 50, 101)


def test_a_written_object_replaces_the_cached_one(tmp_path: Path) -> None:
    origin = CountingStore(1)
    store = CachedStore(origin, ram=RamCache(BIG), disk=DiskCache(tmp_path, quota_bytes=BIG))
    store.get("0")
    store.put("0", b"new")
    assert store.get("0") == origin.objects["0"] == b"new"


def test_two_stores_with_one_cache_keep_their_objects_apart(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "cache", quota_bytes=BIG)
    stores = []
    for name in ("a", "b"):
        LocalStore(tmp_path / name).put("same key", name.encode())
        stores.append(CachedStore(LocalStore(tmp_path / name), disk=disk))
    assert [store.get("same key") for store in stores * 2] == [b"a", b"b", b"a", b"b"]


def test_a_store_without_a_uri_needs_a_name() -> None:
    class Nameless(CountingStore):
        uri = None  # type: ignore[assignment]

    with pytest.raises(ValueError, match="give the store a name"):
        CachedStore(Nameless(1))
    assert CachedStore(Nameless(1), name="named").get("0")


def test_it_passes_to_another_process_with_its_folder_and_an_empty_memory(tmp_path: Path) -> None:
    LocalStore(tmp_path / "objects").put("0", b"data")
    store = CachedStore(
        LocalStore(tmp_path / "objects"), ram=RamCache(BIG), disk=DiskCache(tmp_path / "c", quota_bytes=BIG)
    )
    store.get("0")
    copied = pickle.loads(pickle.dumps(store))
    assert copied.get("0") == b"data"
    assert (copied.hits.disk, copied.hits.ram) == (1, 0)


@pytest.mark.parametrize("share", [0.5])
def test_hit_rates_under_shuffled_epochs_are_those_of_the_formulas(tmp_path: Path, share: float) -> None:
    """Never-evict hits for the share that fits; LRU for a + (1 - a) ln(1 - a) of it, under a new order each epoch."""
    count, epochs = 250, 3
    origin = CountingStore(count)
    quota = int(share * count) * entry_bytes("counted://objects/000", 100)
    expected = {"pin": share, "lru": share + (1 - share) * math.log(1 - share)}
    for policy, formula in expected.items():
        store = CachedStore(origin, disk=DiskCache(tmp_path / policy, quota_bytes=quota, policy=policy))
        order = random.Random(0)
        hits = []
        for _ in range(epochs):
            before = store.hits.disk
            for n in order.sample(range(count), count):
                store.get(str(n))
            hits.append((store.hits.disk - before) / count)
        assert hits[0] == 0.0  # an epoch that has seen nothing hits nothing
        assert sum(hits[1:]) / (epochs - 1) == pytest.approx(formula, abs=0.05)
