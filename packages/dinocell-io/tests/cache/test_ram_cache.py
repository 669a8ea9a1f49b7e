import pickle
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinocell_io.cache.ram_cache import ENTRY_BYTES, RamCache

KEYS = st.sampled_from("abcdefgh")
STEPS = st.lists(st.tuples(st.sampled_from(["get", "put", "discard"]), KEYS, st.integers(0, 900)), max_size=60)


class PlainLru:
    """The same cache, as slowly and plainly as it can be written."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.entries: OrderedDict[str, bytes] = OrderedDict()

    def used(self) -> int:
        return sum(len(data) + ENTRY_BYTES for data in self.entries.values())

    def get(self, key: str) -> bytes | None:
        if key in self.entries:
            self.entries.move_to_end(key)
        return self.entries.get(key)

    def put(self, key: str, data: bytes) -> bool:
        self.entries.pop(key, None)
        if len(data) + ENTRY_BYTES > self.max_bytes:
            return False
        while self.used() + len(data) + ENTRY_BYTES > self.max_bytes:
            self.entries.popitem(last=False)
        self.entries[key] = data
        return True

    def discard(self, key: str) -> None:
        self.entries.pop(key, None)


@given(steps=STEPS, max_bytes=st.integers(1, 3000))
def test_it_is_an_lru_cache_bounded_in_bytes(steps: list[tuple[str, str, int]], max_bytes: int) -> None:
    cache, plain = RamCache(max_bytes), PlainLru(max_bytes)
    for step, key, size in steps:
        if step == "put":
            data = key.encode() * size
            assert cache.put(key, data) == plain.put(key, data)
        else:
            assert getattr(cache, step)(key) == getattr(plain, step)(key)
        assert cache.used_bytes() == plain.used() <= max_bytes
        assert len(cache) == len(plain.entries)
    assert {key: cache.get(key) for key in plain.entries} == plain.entries


def test_threads_share_a_cache_without_losing_count() -> None:
    cache = RamCache(20 * (100 + ENTRY_BYTES))
    start = threading.Barrier(5)

    def work(seed: int) -> None:
        start.wait()
        for n in range(4000):
            key = str((seed * 7919 + n * 31) % 60)
            found = cache.get(key)
            assert found is None or found == key.encode().ljust(100, b".")
            cache.put(key, key.encode().ljust(100, b"."))
            if n % 50 == 0:
                cache.discard(key)

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(work, range(5)))
    assert cache.used_bytes() == len(cache) * (100 + ENTRY_BYTES) <= cache.max_bytes


def test_clearing_empties_it() -> None:
    cache = RamCache(10_000)
    cache.put("a", b"1")
    cache.clear()
    assert (cache.get("a"), len(cache), cache.used_bytes()) == (None, 0, 0)


def test_another_process_gets_an_empty_cache_of_the_same_size() -> None:
    cache = RamCache(10_000)
    cache.put("a", b"1")
    copied = pickle.loads(pickle.dumps(cache))
    assert (copied.max_bytes, len(copied)) == (10_000, 0)


def test_a_cache_of_no_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 1 or more, or no cache at all"):
        RamCache(0)
