"""Files and folders that this user may not read or write: told as that, and never taken for missing or damaged."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dinocell_io import open_folder_fields, open_image, read_image, read_labels, write_labels

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX systems")
NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, seen by a user who is not root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if was_root:
            os.seteuid(0)
        for path in folder.rglob("*"):
            path.chmod(0o700)
        shutil.rmtree(folder)


def test_a_file_that_may_not_be_read_is_told(folder: Path) -> None:
    path = folder / "secret.tif"
    write_labels(path, np.ones((4, 4), np.uint16))
    path.chmod(0)
    for read in (read_image, open_image, read_labels):
        with pytest.raises(PermissionError, match=r"secret\.tif may not be read by this user; change its permissions"):
            read(path)


def test_a_file_in_a_folder_that_may_not_be_entered_is_not_taken_for_missing(folder: Path) -> None:
    (folder / "locked").mkdir()
    write_labels(folder / "locked" / "a.tif", np.ones((4, 4), np.uint16))
    write_labels(folder / "locked" / "a.zarr", np.ones((4, 4), np.uint16))
    (folder / "locked").chmod(0)
    for name in ("a.tif", "a.zarr"):
        with pytest.raises(PermissionError, match=rf"{name} may not be read by this user"):
            read_labels(folder / "locked" / name)
    (folder / "locked").chmod(0o700)
    assert read_labels(folder / "locked" / "a.tif").sum() == 16


def test_a_folder_that_may_not_be_listed_is_not_left_out_of_a_list_of_images(folder: Path) -> None:
    for part in ("first", "second"):
        (folder / part).mkdir()
        write_labels(folder / part / "a.tif", np.ones((4, 4), np.uint16))
    (folder / "second").chmod(0)
    with pytest.raises(PermissionError, match=r"second may not be read by this user; change its permissions"):
        open_folder_fields(folder)
    (folder / "second").chmod(0o700)
    assert open_folder_fields(folder).names == ("first/a.tif", "second/a.tif")


@pytest.mark.parametrize("name", ["l.tif", "l.png", "l.npy", "l.zarr"])
def test_a_folder_that_may_not_be_written_is_told_by_its_name(folder: Path, name: str) -> None:
    (folder / "kept").mkdir()
    (folder / "kept").chmod(0o555)
    message = rf"the folder .*kept may not be written by this user; change its permissions, or write {name} elsewhere"
    with pytest.raises(PermissionError, match=message):
        write_labels(folder / "kept" / name, np.ones((4, 4), np.uint16))
    assert list((folder / "kept").iterdir()) == []
