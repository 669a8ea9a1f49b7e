import os
import stat
from pathlib import Path

import pytest

from dinocell_core.atomic_file import atomic_path, not_written


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def owners_file(path: Path, content: str) -> None:
    """What safetensors does: another file that only its owner may read takes the path's place."""
    other = path.with_name("other")
    os.close(os.open(other, os.O_WRONLY | os.O_CREAT, 0o600))
    other.write_text(content)
    os.replace(other, path)


def half_written(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise OSError("the disk is full")


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_a_new_file_has_the_permissions_of_the_umask_whatever_its_writer_chose(tmp_path, mask, expected):
    before = os.umask(mask)
    try:
        with atomic_path(tmp_path / "model.safetensors") as temporary:
            owners_file(temporary, "new")
    finally:
        os.umask(before)
    assert permissions(tmp_path / "model.safetensors") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_an_old_file_keeps_its_permissions(tmp_path):
    final = tmp_path / "model.safetensors"
    final.write_text("old")
    final.chmod(0o640)
    with atomic_path(final) as temporary:
        owners_file(temporary, "new")
        assert final.read_text() == "old"
    assert (final.read_text(), permissions(final)) == ("new", 0o640)


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    final = tmp_path / "model.safetensors"
    final.write_text("old")
    with pytest.raises(OSError, match="the disk is full"):
        half_written(final)
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "best").symlink_to(tmp_path / "runs" / "model.safetensors")
    with atomic_path(tmp_path / "best") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "best").is_symlink()
    assert (tmp_path / "runs" / "model.safetensors").read_text() == "new"


def test_a_name_of_255_bytes_is_written(tmp_path):
    final = tmp_path / ("m" * 243 + ".safetensors")
    with atomic_path(final) as temporary:
        temporary.write_text("new")
    assert final.read_text() == "new"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; create it to write model"):
        atomic_path(tmp_path / "nowhere" / "model").__enter__()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="may not be written by this user; change its permissions"):
        atomic_path(tmp_path / "model").__enter__()


def test_the_error_of_a_full_disk_names_the_file_and_the_room_that_is_left(tmp_path):
    assert "model could not be written (" in str(not_written(tmp_path / "model", "why"))
    assert " MB free): why" in str(not_written(tmp_path / "model", "why"))


def test_what_torch_says_of_a_full_disk_is_left_out(tmp_path):
    reason = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")
    assert str(not_written(tmp_path / "last.ckpt", reason)).endswith(" MB free)")
