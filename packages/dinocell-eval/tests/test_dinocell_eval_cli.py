"""The command, as the umbrella registers it."""

import csv
import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from dinocell_eval import evaluate
from dinocell_eval.cases import CASES
from dinocell_eval.cli import eval_command
from dinocell_io import write_labels

NAMES = ["missed_cell", "split_cell", "merged_cells"]


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    app.command("eval")(eval_command)

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "out").mkdir()
    for name in NAMES:
        write_labels(tmp_path / "masks" / f"{name}.tif", CASES[name].truth)
        write_labels(tmp_path / "out" / f"{name}_labels.tif", CASES[name].predicted)
        (tmp_path / "out" / f"{name}_cells.csv").touch()
    (tmp_path / "splits.csv").write_text("name,split\nmissed_cell,train\nsplit_cell,test\nmerged_cells,test\n")
    return tmp_path


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_a_folder_of_predictions_is_evaluated_and_written(app, folders):
    result = app(folders / "masks", folders / "out", "--output", folders / "report")
    assert result.exit_code == 0, result.output
    found = summary(folders / "report")
    expected = evaluate([CASES[n].truth for n in NAMES], [CASES[n].predicted for n in NAMES])
    assert found["metrics"]["seg"]["pooled"] == expected.pooled["seg"]
    assert found["metrics"]["ap_mean"]["per_image_mean"] == pytest.approx(expected.per_image_mean["ap_mean"])
    assert {pair["name"] for pair in found["inputs"]["pairs"]} == set(NAMES)
    assert len(found["inputs"]["pairs"][0]["truth"]["sha256"]) == 64
    assert "3 images, 6 true and 4 predicted objects" in result.output
    assert f"{expected.pooled['seg']:.4f}" in result.output
    with (folders / "report" / "images.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == sorted(NAMES)
    assert (folders / "report" / "objects.csv").exists()


def test_unpaired_files_are_shown_and_stop_the_command(app, folders):
    (folders / "out" / "split_cell_labels.tif").rename(folders / "out" / "spilt_cell_labels.tif")
    result = app(folders / "masks", folders / "out", "--output", folders / "report")
    assert result.exit_code == 1
    assert "Unpaired files" in result.output
    assert "split_cell.tif" in result.output
    assert "spilt_cell_labels.tif" in result.output
    assert "1 truths have no prediction and 1 predictions no truth" in result.output
    assert not (folders / "report").exists()


def test_missing_predictions_count_as_empty_when_allowed(app, folders):
    (folders / "out" / "split_cell_labels.tif").unlink()
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--allow-missing")
    assert result.exit_code == 0, result.output
    assert "counted as empty" in result.output
    empty = np.zeros_like(CASES["split_cell"].truth)
    expected = evaluate(
        [CASES[n].truth for n in NAMES], [empty if n == "split_cell" else CASES[n].predicted for n in NAMES]
    )
    found = summary(folders / "report")
    assert found["metrics"]["det"]["pooled"] == expected.pooled["det"]
    assert [pair["predicted"] is None for pair in found["inputs"]["pairs"]] == [False, False, True]


def test_a_prediction_without_truth_is_never_allowed(app, folders):
    write_labels(folders / "out" / "extra_labels.tif", CASES["split_cell"].predicted)
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--allow-missing")
    assert result.exit_code == 1
    assert "extra_labels.tif" in result.output


def test_only_the_names_of_a_split_are_evaluated(app, folders):
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--split", "test")
    assert result.exit_code == 0, result.output
    assert [pair["name"] for pair in summary(folders / "report")["inputs"]["pairs"]] == ["merged_cells", "split_cell"]


def test_the_table_of_splits_can_be_elsewhere(app, folders):
    (folders / "splits.csv").rename(folders / "other.csv")
    arguments = [folders / "masks", folders / "out", "--output", folders / "report", "--split", "train"]
    result = app(*arguments)
    assert result.exit_code == 1
    assert "pass --splits-csv" in result.output
    assert app(*arguments, "--splits-csv", folders / "other.csv").exit_code == 0
    assert summary(folders / "report")["counts"]["images"] == 1


def test_a_table_of_splits_without_a_split_is_refused(app, folders):
    result = app(folders / "masks", folders / "out", "--output", folders / "r", "--splits-csv", folders / "splits.csv")
    assert result.exit_code == 1
    assert "without --split; name the split to evaluate" in result.output


def test_thresholds_can_be_chosen(app, folders):
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--iou", "0.3", "--iou", "0.6")
    assert result.exit_code == 0, result.output
    found = summary(folders / "report")
    assert found["iou_thresholds"] == [0.3, 0.6]
    assert "ap_0.30" in found["metrics"]
    assert "ap_0.50" not in found["metrics"]
    assert "ap_0.30" in result.output


def test_a_wrong_image_is_named_in_the_message_and_nothing_is_written(app, folders):
    write_labels(folders / "out" / "split_cell_labels.tif", CASES["merged_cells"].predicted)
    result = app(folders / "masks", folders / "out", "--output", folders / "report")
    assert result.exit_code == 1
    assert "error: image 'split_cell': truth has shape (1, 8) and prediction (1, 6)" in result.output
    assert not (folders / "report").exists()


def test_a_folder_that_is_not_there_is_an_error_without_traceback(app, folders):
    result = app(folders / "nowhere", folders / "out", "--output", folders / "report")
    assert result.exit_code == 1
    assert "nowhere is not a folder" in result.output
    assert isinstance(result.exception, SystemExit)
