from pathlib import Path

import pytest

from dinocell_io.commands.output_folder import check_output_folder


def test_a_folder_that_is_there_or_can_be_made_is_fine(tmp_path: Path) -> None:
    check_output_folder(tmp_path)
    check_output_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_file_and_what_is_below_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    for output in (tmp_path / "a.tif", tmp_path / "a.tif" / "b"):
        with pytest.raises(ValueError, match=r"a\.tif is a file; give a folder"):
            check_output_folder(output)


@pytest.mark.parametrize("output", ["s3://bucket/results", "a.ome.zarr/labels"])
def test_what_is_no_folder_of_files_is_refused(output: str) -> None:
    with pytest.raises(ValueError, match="give a folder"):
        check_output_folder(Path(output))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system in which no folder can be made")
def test_a_folder_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--output /proc/x: nothing can be written in /proc \(.+\); give another"):
        check_output_folder(Path("/proc/x"))
