"""`dinocell segment` on what holds more than one plane, is a folder, or lies in a bucket."""

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import typer
from torch import nn
from typer.testing import CliRunner, Result

from dinocell_io import Image, write_image
from dinocell_io.formats.zarr.write import write_array, write_group
from dinocell_io.testing import Fault, ObjectServer
from dinocell_seg.cli import segment
from dinocell_seg.pipeline import ModelIdentity
from dinocell_seg.provenance import sha256_of

SETTINGS = ["--tile", "64", "--overlap", "16", "--peak", "0.7", "--fill", "0.5"]


@pytest.fixture(autouse=True)
def _stand_in_for_the_default_model(stand_in: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = ModelIdentity("stand-in", "0" * 64, None)
    monkeypatch.setattr("dinocell_seg.pipeline._loaded", lambda model, device: (stand_in, identity))
    monkeypatch.setenv("COLUMNS", "200")


def run(*words: str | Path) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(segment)
    return CliRunner().invoke(app, [*(str(word) for word in words), *SETTINGS])


def record(output: Path, name: str) -> dict[str, Any]:
    run: dict[str, Any] = json.loads((output / f"{name}_run.json").read_text())
    return run


def summary(output: Path) -> dict[str, dict[str, str]]:
    rows = csv.DictReader((output / "segment_summary.csv").read_text().splitlines())
    return {Path(row["image"]).name: row for row in rows}


def error_of(result: Result) -> str:
    return " ".join(result.stderr.replace("│", " ").split())


def write_ome_zarr(folder: Path, plane: np.ndarray, *, pixel_size_um: float = 0.5) -> None:
    """One plane [y x] as NGFF 0.4."""
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    scale = [{"type": "scale", "scale": [pixel_size_um, pixel_size_um]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    write_group(folder, {"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}]}, zarr_format=2)
    shape = (plane.shape[0], plane.shape[1])
    bands = (plane[start : start + 64] for start in range(0, len(plane), 64))
    write_array(folder / "0", bands, shape=shape, dtype=plane.dtype, chunk=64, zarr_format=2)


@pytest.fixture
def stack(three_discs: np.ndarray, tmp_path: Path) -> Path:
    """[t z y x] = [2 3 90 120]; the discs are at t=1, z=2 only, elsewhere is nothing."""
    pixels = np.full((2, 3, *three_discs.shape), 300, np.uint16)
    pixels[1, 2] = three_discs
    path = tmp_path / "images" / "stack.tif"
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, pixels, metadata={"axes": "TZYX"}, photometric="minisblack")
    return path


def test_the_chosen_plane_of_a_stack_is_segmented_and_recorded(stack: Path, tmp_path: Path) -> None:
    cells = {}
    for z in (1, 2):
        output = tmp_path / f"z{z}"
        result = run(stack, "-o", output, "--z", z, "--t", 1)
        assert result.exit_code == 0, result.output
        source = record(output, "stack")["input"]
        assert (source["scene"], source["z"], source["t"], source["shape"]) == (None, z, 1, [1, 90, 120])
        cells[z] = summary(output)["stack.tif"]["num_cells"]
    assert cells == {1: "0", 2: "3"}


def test_a_stack_without_a_choice_fails_with_the_readers_words_and_the_rest_goes_on(
    stack: Path, three_discs: np.ndarray, tmp_path: Path
) -> None:
    tifffile.imwrite(stack.with_name("plane.tif"), three_discs)
    result = run(stack.parent, "-o", tmp_path / "out")
    assert result.exit_code == 1
    rows = summary(tmp_path / "out")
    assert (rows["plane.tif"]["status"], rows["stack.tif"]["status"]) == ("done", "failed")
    assert "T=2, Z=3, Y=90, X=120, expected one plane; choose z= (0 to 2) and t= (0 to 1)" in result.stdout
    assert not (tmp_path / "out" / "stack_labels.tif").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--z", "3", "--t", "0"], "has z from 0 to 2, got 3"),
        (["--z", "-1", "--t", "0"], "has z from 0 to 2, got -1"),
        (["--z", "1"], "choose t= (0 to 1)"),
        (["--z", "1", "--t", "0", "--scene", "right"], "has no scene 'right'"),
    ],
)
def test_a_plane_that_is_not_there_fails_and_leaves_no_result(
    stack: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    result = run(stack, "-o", tmp_path / "out", *words)
    assert result.exit_code == 1
    assert message in result.stdout
    shown = [path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")]
    assert shown == ["segment_summary.csv"]


def test_skip_existing_does_not_take_one_plane_for_another(stack: Path, tmp_path: Path) -> None:
    words = [stack, "-o", tmp_path / "out", "--skip-existing", "--t", "1"]
    assert run(*words, "--z", "2").exit_code == 0
    assert "1 skipped; 3 cells" in run(*words, "--z", "2").stdout
    other = run(*words, "--z", "1")
    assert other.exit_code == 1
    assert "has other z; pass --overwrite" in other.stdout


def test_results_from_before_planes_could_be_chosen_are_still_kept(three_discs: np.ndarray, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", three_discs)
    assert run(tmp_path / "a.tif", "-o", tmp_path / "out").exit_code == 0
    old = record(tmp_path / "out", "a")
    for key in ("scene", "z", "t"):
        del old["input"][key]
    (tmp_path / "out" / "a_run.json").write_text(json.dumps(old))
    assert "1 skipped" in run(tmp_path / "a.tif", "-o", tmp_path / "out", "--skip-existing").stdout
    other = run(tmp_path / "a.tif", "-o", tmp_path / "out", "--skip-existing", "--z", "0")
    assert "has other z" in other.stdout


def test_an_ome_zarr_folder_among_images_is_one_image(three_discs: np.ndarray, tmp_path: Path) -> None:
    images = tmp_path / "images"
    write_ome_zarr(images / "discs.ome.zarr", three_discs)
    write_image(images / "plane.ome.tif", Image(three_discs[None], ("C0",), 0.5, False, "drawn"))
    result = run(images, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert {name: row["num_cells"] for name, row in summary(tmp_path / "out").items()} == {
        "discs.ome.zarr": "3",
        "plane.ome.tif": "3",
    }
    zarr, tiff = (tmp_path / "out" / f"{name}_cells.csv" for name in ("discs", "plane"))
    assert zarr.read_text() == tiff.read_text()
    assert "area_um2" in zarr.read_text()
    source = record(tmp_path / "out", "discs")["input"]
    assert (source["uri"], source["sha256"]) == (str(images / "discs.ome.zarr"), None)


def test_a_scene_is_chosen_by_name_and_recorded(three_discs: np.ndarray, tmp_path: Path) -> None:
    series = tmp_path / "slide.zarr"
    write_group(series, {"bioformats2raw.layout": 3}, zarr_format=2)
    write_ome_zarr(series / "0", np.full_like(three_discs, 300))
    write_ome_zarr(series / "1", three_discs)
    assert run(series, "-o", tmp_path / "all").exit_code == 0
    rows = summary(tmp_path / "all")
    assert {name: row["num_cells"] for name, row in rows.items()} == {"0": "0", "1": "3"}
    assert run(series, "-o", tmp_path / "out", "--scene", "1").exit_code == 0
    assert record(tmp_path / "out", "slide")["input"]["scene"] == "1"
    assert summary(tmp_path / "out")["slide.zarr"]["num_cells"] == "3"
    other = run(series, "-o", tmp_path / "out", "--scene", "0", "--skip-existing")
    assert "has other scene" in other.stdout


def test_an_ome_zarr_and_a_file_of_its_name_are_refused_before_anything_is_written(
    three_discs: np.ndarray, tmp_path: Path
) -> None:
    write_ome_zarr(tmp_path / "images" / "a.ome.zarr", three_discs)
    tifffile.imwrite(tmp_path / "images" / "a.tif", three_discs)
    result = run(tmp_path / "images", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "would write the same output files" in error_of(result)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [("s3://bucket/results", "is an address; give a folder of this machine"), ("a.zarr/out", "is in an OME-Zarr")],
)
def test_results_go_to_a_plain_folder_of_this_machine(
    stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(stack, "-o", output)
    assert result.exit_code == 2
    assert message in error_of(result)
    assert {path.name for path in tmp_path.iterdir()} == {"images"}


@pytest.fixture
def server(three_discs: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    bucket = tmp_path / "bucket"
    write_ome_zarr(bucket / "a plate" / "discs.ome.zarr", three_discs)
    for well in ("A1", "B1"):
        (bucket / well).mkdir()
        tifffile.imwrite(bucket / well / "well.tif", three_discs)
    objects = {str(path.relative_to(bucket)): path.read_bytes() for path in bucket.rglob("*") if path.is_file()}
    with ObjectServer(objects) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-tests")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-tests")
        yield server


def test_files_and_ome_zarr_in_a_bucket_are_segmented(server: ObjectServer, tmp_path: Path) -> None:
    uris = ["s3://bucket/A1/well.tif", "s3://bucket/a plate/discs.ome.zarr/"]
    result = run(*uris, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert {name: row["num_cells"] for name, row in summary(tmp_path / "out").items()} == {
        "well.tif": "3",
        "discs.ome.zarr": "3",
    }
    for uri, name in zip(uris, ("well", "discs"), strict=True):
        source = record(tmp_path / "out", name)["input"]
        assert (source["uri"], source["sha256"]) == (uri.rstrip("/"), None)


def test_what_a_bucket_lacks_or_denies_fails_alone(server: ObjectServer, tmp_path: Path) -> None:
    server.always_fail("a plate/discs.ome.zarr/0/1/1", Fault.DENIED)
    uris = ["s3://bucket/absent.tif", "s3://bucket/a plate/discs.ome.zarr", "s3://bucket/A1/well.tif"]
    result = run(*uris, "-o", tmp_path / "out")
    assert result.exit_code == 1
    rows = summary(tmp_path / "out")
    assert [row["status"] for row in rows.values()] == ["failed", "failed", "done"]
    assert "absent.tif" in rows["absent.tif"]["message"]
    assert "discs.ome.zarr/0/1/1" in rows["discs.ome.zarr"]["message"]


def test_skip_existing_does_not_take_one_object_for_another_of_its_name(server: ObjectServer, tmp_path: Path) -> None:
    words = ["-o", tmp_path / "out", "--skip-existing"]
    assert run("s3://bucket/A1/well.tif", *words).exit_code == 0
    assert "1 skipped" in run("s3://bucket/A1/well.tif", *words).stdout
    other = run("s3://bucket/B1/well.tif", *words)
    assert other.exit_code == 1
    assert "has other address; pass --overwrite" in other.stdout


def test_skip_existing_does_not_take_one_ome_zarr_for_another_of_its_name(
    three_discs: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for plate in ("one", "two"):
        write_ome_zarr(tmp_path / plate / "a.zarr", three_discs)
    words = ["a.zarr", "-o", tmp_path / "out", "--skip-existing"]
    monkeypatch.chdir(tmp_path / "one")
    assert run(*words).exit_code == 0
    monkeypatch.chdir(tmp_path / "two")
    assert "has other address; pass --overwrite" in run(*words).stdout
    assert "1 skipped" in run(tmp_path / "one" / "a.zarr", *words[1:]).stdout


def test_a_local_file_has_a_hash_however_it_is_addressed(tmp_path: Path) -> None:
    file = tmp_path / "a b.tif"
    file.write_bytes(b"pixels")
    expected = hashlib.sha256(b"pixels").hexdigest()
    assert sha256_of(file) == sha256_of(str(file)) == sha256_of(file.as_uri()) == expected
    assert sha256_of(tmp_path) is None
    assert sha256_of("s3://bucket/a b.tif") is None
