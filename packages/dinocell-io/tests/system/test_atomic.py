"""A file is the old one or the new one, whatever happens in between."""

import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dinocell_io import atomic_folder, atomic_path, read_labels, write_labels


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_after_writing(path: Path) -> None:
    path.write_text("half")
    raise IsADirectoryError


def test_the_file_appears_only_at_the_end_and_alone(tmp_path: Path) -> None:
    final = tmp_path / "result.csv"
    with atomic_path(final) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".csv"
        assert temporary.name.startswith(".")
        temporary.write_text("new")
        assert not final.exists()
    assert final.read_text() == "new"
    assert names_in(tmp_path) == ["result.csv"]


def test_an_exception_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    final = tmp_path / "result.csv"
    final.write_text("old")
    with pytest.raises(IsADirectoryError), atomic_path(final) as temporary:
        fail_after_writing(temporary)
    assert final.read_text() == "old"
    assert names_in(tmp_path) == ["result.csv"]


def test_writing_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing was written"), atomic_path(tmp_path / "a.txt"):
        pass


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match=r"absent does not exist; create it to write a\.txt"),
        atomic_path(tmp_path / "absent" / "a.txt"),
    ):
        pass


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX systems")
def test_permissions_are_the_old_files_or_the_usual_ones(tmp_path: Path) -> None:
    final = tmp_path / "a.txt"
    plain = tmp_path / "b.txt"
    plain.write_text("x")
    with atomic_path(final) as temporary:
        temporary.write_text("1")
    assert final.stat().st_mode == plain.stat().st_mode
    final.chmod(0o640)
    with atomic_path(final) as temporary:
        temporary.write_text("2")
    assert stat.S_IMODE(final.stat().st_mode) == 0o640
    final.chmod(0o440)
    with atomic_path(final) as temporary:
        temporary.write_text("3")
    assert final.read_text() == "3"
    assert stat.S_IMODE(final.stat().st_mode) == 0o440


@contextmanager
def umask(mask: int) -> Iterator[None]:
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


def write_private(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))  # as safetensors does


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX systems")
@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_a_writer_of_private_files_does_not_decide_who_reads_them(tmp_path: Path, mask: int, expected: int) -> None:
    with umask(mask):
        with atomic_path(tmp_path / "a.bin") as temporary:
            write_private(temporary)
        with atomic_folder(tmp_path / "folder") as temporary:
            (temporary / "deep").mkdir()
            write_private(temporary / "deep" / "a.bin")
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == expected
    assert stat.S_IMODE((tmp_path / "folder" / "deep" / "a.bin").stat().st_mode) == expected
    assert names_in(tmp_path) == ["a.bin", "folder"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX systems")
def test_what_a_link_in_a_folder_leads_to_keeps_its_permissions(tmp_path: Path) -> None:
    write_private(tmp_path / "others.bin")
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "link.bin").symlink_to(tmp_path / "others.bin")
    assert stat.S_IMODE((tmp_path / "others.bin").stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need no privilege on POSIX systems")
def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    real, link = tmp_path / "data" / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    with atomic_path(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_a_name_of_the_longest_length_can_be_written(tmp_path: Path) -> None:
    final = tmp_path / ("n" * 251 + ".txt")
    with atomic_path(final) as temporary:
        temporary.write_text("new")
    assert final.read_text() == "new"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    final = tmp_path / "a.txt"
    with atomic_path(final) as one, atomic_path(final) as two:
        one.write_text("one")
        two.write_text("two")
    assert final.read_text() == "one"
    assert names_in(tmp_path) == ["a.txt"]


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    final = tmp_path / "set"
    with atomic_folder(final) as temporary:
        (temporary / "images").mkdir()
        (temporary / "images" / "a.txt").write_text("a")
        assert not final.exists()
    assert (final / "images" / "a.txt").read_text() == "a"
    assert names_in(tmp_path) == ["set"]


def test_a_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), atomic_folder(tmp_path / "set") as temporary:
        fail_after_writing(temporary / "a.txt")
    assert names_in(tmp_path) == []


def test_a_folder_replaces_an_empty_one_and_never_results(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with atomic_folder(tmp_path / "set") as temporary:
        (temporary / "a.txt").write_text("a")
    with pytest.raises(FileExistsError, match="set exists already"), atomic_folder(tmp_path / "set"):
        pass
    assert names_in(tmp_path / "set") == ["a.txt"]


DIES_AT = """
import os, sys
import numpy as np
from dinocell_io import write_labels

def die(*args, **kwargs):
    os.kill(os.getpid(), 9)

step = sys.argv[2]
if step == "write":
    import tifffile
    whole = tifffile.TiffWriter.write
    def half(self, *args, **kwargs):
        self._fh.write(b"x" * 1000)
        die()
    tifffile.TiffWriter.write = half
else:
    setattr(os, step, die)
write_labels(sys.argv[1], np.full((300, 300), 2))
"""


@pytest.mark.skipif(os.name != "posix", reason="kills with a POSIX signal")
@pytest.mark.parametrize("step", ["write", "fsync", "chmod", "replace"])
def test_a_writer_killed_at_a_step_leaves_the_old_labels(tmp_path: Path, step: str) -> None:
    final = tmp_path / "labels.tif"
    write_labels(final, np.full((300, 300), 1))
    final.chmod(0o640)  # a step of its own, where a new file's permissions are others
    dead = subprocess.run([sys.executable, "-c", DIES_AT, str(final), step], check=False, capture_output=True)
    assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()
    assert len(names_in(tmp_path)) == 2, "the kill came before anything was written"
    assert (read_labels(final) == 1).all()


WRITES_FOREVER = """
import sys
import numpy as np
from dinocell_io import write_labels

rng = np.random.default_rng(0)
noise = rng.integers(3, 60000, (400, 400))
noise[0, 0] = 1
write_labels(sys.argv[1], noise)
print("ready", flush=True)
while True:
    noise[0, 0] = 3 - noise[0, 0]
    write_labels(sys.argv[1], noise)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills with a POSIX signal")
def test_a_writer_killed_at_any_moment_leaves_whole_labels(tmp_path: Path) -> None:
    final = tmp_path / "labels.tif"
    expected = np.random.default_rng(0).integers(3, 60000, (400, 400))
    waits = random.Random(0)
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", WRITES_FOREVER, str(final)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(waits.random() * 0.1)
            writer.kill()
        labels = read_labels(final)
        assert labels[0, 0] in (1, 2)
        expected[0, 0] = labels[0, 0]
        np.testing.assert_array_equal(labels, expected)
