import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dinocell.main import build_app
from dinocell_io import read_image, read_labels, simulate_field

SMALL = ("--height", "96", "--width", "128", "--num-cells", "3", "--diameter", "24")


def run(*words: str | Path) -> Result:
    arguments = ["simulate", *map(str, words)]
    return CliRunner().invoke(build_app(arguments), arguments)


@pytest.mark.parametrize("objects", ["cells", "nuclei"])
def test_the_field_and_its_truth_are_written(tmp_path: Path, objects: str) -> None:
    image, truth = tmp_path / "new" / "field.ome.tif", tmp_path / "truth" / "field.tif"
    result = run(image, "--labels", truth, "--objects", objects, "--seed", "3", *SMALL)
    assert result.exit_code == 0, result.output
    field = simulate_field((96, 128), num_cells=3, diameter_px=24.0, seed=3)
    read = read_image(image)
    assert read.channels == ("DNA", "ER", "AGP")
    assert read.pixel_size_um == field.image.pixel_size_um
    np.testing.assert_array_equal(read.pixels, field.image.pixels)
    expected = field.labels if objects == "cells" else field.nuclei_labels
    np.testing.assert_array_equal(read_labels(truth), expected)
    assert f"({objects})" in result.stdout


def test_a_field_that_is_impossible_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path / "a.tif", "--channels", "DNA,GFP", *SMALL)
    assert result.exit_code == 2
    assert "GFP" in result.stderr
    assert not (tmp_path / "a.tif").exists()


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words in ([tmp_path / "file" / "a.ome.tif"], [tmp_path / "a.ome.tif", "--labels", tmp_path / "file" / "b.tif"]):
        result = run(*words, *SMALL)
        assert result.exit_code == 2
        assert re.search(r"error: the folder of [ab]\S+ \S+: \S+file is a file; give a folder", result.stderr)
    assert not (tmp_path / "a.ome.tif").exists()


def test_one_cell_is_no_plural(tmp_path: Path) -> None:
    result = run(tmp_path / "a.ome.tif", *SMALL, "--num-cells", "1")
    assert "(1 cell, channels" in result.stdout


def test_shapes_contrasts_and_artefacts_can_be_chosen(tmp_path: Path) -> None:
    words = ["--channels", "Phase, DNA", "--cell-shape", "rods", "--artefacts", "debris,frame"]
    result = run(tmp_path / "a.ome.tif", *SMALL, *words)
    assert result.exit_code == 0, result.output
    assert "channels Phase, DNA" in result.stdout
    refused = run(tmp_path / "b.ome.tif", *SMALL, "--cell-shape", "stars")
    assert refused.exit_code == 2
    assert "choose one of round, rods, yeast" in refused.stderr
