"""Files that are cut or damaged are files of their own, whatever the TIFF library says of them."""

import random
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dinocell_io.folders.image_files import image_files


@pytest.mark.parametrize(
    "head", [b"", b"I", b"II*", b"II*\0", b"II*\0\x08", b"MM\0*\0\0", b"II+\0\x08\0\0\0", b"<html>"]
)
def test_a_file_that_ends_within_its_header_is_no_set(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "cut.tif").write_bytes(head)
    assert image_files(tmp_path / "cut.tif") == (None, ())


def test_damaged_files_are_no_sets(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "whole.ome.tif", np.zeros((2, 8, 8), np.uint8), metadata={"axes": "CYX"})
    whole = (tmp_path / "whole.ome.tif").read_bytes()
    draw = random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole[: draw.randrange(8, len(whole))])
        for _ in range(draw.randrange(4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        (tmp_path / "a.tif").write_bytes(bytes(damaged))
        try:
            image_files(tmp_path / "a.tif")
        except ValueError as error:
            assert "a.tif" in str(error)  # noqa: PT017
