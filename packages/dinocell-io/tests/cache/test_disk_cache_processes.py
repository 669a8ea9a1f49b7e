"""Processes that share a disk cache, under any order of their steps: bytes bounded and counted, none wrong."""

import os
import subprocess
import sys

import pytest

# One fresh interpreter forks the processes: no threads run in it. hypothesis chooses what each of them does.
PROGRAM = """
import os, sys, tempfile
from pathlib import Path
from hypothesis import given, settings, strategies as st
from dinocell_io.cache.disk_cache import DiskCache

STEPS = st.lists(st.tuples(st.sampled_from(["get", "put", "put", "discard"]), st.integers(0, 7)), max_size=25)

def content(n):
    return bytes([n]) * (100 + 90 * n)

def run(folder, steps):
    cache = DiskCache(folder)
    for step, n in steps:
        if step == "put":
            cache.put(str(n), content(n))
        elif step == "discard":
            cache.discard(str(n))
        else:
            found = cache.get(str(n))
            assert found is None or found == content(n), "a wrong byte"
    cache.close()

def in_a_process(folder, steps):
    child = os.fork()
    if child == 0:
        try:
            run(folder, steps)
            os._exit(0)
        finally:
            os._exit(1)
    return child

@settings(max_examples=int(sys.argv[1]), deadline=None, database=None, derandomize=True)
@given(st.lists(STEPS, min_size=3, max_size=3), st.integers(600, 4000), st.sampled_from(["pin", "lru"]))
def check(parts, quota, policy):
    with tempfile.TemporaryDirectory() as folder:
        cache = DiskCache(folder, quota_bytes=quota, policy=policy)
        children = [in_a_process(folder, steps) for steps in parts]
        assert all(os.waitpid(child, 0)[1] == 0 for child in children), "a process failed"
        files = [p for part in ("objects", "partial") for p in Path(folder, part).rglob("*") if p.is_file()]
        totals = cache.totals()
        assert sum(p.stat().st_size for p in files) == totals.used <= quota, "bytes out of the count, or too many"
        assert totals.hits + totals.misses == sum(step == "get" for steps in parts for step, _ in steps), "a lost count"
        kept = [n for n in range(8) if cache.get(str(n)) is not None]
        assert all(cache.get(str(n)) == content(n) for n in kept), "a wrong byte"
        assert len(kept) == len(files), "a file that no key finds"
        if policy == "pin":
            assert totals.evicted == 0, "a pinned entry left"
        cache.close()

check()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_processes_that_share_a_cache_keep_its_promises() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, "30"], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
