"""The disk cache keeps to its quota and policy, and never gives a wrong byte, whatever happens to its files."""

import errno
import os
import pickle
import random
import tempfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinocell_io.cache import disk_cache as disk_cache_module
from dinocell_io.cache.disk_cache import DiskCache
from dinocell_io.cache.entry import entry_bytes

BIG = 1 << 30
KEYS = st.sampled_from("abcdefgh")
STEPS = st.lists(st.tuples(st.sampled_from(["get", "put", "discard"]), KEYS, st.integers(0, 900)), max_size=40)


def size_on_disk(folder: Path) -> int:
    """The bytes of entries and of unfinished files, counted one by one."""
    files = [path for part in ("objects", "partial") for path in (folder / part).rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def entry_file(cache: DiskCache, key: str) -> Path:
    return cache._files.path(key)


class PlainCache:
    """The same cache in memory, as plainly as it can be written."""

    def __init__(self, quota: int, policy: str) -> None:
        self.quota, self.policy = quota, policy
        self.entries: OrderedDict[str, bytes] = OrderedDict()

    def used(self) -> int:
        return sum(entry_bytes(key, len(data)) for key, data in self.entries.items())

    def get(self, key: str) -> bytes | None:
        if key in self.entries:
            self.entries.move_to_end(key)
        return self.entries.get(key)

    def put(self, key: str, data: bytes) -> bool:
        size = entry_bytes(key, len(data))
        if key in self.entries:
            return True
        if size > self.quota or (self.policy == "pin" and self.used() + size > self.quota):
            return False
        while self.used() + size > self.quota:
            self.entries.popitem(last=False)
        self.entries[key] = data
        return True

    def discard(self, key: str) -> None:
        self.entries.pop(key, None)


@pytest.mark.parametrize("policy", ["pin", "lru"])
@settings(max_examples=60, deadline=None)
@given(steps=STEPS, quota=st.integers(1, 3000))
def test_it_is_the_cache_of_its_policy_bounded_in_bytes(
    policy: str, steps: list[tuple[str, str, int]], quota: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache, plain = DiskCache(folder, quota_bytes=quota, policy=policy), PlainCache(quota, policy)
        for step, key, size in steps:
            if step == "put":
                data = key.encode() * size
                assert cache.put(key, data) == plain.put(key, data)
            else:
                assert getattr(cache, step)(key) == getattr(plain, step)(key)
            assert size_on_disk(Path(folder)) == cache.totals().used == plain.used() <= quota
        assert {key: cache.get(key) for key in plain.entries} == plain.entries
        cache.close()


def test_pinned_entries_stay_and_later_ones_are_refused(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, quota_bytes=3 * entry_bytes("0", 100), policy="pin")
    assert [cache.put(str(n), bytes(100)) for n in range(5)] == [True] * 3 + [False] * 2
    assert [cache.get(str(n)) is not None for n in range(5)] == [True] * 3 + [False] * 2
    assert cache.totals().refused == 2


def test_the_least_recently_used_entry_leaves_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, quota_bytes=3 * entry_bytes("0", 100), policy="lru")
    for n in range(3):
        cache.put(str(n), bytes(100))
    cache.get("0")
    cache.put("3", bytes(100))
    cache.put("4", bytes(100))
    assert [cache.get(str(n)) is not None for n in range(5)] == [True, False, False, True, True]
    assert cache.totals().evicted == 2


def test_the_order_of_use_outlives_the_process_that_used(tmp_path: Path) -> None:
    first = DiskCache(tmp_path, quota_bytes=3 * entry_bytes("0", 100), policy="lru")
    for n in range(3):
        first.put(str(n), bytes(100))
    first.get("0")
    second = DiskCache(tmp_path)
    second.put("3", bytes(100))
    assert [second.get(str(n)) is not None for n in range(4)] == [True, False, True, True]


def test_an_object_larger_than_the_cache_is_not_kept_and_drops_nothing(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, quota_bytes=1000, policy="lru")
    cache.put("a", bytes(100))
    assert not cache.put("b", bytes(1000))
    assert cache.get("a") == bytes(100)


def test_an_entry_that_is_here_stays_as_it_is(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, quota_bytes=BIG)
    assert cache.put("a", b"first")
    assert cache.put("a", b"second")
    assert cache.get("a") == b"first"


def test_empty_objects_and_odd_keys_are_kept(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, quota_bytes=BIG, form="compact")
    for key in ("", "../x", "s3://b/plate 1/ü#?%20", "a\0b", "k" * 5000):
        assert cache.put(key, b"")
        assert cache.get(key) == b""
    assert sorted(key for key, _ in cache.contents()) == sorted(
        ["", "../x", "s3://b/plate 1/ü#?%20", "a\0b", "k" * 5000]
    )


@pytest.mark.parametrize("form", ["raw", "compact"])
def test_every_flipped_bit_and_every_cut_is_a_miss(tmp_path: Path, form: str) -> None:
    data = np.arange(60, dtype=np.uint16).tobytes()
    cache = DiskCache(tmp_path, quota_bytes=BIG, form=form)
    cache.put("key", data)
    whole = entry_file(cache, "key").read_bytes()
    damaged = [whole[:cut] for cut in range(len(whole))] + [whole + b"x"]
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << (position % 8)
        damaged.append(bytes(flipped))
    for file in damaged:
        entry_file(cache, "key").write_bytes(file)
        assert cache.get("key") is None
        assert not entry_file(cache, "key").exists()
    assert cache.totals().corrupt == len(damaged)
    entry_file(cache, "key").write_bytes(whole)
    assert cache.get("key") == data


def test_a_damaged_entry_is_replaced_by_the_next_write(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, quota_bytes=BIG)
    cache.put("a", b"right")
    entry_file(cache, "a").write_bytes(b"wrong")
    assert cache.get("a") is None
    assert cache.put("a", b"right")
    assert cache.get("a") == b"right"


def test_the_file_of_another_key_is_never_taken(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, quota_bytes=BIG)
    cache.put("a", b"of a")
    cache.put("b", b"of b")
    os.replace(entry_file(cache, "b"), entry_file(cache, "a"))
    assert cache.get("a") is None


def test_the_compact_form_is_lossless_and_smaller_for_16_bit_images(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).poisson(400, (256, 256)).astype(np.uint16).tobytes()
    compact = DiskCache(tmp_path / "compact", quota_bytes=BIG, form="compact")
    compact.put("a", b"II*\0" + pixels)
    assert compact.get("a") == b"II*\0" + pixels
    assert compact.totals().used < 0.75 * len(pixels)
    incompressible = random.Random(0).randbytes(50_000)
    compact.put("b", incompressible)
    assert compact.get("b") == incompressible


def test_both_forms_live_in_one_folder(tmp_path: Path) -> None:
    raw = DiskCache(tmp_path, quota_bytes=BIG)
    compact = DiskCache(tmp_path, form="compact")
    raw.put("a", bytes(1000))
    compact.put("b", bytes(1000))
    assert raw.get("b") == compact.get("a") == bytes(1000)


def test_a_full_disk_refuses_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(tmp_path, quota_bytes=BIG)
    cache.put("a", b"kept")

    def no_space(handle: int, part: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(disk_cache_module, "_write_all", no_space)
        assert not cache.put("b", bytes(1000))
    assert size_on_disk(tmp_path) == cache.totals().used == entry_bytes("a", 4)
    assert cache.put("b", bytes(1000))


def test_another_error_of_the_disk_is_told_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(tmp_path, quota_bytes=BIG)

    def broken(handle: int, part: bytes) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(disk_cache_module, "_write_all", broken)
    with pytest.raises(OSError, match="Input/output error"):
        cache.put("b", bytes(1000))
    assert size_on_disk(tmp_path) == cache.totals().used == 0


def test_clearing_drops_all_or_what_a_prefix_names(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, quota_bytes=BIG)
    for key in ("s3://b/p1/a", "s3://b/p1/b", "s3://b/p2/a"):
        cache.put(key, bytes(10))
    assert cache.clear("s3://b/p1/") == 2 * entry_bytes("s3://b/p1/a", 10)
    assert [key for key, _ in cache.contents()] == ["s3://b/p2/a"]
    cache.clear()
    assert list(cache.contents()) == []
    assert size_on_disk(tmp_path) == cache.totals().used == 0


def test_hits_and_misses_of_all_processes_are_added_up(tmp_path: Path) -> None:
    first = DiskCache(tmp_path, quota_bytes=BIG)
    first.get("a")
    first.put("a", b"x")
    first.get("a")
    second = DiskCache(tmp_path)
    second.get("a")
    second.close()
    totals = first.totals()
    assert (totals.hits, totals.misses, totals.stored) == (2, 1, 1)


def test_without_a_quota_the_folders_own_settings_hold(tmp_path: Path) -> None:
    DiskCache(tmp_path, quota_bytes=5000, policy="lru")
    again = DiskCache(tmp_path)
    assert (again.quota_bytes, again.policy) == (5000, "lru")
    assert (pickle.loads(pickle.dumps(again)).quota_bytes, again.policy) == (5000, "lru")
    with pytest.raises(FileNotFoundError, match=r"is not a cache; make one with quota_bytes="):
        DiskCache(tmp_path / "objects")


def test_a_smaller_quota_drops_the_oldest_or_is_refused(tmp_path: Path) -> None:
    one = entry_bytes("0", 100)
    cache = DiskCache(tmp_path, quota_bytes=4 * one, policy="lru")
    for n in range(4):
        cache.put(str(n), bytes(100))
    assert DiskCache(tmp_path, quota_bytes=2 * one).totals().used == 2 * one
    assert cache.get("3") is not None
    with pytest.raises(ValueError, match="pinned entries stay; clear it"):
        DiskCache(tmp_path, quota_bytes=one, policy="pin")
    assert cache.totals().quota == 2 * one


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 200])
def test_a_lost_or_torn_ledger_is_counted_anew(tmp_path: Path, damage: bytes) -> None:
    cache = DiskCache(tmp_path, quota_bytes=BIG)
    cache.put("a", bytes(1000))
    (tmp_path / "ledger").write_bytes(damage)
    assert DiskCache(tmp_path, quota_bytes=BIG).totals().used == entry_bytes("a", 1000)


def test_a_torn_ledger_needs_a_quota_and_a_run_keeps_its_own(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, quota_bytes=BIG, policy="lru")
    cache.put("a", bytes(1000))
    (tmp_path / "ledger").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"ledger is damaged; open the cache with quota_bytes=.*--quota"):
        DiskCache(tmp_path)
    assert cache.get("a") == bytes(1000)
    assert (cache.totals().quota, cache.policy) == (BIG, "lru")
    assert DiskCache(tmp_path).get("a") == bytes(1000)


def test_threads_and_two_openers_keep_one_count(tmp_path: Path) -> None:
    quota = 20 * entry_bytes("00", 500)
    caches = [DiskCache(tmp_path, quota_bytes=quota, policy="lru"), DiskCache(tmp_path)]

    def work(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(150):
            key = f"{chosen.randrange(40):02}"
            found = caches[seed % 2].get(key)
            assert found is None or found == key.encode() * 250
            caches[seed % 2].put(key, key.encode() * 250)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert size_on_disk(tmp_path) == caches[0].totals().used <= quota


@pytest.mark.parametrize("wrong", [{"quota_bytes": 0}, {"quota_bytes": 10, "policy": "fifo"}])
def test_impossible_settings_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected 1 or more|choose pin \(never evict\) or lru"):
        DiskCache(tmp_path, **wrong)  # type: ignore[arg-type]
