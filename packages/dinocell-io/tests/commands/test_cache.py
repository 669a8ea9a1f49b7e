import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dinocell_io.cache.cached_store import CachedStore
from dinocell_io.cache.disk_cache import DiskCache
from dinocell_io.commands.cache import app
from dinocell_io.stores.local_store import LocalStore
from dinocell_io.stores.open_store import open_store
from dinocell_io.system.byte_sizes import format_bytes, parse_bytes
from dinocell_io.testing import Fault, ObjectServer


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DINOCELL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    objects = {f"plate/{n}.tif": bytes([n]) * 1000 for n in range(12)} | {"plate/index.xml": b"<x/>"}
    with ObjectServer(objects) as server:
        yield server


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def warm(server: ObjectServer, *words: str) -> Result:
    return run("warm", "s3://bucket/plate/", "--unsigned", "--endpoint", server.endpoint, *words)


def test_warm_fetches_what_a_stream_then_finds(server: ObjectServer, folder: Path) -> None:
    result = warm(server, "--quota", "1MB", "--suffix", ".tif", "--jobs", "3")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"12 objects now in {folder}: 13")
    store, _ = open_store("s3://bucket/plate/", endpoint=server.endpoint, unsigned=True)
    cached = CachedStore(store, disk=DiskCache(folder))
    asked = len(server.requests)
    assert cached.get("plate/7.tif") == bytes([7]) * 1000
    assert len(server.requests) == asked
    assert warm(server, "--suffix", ".tif").stdout.startswith("12 objects")
    assert len(server.requests) == asked + 1  # the listing


def test_warm_stops_when_the_cache_is_full(server: ObjectServer) -> None:
    result = warm(server, "--quota", "3kB", "--jobs", "1")
    assert result.exit_code == 0
    assert "the cache is full; the rest was not fetched" in result.stdout
    assert len(server.requests) < 12


def test_warm_goes_on_after_a_failure_and_says_so(server: ObjectServer) -> None:
    server.always_fail("plate/3.tif", Fault.DENIED)
    result = warm(server, "--quota", "1MB")
    assert result.exit_code == 1
    assert "12 objects now in" in result.stdout
    assert "failed: s3://bucket/plate/3.tif: 403 AccessDenied" in result.stderr


def test_warm_of_nothing_is_an_error(server: ObjectServer) -> None:
    result = warm(server, "--quota", "1MB", "--suffix", ".nd2")
    assert result.exit_code == 1
    assert "has no objects with that ending" in result.stderr


def test_a_folder_without_files_is_named_as_an_address() -> None:
    result = run("warm", "/nowhere/at/all/", "--quota", "1MB")
    assert result.exit_code == 1
    assert "error: file:///nowhere/at/all/ has no objects" in result.stderr


def test_a_bucket_that_cannot_be_listed_ends_with_exit_code_1(server: ObjectServer) -> None:
    result = run("warm", "s3://other/plate/", "--unsigned", "--endpoint", server.endpoint, "--quota", "1MB")
    assert result.exit_code == 1
    assert "error: s3://other/plate/: 404 NoSuchBucket" in result.stderr


def test_a_new_cache_needs_a_quota(server: ObjectServer) -> None:
    result = warm(server)
    assert result.exit_code == 2
    assert re.search(r"^error: .* is not a cache; make one with .*'dinocell cache warm --quota'", result.stderr)


def test_a_quota_that_is_no_size_is_refused(server: ObjectServer) -> None:
    assert "'much' is not a size; expected a number with a unit" in warm(server, "--quota", "much").stderr


def test_stats_tell_how_full_and_how_often_hit(tmp_path: Path, folder: Path) -> None:
    LocalStore(tmp_path / "objects").put("a", bytes(1000))
    cached = CachedStore(LocalStore(tmp_path / "objects"), disk=DiskCache(folder, quota_bytes=10_000, policy="lru"))
    for _ in range(4):
        cached.get("a")
    assert cached.disk is not None
    cached.disk.close()
    lines = dict(line.split(None, 1) for line in run("stats").stdout.splitlines())
    assert lines["folder"] == str(folder)
    assert lines["used"].startswith("1.")
    assert "kB of 10 kB (1" in lines["used"]
    assert lines["entries"] == "1"
    assert lines["policy"].startswith("lru")
    assert lines["hits"] == "3 (75.0% of 4 reads)"
    assert lines["stored"] == "1, evicted 0, refused 0"


def test_clear_frees_all_or_a_prefix(server: ObjectServer, folder: Path) -> None:
    warm(server, "--quota", "1MB")
    cache = DiskCache(folder)
    prefix = next(key for key, _ in cache.contents() if key.endswith("/1.tif")).removesuffix(".tif")
    assert run("clear", "--prefix", prefix).stdout.startswith("3.")  # 1, 10 and 11
    assert sum(1 for _ in cache.contents()) == 10
    assert "kB freed" in run("clear").stdout
    assert list(cache.contents()) == []


def test_where_there_is_no_cache_the_user_is_told(tmp_path: Path) -> None:
    for command in ("stats", "clear"):
        result = run(command, "--folder", str(tmp_path / "none"))
        assert result.exit_code == 2
        assert "make one with 'dinocell cache warm URI --quota 500GB', or name one with --folder" in result.stderr
        assert result.stderr.startswith(f"error: {tmp_path / 'none'} is not a cache; ")
        assert "quota_bytes" not in result.stderr


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2000", 2000),
        ("500GB", 500 * 10**9),
        ("1.5 TB", 1_500_000_000_000),
        ("64MiB", 64 << 20),
        ("3k", 3000),
        ("7b", 7),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-5GB", "5 PB", "1e9", "5 G B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1234, "1.23 kB"), (999_600, "1 MB"), (5 * 10**13, "50 TB")],
)
def test_sizes_are_shown_with_three_digits(count: int, text: str) -> None:
    assert format_bytes(count) == text
