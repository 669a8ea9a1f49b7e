import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import typer
from torch import nn
from typer.testing import CliRunner, Result

from dinocell_core import create_dinocell_model, save_model
from dinocell_io import read_image
from dinocell_seg.cli import info, segment
from dinocell_seg.pipeline import ModelIdentity
from dinocell_seg.settings import Thresholds

SETTINGS = ["--tile", "64", "--overlap", "16", "--peak", "0.7", "--fill", "0.5"]


@pytest.fixture(autouse=True)
def _stand_in_for_the_default_model(stand_in: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = ModelIdentity("stand-in", "0" * 64, None)
    monkeypatch.setattr("dinocell_seg.pipeline._loaded", lambda model, device: (stand_in, identity))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def folder(tmp_path: Path, three_discs: np.ndarray) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    tifffile.imwrite(images / "discs.tif", three_discs)
    cv2.imwrite(str(images / "empty.png"), np.full((40, 40), 5, np.uint8))
    (images / "broken.tif").write_bytes(b"II*\x00 this is no TIFF")
    return images


def run(*words: str | Path, command: object = segment) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)  # type: ignore[type-var]
    return CliRunner().invoke(app, [str(word) for word in words])


def summary(output: Path) -> dict[str, dict[str, str]]:
    rows = csv.DictReader((output / "segment_summary.csv").read_text().splitlines())
    return {Path(row["image"]).name: row for row in rows}


def test_a_folder_is_segmented_whatever_is_wrong_with_one_file(folder: Path, tmp_path: Path) -> None:
    result = run(folder, "-o", tmp_path / "out", *SETTINGS)
    assert result.exit_code == 1
    rows = summary(tmp_path / "out")
    assert {name: row["status"] for name, row in rows.items()} == {
        "discs.tif": "done",
        "empty.png": "done",
        "broken.tif": "failed",
    }
    assert rows["discs.tif"]["num_cells"] == "3"
    assert rows["empty.png"]["num_cells"] == "0"
    assert "2 done, 1 failed; 3 cells" in result.stdout
    assert f"failed: {rows['broken.tif']['message']}" in result.stdout  # which names the file
    assert sorted(path.name for path in (tmp_path / "out").glob("*_labels.tif")) == [
        "discs_labels.tif",
        "empty_labels.tif",
    ]


def test_good_files_alone_end_with_exit_code_0(folder: Path, tmp_path: Path) -> None:
    result = run(folder / "discs.tif", folder / "empty.png", "-o", tmp_path / "out", *SETTINGS)
    assert result.exit_code == 0, result.output


def test_results_can_be_written_beside_the_images_and_the_run_repeated(folder: Path) -> None:
    (folder / "broken.tif").unlink()
    assert run(folder, "-o", folder, *SETTINGS).exit_code == 0
    again = run(folder, "-o", folder, *SETTINGS, "--overwrite")
    assert again.exit_code == 0, again.output
    assert set(summary(folder)) == {"discs.tif", "empty.png"}


def test_options_reach_the_settings_and_are_recorded(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("tile: 96\noverlap: 8\nthresholds: {peak: 0.6, fill: 0.2}\n")
    result = run(
        folder / "discs.tif", "-o", tmp_path / "out", "--preset", "samcell", "--recipe", tmp_path / "r.yaml",
        "--set", "overlap=16", "--set", "thresholds.fill=0.3", "--fill", "0.4", "--min-size", "9",
        "--normalize", "clahe", "--tta", "flips", "--precision", "bf16", "--pixel-size", "0.25",
        "--save-distance-map",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "discs_run.json").read_text())
    assert record["settings"] == {
        "normalization": {"method": "clahe", "low_percentile": 1.0, "high_percentile": 99.8, "robust": True},
        "thresholds": Thresholds(peak=0.6, fill=0.4, min_size=9).model_dump(),
        "tile": 96,
        "overlap": 16,
        "tta": "flips",
        "precision": "bf16",
        "diameter_px": None,
        "pixel_size_um": 0.25,
        "batch_size": None,
    }
    assert record["input"]["pixel_size_um"] == 0.25
    assert (tmp_path / "out" / "discs_distance_map.tif").exists()


def test_the_samcell_preset_sets_its_thresholds(folder: Path, tmp_path: Path) -> None:
    assert run(folder / "discs.tif", "-o", tmp_path / "out", "--preset", "samcell").exit_code == 0
    record = json.loads((tmp_path / "out" / "discs_run.json").read_text())
    assert record["settings"]["thresholds"] == Thresholds(peak=0.47, fill=0.09).model_dump()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--peak", "0.05"], "peak 0.05 is below fill 0.09"),
        (["--set", "tlie=3"], "unknown setting 'tlie'; did you mean 'tile'?"),
        (["--overlap", "200"], "overlap 200 is more than half of tile 256"),
        (["--preset", "cellpose"], "there is no preset 'cellpose'; known are samcell"),
        (["--device", "gpu"], "'gpu' is not a device"),
        (["--recipe", "nowhere.yaml"], "nowhere.yaml"),
        (["nowhere.tif"], "nowhere.tif does not exist"),
        (["--tta", "all"], "'all'"),
    ],
)
def test_a_wrong_command_line_ends_with_exit_code_2_and_writes_nothing(
    folder: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    result = run(folder, "-o", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_equal_names_from_different_folders_are_refused_before_anything_is_written(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "discs.png").touch()
    result = run(folder, tmp_path / "other", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "would write the same output files" in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_an_image_and_its_preview_in_a_folder_fail_and_do_not_stop_the_others(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.tif").unlink()
    (folder / "discs.png").touch()
    result = run(folder, "-o", tmp_path / "out", *SETTINGS)
    assert result.exit_code == 1, result.output
    rows = summary(tmp_path / "out")
    assert {name: row["status"] for name, row in rows.items()} == {
        "discs.png": "failed",
        "discs.tif": "left out",
        "empty.png": "done",
    }
    for name in ("discs.png", "discs.tif"):
        assert f"choose with a pattern, '{folder}/*.png' or '{folder}/*.tif'" in rows[name]["message"]
    assert not (tmp_path / "out" / "discs_labels.tif").exists()
    assert run(f"{folder}/*.tif", "-o", tmp_path / "out", *SETTINGS).exit_code == 0
    assert {name: row["status"] for name, row in summary(tmp_path / "out").items()} == {
        "discs.tif": "done",
        "empty.png": "done",
    }


def test_an_image_and_its_preview_that_are_named_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "discs.png").touch()
    result = run(folder / "discs.tif", folder / "discs.png", folder / "empty.png", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_earlier_results_are_neither_overwritten_nor_mixed_unasked(folder: Path, tmp_path: Path) -> None:
    words = [folder / "discs.tif", "-o", tmp_path / "out", *SETTINGS]
    assert run(*words).exit_code == 0
    labels = tmp_path / "out" / "discs_labels.tif"
    first = labels.stat().st_mtime_ns

    refused = run(*words)
    assert refused.exit_code == 2
    assert "pass --skip-existing to keep them" in " ".join(refused.stderr.replace("│", " ").split())

    skipped = run(*words, "--skip-existing")
    assert skipped.exit_code == 0
    assert "1 skipped; 3 cells" in skipped.stdout
    assert labels.stat().st_mtime_ns == first

    mixed = run(*words[:-1], "0.4", "--skip-existing")
    assert mixed.exit_code == 1
    assert "has other settings; pass --overwrite" in mixed.stdout
    assert labels.stat().st_mtime_ns == first

    assert run(*words[:-1], "0.4", "--overwrite").exit_code == 0
    assert labels.stat().st_mtime_ns > first


def test_skipping_notices_changed_pixels_and_missing_outputs(folder: Path, tmp_path: Path) -> None:
    words = [folder / "discs.tif", "-o", tmp_path / "out", *SETTINGS]
    assert run(*words).exit_code == 0
    cells = tmp_path / "out" / "discs_cells.csv"
    content = cells.read_text()
    cells.unlink()
    assert "lacks discs_cells.csv; pass --overwrite" in run(*words, "--skip-existing").stdout
    cells.write_text(content)
    tifffile.imwrite(folder / "discs.tif", np.zeros((30, 30), np.uint8))
    assert "has other pixels; pass --overwrite" in run(*words, "--skip-existing").stdout


def test_a_run_that_was_stopped_continues_with_skip_existing(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.tif").unlink()
    assert run(folder / "discs.tif", "-o", tmp_path / "out", *SETTINGS).exit_code == 0
    (tmp_path / "out" / "empty_labels.tif").write_bytes(b"stopped before its run file")
    result = run(folder, "-o", tmp_path / "out", *SETTINGS, "--skip-existing")
    assert result.exit_code == 0, result.output
    assert "1 done, 1 skipped" in result.stdout


def test_labels_of_somebody_else_are_not_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    truth = tmp_path / "truth" / "discs_labels.tif"
    truth.write_bytes(b"drawn by hand")
    assert run(folder / "discs.tif", "-o", tmp_path / "truth", *SETTINGS).exit_code == 2
    assert truth.read_bytes() == b"drawn by hand"


def test_a_channel_is_chosen_by_index_or_name(three_discs: np.ndarray, tmp_path: Path) -> None:
    stack = np.stack([np.zeros_like(three_discs), three_discs])
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "CYX", "Channel": {"Name": ["DNA", "ER"]}})
    for number, channel in enumerate(["1", "er"]):
        output = tmp_path / f"out{number}"
        assert run(tmp_path / "a.ome.tif", "-o", output, "--channel", channel, *SETTINGS).exit_code == 0
        assert summary(output)["a.ome.tif"]["num_cells"] == "3"
    unnamed = run(tmp_path / "a.ome.tif", "-o", tmp_path / "out", *SETTINGS)
    assert unnamed.exit_code == 1
    assert "DNA, ER" in unnamed.stdout


def test_info_shows_an_image(three_discs: np.ndarray, tmp_path: Path) -> None:
    stack = np.stack([np.zeros_like(three_discs), three_discs])
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "CYX", "Channel": {"Name": ["DNA", "ER"]}})
    result = run(tmp_path / "a.ome.tif", command=info)
    assert result.exit_code == 0, result.output
    assert "90 x 120 pixels, 2 channels, uint16" in result.stdout
    assert "2000" in result.stdout
    assert "needs --channel, one of DNA, ER" in result.stdout


def test_info_shows_a_stack_and_writes_a_thumbnail(three_discs: np.ndarray, tmp_path: Path) -> None:
    stack = np.stack([three_discs] * 6).reshape(2, 3, *three_discs.shape)
    stack[1, 2, 0, 0] = 4321
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "TZYX"}, photometric="minisblack")
    result = run(tmp_path / "a.tif", "--z", "2", "--t", "1", "--thumbnail", tmp_path / "small.png", command=info)
    assert result.exit_code == 0, result.output
    assert "times 2, z planes 3; measured at z=2, t=1" in " ".join(result.stdout.split())
    assert "segmenting it needs --z and --t" in result.stdout
    assert "4321" in result.stdout
    assert "█" in result.stdout
    assert read_image(tmp_path / "small.png").pixels.shape == (1, *three_discs.shape)
    result = run(tmp_path / "a.tif", "--z", "7", command=info)
    assert result.exit_code == 1
    assert "z from 0 to 2, got 7" in result.stderr


def test_info_chooses_a_scene_and_shows_levels(three_discs: np.ndarray, tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        for name in ("left", "right"):
            options = {"tile": (16, 16), "photometric": "minisblack"}
            writer.write(three_discs, subifds=1, metadata={"axes": "YX", "Name": name}, **options)
            writer.write(three_discs[::2, ::2], subfiletype=1, **options)
    assert "Choose one with scene=" in run(tmp_path / "a.ome.tif", command=info).stderr
    result = run(tmp_path / "a.ome.tif", "--scene", "right", command=info)
    assert result.exit_code == 0, result.output
    assert "scene right of 2" in result.stdout
    assert "2 levels (90 x 120, 45 x 60); measured on level 0" in result.stdout


def test_a_thumbnail_of_a_model_is_refused(tmp_path: Path) -> None:
    result = run("default", "--z", "3", "--thumbnail", tmp_path / "a.png", command=info)
    assert result.exit_code == 2
    assert "default is a model; --z and --thumbnail are for images" in result.stderr


def test_a_thumbnail_that_is_no_png_is_refused(three_discs: np.ndarray, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", three_discs)
    result = run(tmp_path / "a.tif", "--thumbnail", tmp_path / "a.jpg", command=info)
    assert result.exit_code == 2
    assert "a thumbnail is a PNG" in result.stderr


def test_info_on_a_damaged_image_ends_with_exit_code_1(folder: Path) -> None:
    result = run(folder / "broken.tif", command=info)
    assert result.exit_code == 1
    assert "broken.tif holds no images; copy or export it again" in result.stderr


def test_info_on_an_image_does_not_load_torch(three_discs: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", three_discs)
    code = (
        "import sys; from dinocell_seg.describe import describe_image_file\n"
        "describe_image_file(sys.argv[1]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.npy")], check=True)


def test_info_shows_a_model(tmp_path: Path) -> None:
    model = create_dinocell_model("tiny", stem_channels=(), decoder_channels=(8, 8, 8, 8))
    save_model(tmp_path / "m.safetensors", model, metadata={"licence": "MIT", "scores": {"ap": 0.5}, "note": "x"})
    result = run(tmp_path / "m.safetensors", command=info)
    assert result.exit_code == 0, result.output
    assert f"{model.summary().total:,}" in result.stdout
    for word in ("tiny, patch 16", "MIT", '{"ap": 0.5}', "not stated", "note"):
        assert word in result.stdout


def test_info_on_nothing_fails_with_what_to_do(tmp_path: Path) -> None:
    result = run(tmp_path / "nothing.tif", command=info)
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    result = run(tmp_path, command=info)
    assert result.exit_code == 2
    assert "is a folder of files; give one of them" in result.stderr


def test_the_commands_are_imported_without_torch() -> None:
    code = "import dinocell_seg.cli, sys; assert 'torch' not in sys.modules; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_diameter_that_is_neither_a_number_nor_auto_is_refused(tmp_path):
    result = run("a.png", "-o", tmp_path / "out", "--diameter", "large")
    assert result.exit_code == 2
    assert "'large' is neither a number of pixels nor auto" in " ".join(result.stderr.replace("│", " ").split())
