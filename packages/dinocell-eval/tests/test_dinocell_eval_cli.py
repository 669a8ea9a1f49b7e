"""The command, as the umbrella registers it."""

import csv
import json
import re

import numpy as np
import pytest
import tifffile
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


def write_picture(path, shape):
    tifffile.imwrite(path, np.full(shape, 90, np.uint8))


def test_the_report_is_written_with_the_worst_images_over_their_pictures(app, folders):
    (folders / "images").mkdir()
    for name in NAMES:
        write_picture(folders / "images" / f"{name}.tif", CASES[name].truth.shape)
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--images", folders / "images")
    assert result.exit_code == 0, result.output
    page = (folders / "report" / "report.html").read_text()
    assert "Segmentation of out" in page
    assert page.count('class="item"') == 3
    assert 'alt="true outlines of merged_cells"' in page
    assert (folders / "report" / "objects.csv").read_text().splitlines()[0].endswith("on_border,y0,x0,y1,x1")


def test_a_picture_that_is_missing_for_the_gallery_is_named(app, folders):
    (folders / "images").mkdir()
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--images", folders / "images")
    assert result.exit_code == 1
    assert "images holds no image for merged_cells, missed_cell, split_cell, expected one" in result.output
    assert not (folders / "report").exists()


def test_without_html_no_report_is_written(app, folders):
    assert app(folders / "masks", folders / "out", "--output", folders / "report", "--no-html").exit_code == 0
    assert sorted(path.name for path in (folders / "report").iterdir()) == ["images.csv", "objects.csv", "summary.json"]


def test_reading_and_computing_are_timed_apart(app, folders):
    output = app(folders / "masks", folders / "out", "--output", folders / "report", "--no-html").output
    assert re.search(r"read 6 files in \d+\.\d\d s on \d+ threads, waited \d+\.\d\d s for them, computed \d", output)


def test_two_predictions_are_compared_in_one_command(app, folders):
    (folders / "better").mkdir()
    for name in NAMES:
        write_labels(folders / "better" / f"{name}.tif", CASES[name].truth)
    arguments = [folders / "masks", folders / "out", "--compare", folders / "better", "--output", folders / "report"]
    result = app(*arguments)
    assert result.exit_code == 0, result.output
    found = json.loads((folders / "report" / "comparison.json").read_text())
    assert (found["first"], found["second"]) == ("out", "better")
    assert found["metrics"]["seg"]["second"] == 1
    assert found["metrics"]["seg"]["p_value"] == 0.25
    assert found["metrics"]["seg"]["higher"] == 3
    assert "better against out, 3 images" in result.output
    assert "only 3 images" in found["notes"][0]
    assert summary(folders / "report" / "second")["metrics"]["seg"]["pooled"] == 1
    assert summary(folders / "report" / "first")["metrics"]["seg"]["pooled"] < 1
    assert "better against out" in (folders / "report" / "comparison.html").read_text()


def test_a_prediction_is_not_compared_with_itself(app, folders):
    result = app(folders / "masks", folders / "out", "--compare", folders / "out", "--output", folders / "report")
    assert result.exit_code == 1
    assert "is compared with itself; pass two folders of predictions" in result.output


def test_a_protocol_is_printed_and_written(app, folders):
    arguments = [folders / "masks", folders / "out", "--output", folders / "report", "--no-html"]
    result = app(*arguments, "--protocol", "dinocell-2026")
    assert result.exit_code == 0, result.output
    assert "dinocell-2026-ap/1" in result.output
    assert "flawed" in result.output
    assert summary(folders / "report")["protocol"]["name"] == "dinocell-2026"
    refused = app(*arguments, "--protocol", "coco")
    assert refused.exit_code == 1
    assert "there is no protocol 'coco'; choose from dinocell, ctc, samcell" in refused.output


def test_outlines_are_measured_on_request(app, folders):
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--no-html", "--boundary", "1")
    assert "boundary_iou" in result.output
    assert summary(folders / "report")["metrics"]["hausdorff_px"]["pooled"] is not None


def test_results_of_cellpose_are_read_beside_their_images(app, folders, tmp_path):
    (tmp_path / "cellpose").mkdir()
    for name in NAMES:
        write_picture(tmp_path / "cellpose" / f"{name}.tif", CASES[name].truth.shape)
        np.save(tmp_path / "cellpose" / f"{name}_seg.npy", {"masks": CASES[name].predicted.astype(np.uint16)})
    result = app(folders / "masks", tmp_path / "cellpose", "--output", folders / "report", "--no-html")
    assert result.exit_code == 0, result.output
    assert "ignored: no labels" in result.output
    expected = evaluate([CASES[n].truth for n in NAMES], [CASES[n].predicted for n in NAMES])
    assert summary(folders / "report")["metrics"]["seg"]["pooled"] == expected.pooled["seg"]
