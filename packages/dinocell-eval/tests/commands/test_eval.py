"""The command, as the umbrella registers it."""

import csv
import json
import os
import re
import sys

import numpy as np
import pytest
import tifffile
import typer
from typer.testing import CliRunner

from dinocell_eval import evaluate
from dinocell_eval.cases.image_cases import CASES
from dinocell_eval.commands.eval import eval_command
from dinocell_eval.folders.pairing import FilePair
from dinocell_eval.reports.folder_evaluation import _image_files
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
    assert "1 without a prediction and 1 without a truth in" in result.stderr
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
    assert result.exit_code == 2
    assert "pass --splits-csv" in result.output
    assert app(*arguments, "--splits-csv", folders / "other.csv").exit_code == 0
    assert summary(folders / "report")["counts"]["images"] == 1


def test_a_table_of_splits_without_a_split_is_refused(app, folders):
    result = app(folders / "masks", folders / "out", "--output", folders / "r", "--splits-csv", folders / "splits.csv")
    assert result.exit_code == 2
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
    assert result.exit_code == 2
    assert result.stderr == f"error: {folders / 'nowhere'} is not a folder; pass a folder of images\n"
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
    assert "images has no image for merged_cells, missed_cell, split_cell, expected one" in result.output
    assert not (folders / "report").exists()


def test_of_two_pictures_of_one_name_none_is_taken(app, folders):
    (folders / "images").mkdir()
    for name in (*NAMES, "split_cell.ome"):
        write_picture(folders / "images" / f"{name}.tif", (5, 9))
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--images", folders / "images")
    assert result.exit_code == 1
    assert "images holds split_cell.ome.tif and split_cell.tif, expected one image for split_cell" in result.output
    assert not (folders / "report").exists()


def test_labels_beside_pictures_are_not_shown_as_pictures(folders):
    for name in ("a.png", "a_masks.png", "b_masks.png"):
        write_labels(folders / name, CASES["split_cell"].truth)
    pairs = [FilePair(name, folders / f"{name}.png", None) for name in ("a_masks", "b_masks")]
    assert [path.name for path in _image_files(folders, pairs)] == ["a.png", "b_masks.png"]


def test_a_picture_without_a_finite_pixel_is_refused_by_name(app, folders):
    (folders / "images").mkdir()
    for name in NAMES:
        picture = np.full(CASES[name].truth.shape, 90, np.float32)
        tifffile.imwrite(folders / "images" / f"{name}.tif", picture * (np.nan if name == "split_cell" else 1))
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--images", folders / "images")
    assert (result.exit_code, "the image of 'split_cell' holds no finite pixel" in result.output) == (1, True)


@pytest.mark.parametrize(("binary", "role"), [("masks", "true"), ("out", "predicted")])
def test_binary_masks_are_told_from_labels_by_name(app, folders, binary, role):
    cells = np.kron(np.diag([1, 2, 3, 4]), np.pad(np.ones((2, 2), int), (0, 1)))
    for folder, name in (("masks", "{}.tif"), ("out", "{}_labels.tif")):
        for case in NAMES:
            is_mask = folder == binary and case == "split_cell"
            write_labels(folders / folder / name.format(case), (cells > 0) * 255 if is_mask else cells)
    result = app(folders / "masks", folders / "out", "--output", folders / "report")
    assert result.exit_code == 0, result.output
    notes = summary(folders / "report")["notes"]
    assert f"1 {role} label file looks like a binary mask: split_cell" in notes[-1]
    assert "lies in 4 separate pieces" in notes[-1]
    assert "split-pieces" in result.output
    assert not any("binary" in note for note in notes[:-1])


def test_without_html_no_report_is_written(app, folders):
    assert app(folders / "masks", folders / "out", "--output", folders / "report", "--no-html").exit_code == 0
    assert sorted(path.name for path in (folders / "report").iterdir()) == ["images.csv", "objects.csv", "summary.json"]


def test_reading_and_computing_are_timed_apart(app, folders):
    output = app(folders / "masks", folders / "out", "--output", folders / "report", "--no-html").output
    assert re.search(r"read 6 files in \d+\.\d\d s on \d+ threads, waited \d+\.\d\d s for them, computed \d", output)


def test_two_predictions_are_compared_in_one_command(app, folders, monkeypatch):
    (folders / "better").mkdir()
    for name in NAMES:
        write_labels(folders / "better" / f"{name}.tif", CASES[name].truth)
    arguments = [folders / "masks", folders / "out", "--compare", folders / "better", "--output", folders / "report"]
    monkeypatch.setenv("COLUMNS", "80")  # as in a log
    result = app(*arguments)
    assert result.exit_code == 0, result.output
    assert "difference" in result.output
    assert "count_error" in result.output.partition("better against out")[2]
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


def test_classes_are_printed_as_the_definitions_name_them(app, folders):
    write_labels(folders / "masks" / "split_cell.tif", np.array([[1, 1, 1, 1, 0, 0, 0, 0, 0, 0]]))
    write_labels(folders / "out" / "split_cell_labels.tif", np.array([[1, 1, 1, 1, 1, 1, 1, 1, 1, 0]]))
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--no-html")
    assert result.stdout.count("1 poorly outlined") == 2, result.output


def test_a_prediction_is_not_compared_with_itself(app, folders):
    result = app(folders / "masks", folders / "out", "--compare", folders / "out", "--output", folders / "report")
    assert result.exit_code == 2
    assert "is compared with itself; pass two folders of predictions" in result.output


def test_a_protocol_is_printed_and_written(app, folders):
    arguments = [folders / "masks", folders / "out", "--output", folders / "report", "--no-html"]
    result = app(*arguments, "--protocol", "dinocell-2026")
    assert result.exit_code == 0, result.output
    assert "dinocell-2026-ap/1" in result.output
    assert "flawed" in result.output
    assert summary(folders / "report")["protocol"]["name"] == "dinocell-2026"
    refused = app(*arguments, "--protocol", "coco")
    assert refused.exit_code == 2
    assert "there is no protocol 'coco'; choose from dinocell, ctc, samcell" in refused.output


def test_outlines_are_measured_on_request(app, folders):
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--no-html", "--boundary", "1")
    assert "boundary_iou" in result.output
    assert summary(folders / "report")["metrics"]["hausdorff_px"]["pooled"] is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--iou", "1.5"], "IoU threshold 1.5 is outside (0, 1]"),
        (["--boundary", "0.5"], "boundary_px is 0.5, expected a width of 1 pixel or more"),
        (["--images", "nowhere"], "nowhere is not a folder; pass a folder of images"),
        (["--compare", "nowhere"], "nowhere is not a folder; pass a folder of images"),
        (["--output", __file__], "test_eval.py is a file; give a folder"),
        (["--split", "x"], "has no split 'x'; its splits are: test, train"),
    ],
)
def test_a_wrong_command_line_ends_with_2_before_any_image_is_read(app, folders, words, message):
    (folders / "out" / "split_cell_labels.tif").write_bytes(b"no image")
    result = app(folders / "masks", folders / "out", "--output", folders / "report", *words)
    assert (result.exit_code, message in result.stderr) == (2, True), result.output
    assert result.stdout == ""


def test_overlays_and_distance_maps_of_segment_are_not_unpaired(app, folders):
    for name in NAMES:
        write_picture(folders / "out" / f"{name}_overlay.png", (4, 4))
        write_picture(folders / "out" / f"{name}_distance_map.tif", (4, 4))
        (folders / "out" / f"{name}_run.json").touch()
    (folders / "out" / "segment_summary.csv").touch()
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--no-html")
    assert result.exit_code == 0, result.output
    assert "Unpaired" not in result.output
    assert "_overlay.png" not in result.output


def test_of_many_unpaired_files_the_first_are_named_and_the_report_has_all(app, folders):
    for number in range(30):
        write_labels(folders / "masks" / f"more_{number:02}.tif", CASES["split_cell"].truth)
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--no-html", "--allow-missing")
    assert result.exit_code == 0, result.output
    assert "more_19.tif" in result.output
    assert "more_20.tif" not in result.output
    assert "and 10 more" in result.output
    pairs = summary(folders / "report")["inputs"]["pairs"]
    assert sum(pair["predicted"] is None for pair in pairs) == 30


def test_unpaired_files_of_two_predictions_are_one_table_that_says_whose_they_are(app, folders):
    (folders / "better").mkdir()
    for name in NAMES[1:]:
        write_labels(folders / "better" / f"{name}.tif", CASES[name].truth)
    arguments = [folders / "masks", folders / "out", "--compare", folders / "better", "--output", folders / "report"]
    result = app(*arguments)
    assert result.exit_code == 1
    assert result.output.count("Unpaired files") == 1
    row = next(line for line in result.stdout.splitlines() if "missed_cell.tif" in line)
    assert "no prediction (" in row
    assert "1 without a prediction and 0 without a truth in" in result.stderr
    allowed = app(*arguments, "--allow-missing")
    assert allowed.exit_code == 0, allowed.output
    assert allowed.output.count("Unpaired files") == 1


def test_a_name_with_brackets_is_shown_as_it_is(app, folders):
    (folders / "masks" / "split_cell.tif").rename(folders / "masks" / "a[red].tif")
    result = app(folders / "masks", folders / "out", "--output", folders / "report")
    assert "a[red].tif" in result.stdout


def test_an_earlier_report_is_replaced_and_that_is_said(app, folders):
    arguments = [folders / "masks", folders / "out", "--output", folders / "report"]
    first = app(*arguments)
    assert "replace" not in first.output
    (folders / "out" / "split_cell_labels.tif").unlink()
    second = app(*arguments, "--allow-missing")
    assert second.exit_code == 0, second.output
    assert "report.html; they replace an earlier evaluation" in second.output
    assert summary(folders / "report")["inputs"]["pairs"][2]["predicted"] is None
    third = app(*arguments, "--allow-missing", "--no-html")
    assert "they replace an earlier evaluation; report.html in that folder is from an earlier one" in third.output


def test_an_earlier_comparison_is_replaced_and_that_is_said(app, folders):
    (folders / "better").mkdir()
    for name in NAMES:
        write_labels(folders / "better" / f"{name}.tif", CASES[name].truth)
    arguments = [folders / "masks", folders / "out", "--compare", folders / "better", "--output", folders / "report"]
    assert "replace" not in app(*arguments, "--no-html").output
    assert "comparison.html; they replace an earlier evaluation" in app(*arguments).output


def test_results_of_cellpose_are_read_beside_their_images(app, folders, tmp_path):
    (tmp_path / "cellpose").mkdir()
    for name in NAMES:
        write_picture(tmp_path / "cellpose" / f"{name}.tif", CASES[name].truth.shape)
        np.save(tmp_path / "cellpose" / f"{name}_seg.npy", {"masks": CASES[name].predicted.astype(np.uint16)})
    result = app(folders / "masks", tmp_path / "cellpose", "--output", folders / "report", "--no-html")
    assert result.exit_code == 0, result.output
    assert "ignored: not labels" in result.output
    expected = evaluate([CASES[n].truth for n in NAMES], [CASES[n].predicted for n in NAMES])
    assert summary(folders / "report")["metrics"]["seg"]["pooled"] == expected.pooled["seg"]


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("folder", "what"), [("masks", "one plane of labels"), ("images", "--images: ")])
@pytest.mark.parametrize("several", ["planes", "series"])
def test_messages_of_files_with_several_planes_name_no_option_that_eval_lacks(app, folders, folder, what, several):
    (folders / "images").mkdir()
    for name in NAMES:
        write_picture(folders / "images" / f"{name}.tif", CASES[name].truth.shape)
    shape = CASES["split_cell"].truth.shape
    if several == "planes":
        pages = np.ones((5, *shape), np.uint8)
        options = {"metadata": {"axes": "ZYX"}, "photometric": "minisblack"}
        tifffile.imwrite(folders / folder / "split_cell.tif", pages, **options)
    else:
        with tifffile.TiffWriter(folders / folder / "split_cell.tif", ome=True) as file:
            for _ in range(2):
                file.write(np.ones(shape, np.uint8), metadata={"axes": "YX"}, photometric="minisblack")
    result = app(folders / "masks", folders / "out", "--output", folders / "report", "--images", folders / "images")
    assert (result.exit_code, what in result.stderr, "split_cell.tif" in result.stderr) == (1, True, True), (
        result.output
    )
    assert "--z" not in result.stderr
    assert "--scene" not in result.stderr


def test_an_image_that_cannot_be_drawn_leaves_an_earlier_report_as_it_was(app, folders):
    assert app(folders / "masks", folders / "masks", "--output", folders / "report").exit_code == 0
    before = contents(folders / "report")
    (folders / "images").mkdir()
    for name in NAMES:
        tifffile.imwrite(
            folders / "images" / f"{name}.tif", np.zeros((5, 9, 9), np.uint8), metadata={"axes": "ZYX"},
            photometric="minisblack",
        )  # fmt: skip
    arguments = [folders / "masks", folders / "out", "--output", folders / "report", "--images", folders / "images"]
    result = app(*arguments)
    assert (result.exit_code, "expected one plane" in result.output) == (1, True), result.output
    assert contents(folders / "report") == before


def test_a_comparison_that_fails_leaves_an_earlier_one_as_it_was(app, folders):
    arguments = [folders / "masks", folders / "masks", "--compare", folders / "out", "--output", folders / "report"]
    assert app(*arguments).exit_code == 0
    (folders / "report" / "first" / "summary.json").write_text("of the first run")
    before = contents(folders / "report")
    assert len(before) == 10
    write_labels(folders / "out" / "split_cell_labels.tif", np.ones((3, 3), int))
    assert app(*arguments).exit_code == 1
    assert contents(folders / "report") == before


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text on this system")
def test_a_name_that_is_no_utf_8_does_not_lose_the_evaluation(app, folders):
    name = os.fsdecode(b"Z\xfcrich.tif")
    for folder in ("masks", "out"):
        (folders / folder / name).write_bytes((folders / "masks" / "missed_cell.tif").read_bytes())
    result = app(folders / "masks", folders / "out", "--output", folders / "report")
    assert result.exit_code == 0, result.output
    for file in ("images.csv", "objects.csv", "report.html"):
        assert "Z\\udcfcrich" in (folders / "report" / file).read_text(encoding="utf-8")
    assert {pair["name"] for pair in summary(folders / "report")["inputs"]["pairs"]} == {*NAMES, name[:-4]}
