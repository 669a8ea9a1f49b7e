"""Processes killed at any moment of a write: no wrong byte, no lock, no byte beyond the quota or out of the count."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# One fresh interpreter forks the victims: no threads run in it, and a victim lives some milliseconds.
KILLER = """
import itertools, os, random, signal, sys, time
from pathlib import Path
from dinocell_io.cache.disk_cache import DiskCache

folder, policy, kills = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
quota = 400_000
chosen = random.Random(7)

def content(n):
    return bytes([n]) * (2000 + 1777 * n)  # 2 to 70 kB

def on_disk():
    return sum(p.stat().st_size for part in ("objects", "partial") for p in (folder / part).rglob("*") if p.is_file())

def victim(seed, busy):
    chosen = random.Random(seed)
    cache = DiskCache(folder, form=chosen.choice(["raw", "compact"]))
    for step in itertools.count():
        if step == 4:
            os.write(busy, b".")
        n = chosen.randrange(40)
        found = cache.get(str(n))
        assert found is None or found == content(n), "a wrong byte"
        cache.put(str(n), content(n))
        if chosen.random() < 0.2:
            cache.discard(str(n))

cache = DiskCache(folder, quota_bytes=quota, policy=policy)
cut = 0
for kill in range(kills):
    children = []
    running, busy = os.pipe()
    for twin in range(2):
        child = os.fork()
        if child == 0:
            try:
                victim(1000 * kill + twin, busy)
            finally:
                os._exit(3)
        children.append(child)
    if kill % 2:  # else they may be killed while they open the folder
        os.read(running, 1)
    time.sleep(chosen.uniform(0.0, 0.02))
    os.close(running), os.close(busy)
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "a victim failed by itself"
    cut += any((folder / "partial").iterdir())
    assert on_disk() <= quota, "more bytes than the quota"
    if kill % 10 == 0:
        for n in range(40):
            found = cache.get(str(n))
            assert found is None or found == content(n), "a wrong byte"
again = DiskCache(folder)
assert not any((folder / "partial").iterdir()), "an unfinished file was left"
assert on_disk() == again.totals().used, "bytes out of the count"
assert again.totals().corrupt == 0
assert again.totals().stored > kills / 2, "the victims hardly wrote"
print(cut)
"""


def killed(folder: Path, policy: str, kills: int) -> int:
    """How many of the kills left an unfinished file."""
    command = [sys.executable, "-W", "error", "-c", KILLER, str(folder), policy, str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.mark.parametrize("policy", ["pin", "lru"])
def test_writers_killed_at_random_moments_harm_nothing(tmp_path: Path, policy: str) -> None:
    killed(tmp_path, policy, 12)


@pytest.mark.slow
def test_two_hundred_kills_and_some_hit_a_write(tmp_path: Path) -> None:
    assert killed(tmp_path, "lru", 200) > 0
