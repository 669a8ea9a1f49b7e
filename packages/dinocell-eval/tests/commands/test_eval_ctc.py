"""The command in place of the official tools: their output, their logs and their exit status."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import typer
from typer.testing import CliRunner

from dinocell_eval import write_tracks
from dinocell_eval.cases.tracking_cases import TRACKING_CASES
from dinocell_eval.commands.eval_ctc import eval_ctc_command

CASE = TRACKING_CASES["shorter_cell_cycle"]  # SEG 3/4, DET 57/80, TRA 120/181


@pytest.fixture
def dataset(tmp_path):
    truth, result = tmp_path / "01_GT", tmp_path / "01_RES"
    for folder in (truth / "TRA", truth / "SEG", result):
        folder.mkdir(parents=True)
    for number, (true, found) in enumerate(zip(CASE.truth_frames, CASE.result_frames, strict=True)):
        for path, labels in (
            (truth / "TRA" / f"man_track{number:03d}.tif", true),
            (truth / "SEG" / f"man_seg{number:03d}.tif", true),
            (result / f"mask{number:03d}.tif", found),
        ):
            tifffile.imwrite(path, labels.astype(np.uint16), photometric="minisblack", metadata=None)
    write_tracks(truth / "TRA" / "man_track.txt", CASE.truth_tracks)
    write_tracks(result / "res_track.txt", CASE.result_tracks)
    return tmp_path


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    app.command("eval-ctc")(eval_ctc_command)

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


def logs(dataset):
    return sorted(path.name for path in (dataset / "01_RES").glob("*_log.txt"))


@pytest.mark.parametrize(
    ("measure", "line"),
    [("seg", "SEG measure: 0.750000"), ("det", "DET measure: 0.712500"), ("tra", "TRA measure: 0.662983")],
)
def test_a_measure_prints_what_its_official_tool_does_and_writes_its_log(run, dataset, measure, line):
    result = run(dataset, "01", "3", "--measure", measure)
    assert (result.exit_code, result.stdout) == (0, line + "\n")
    assert logs(dataset) == [f"{measure.upper()}_log.txt"]
    assert (dataset / "01_RES" / logs(dataset)[0]).read_text().endswith(f"\n{line}\n")


def test_measures_and_digits_are_read_leniently_where_the_official_tools_are(run, dataset):
    assert run(dataset, "01", "03", "--measure", "DET").stdout == "DET measure: 0.712500\n"
    both = run(dataset, "01", "--measure", "seg", "--measure", "tra", "--no-log")
    assert both.stdout == "SEG measure: 0.750000\nTRA measure: 0.662983\n"
    assert logs(dataset) == ["DET_log.txt"]  # of the first call


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("0", "0.750000"),
        ("abc", "0.750000"),
        ("0.5", "0.750000"),
        (" 00", "0.750000"),
        ("1", "0.712500"),
        ("7x", "0.712500"),
    ],
)
def test_the_fourth_argument_drops_false_positives_of_det_as_atoi_reads_it(run, dataset, argument, value):
    assert run(dataset, "01", "3", argument, "--measure", "det").stdout == f"DET measure: {value}\n"
    penalty = 0 if value == "0.750000" else 1
    log = (dataset / "01_RES" / "DET_log.txt").read_text()
    assert f"False Positive Vertices (Penalty={penalty})" in log


def test_without_measure_all_measures_are_shown_and_no_log_is_written(run, dataset):
    result = run(dataset, "01", "3")
    assert result.exit_code == 0, result.output
    for text in (
        "sequence 01: 4 frames, 8 true and 9 result objects",
        "TRA",
        "0.662983",
        "BC(1)",
        "1.000000",
        "CHOTA",
        "OP_CLB(3)",
        "2 FN, 3 FP, 0 ED, 5 EA, 0 EC, AOGM 30.5",
    ):
        assert text in result.output, text
    assert logs(dataset) == []
    assert run(dataset, "01", "3", "--log").exit_code == 0
    assert logs(dataset) == ["DET_log.txt", "SEG_log.txt", "TRA_log.txt"]


def test_notes_are_shown_but_never_in_the_output_that_programs_read(run, dataset):
    path = dataset / "01_RES" / "mask000.tif"
    tifffile.imwrite(path, tifffile.imread(path), photometric="minisblack", metadata=None, compression="zstd")
    result = run(dataset, "01", "3", "--measure", "seg")
    assert result.stdout == "SEG measure: 0.750000\n"
    assert "note: " in result.stderr
    assert "compressed with ZSTD" in result.stderr
    assert "compressed with ZSTD" in run(dataset, "01", "3").output
    strict = run(dataset, "01", "3", "--measure", "seg", "--strict")
    assert (strict.exit_code, "ZSTD" in strict.stdout) == (255, True)


def test_all_measures_can_be_written_as_json(run, dataset):
    result = run(dataset, "01", "3", "--output", dataset / "report.json", "--bc-tolerance", "1")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(f"wrote {dataset / 'report.json'}\n")
    written = json.loads((dataset / "report.json").read_text())
    assert written["measures"]["tra"] == pytest.approx(120 / 181)
    assert written["measures"]["bc"] == [0.5, 1.0]
    assert written["inputs"] == {"dataset": str(dataset), "sequence": "01"}


def test_the_field_of_interest_and_missing_frames_are_options(run, dataset):
    (dataset / "01_RES" / "mask003.tif").unlink()
    assert run(dataset, "01", "--measure", "seg").exit_code == 255
    assert run(dataset, "01", "--measure", "seg", "--missing-as-empty").stdout == "SEG measure: 0.375000\n"
    assert (
        run(dataset, "01", "--measure", "det", "--missing-as-empty", "--foi", "1").stdout == "DET measure: 0.000000\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["02", "3"], "02_GT is not a folder"),
        (["01", "4"], "TRA has no man_track0000.tif and so on, but man_track000.tif"),
        (["01", "x"], "the number of digits is 'x', expected 3 for mask000.tif or 4 for mask0000.tif"),
        (["01", "0"], "the number of digits is '0'"),
        (["01", "-1"], None),
        (["01", "3", "--measure", "fun"], "measures are ['fun'], expected one or more of seg, det, tra"),
        (["01", "3", "--silver-truth"], "01_ST is not a folder"),
    ],
)
def test_wrong_arguments_are_explained_on_stdout_with_the_official_status(run, dataset, arguments, message):
    result = run(dataset, *arguments)
    assert isinstance(result.exception, SystemExit)
    if message is None:  # an unknown option, which the parser of the command line explains
        assert result.exit_code == 2
        return
    assert result.exit_code == 255
    assert result.stdout.startswith("error: ")
    assert message in result.stdout


def test_wrong_files_leave_no_new_log_and_no_report(run, dataset):
    (dataset / "01_RES" / "res_track.txt").write_text("1 0 3 9\n")
    result = run(dataset, "01", "3", "--log", "--output", dataset / "report.json")
    assert result.exit_code == 255
    assert "res_track.txt: line 1: the parent of track 1 is 9, which is not a track" in result.stdout
    assert logs(dataset) == []
    assert not (dataset / "report.json").exists()


def test_an_undefined_measure_is_an_error_that_says_why(run, dataset):
    for path in (dataset / "01_GT").rglob("*.tif"):
        tifffile.imwrite(path, 0 * tifffile.imread(path), photometric="minisblack", metadata=None)
    result = run(dataset, "01", "3", "--measure", "seg")
    assert (result.exit_code, logs(dataset)) == (255, [])
    assert "SEG is undefined: no true object in the images of SEG" in result.stdout
    result = run(dataset, "01", "3", "--measure", "det")
    assert "DET is undefined: no true object in the images of the tracks" in result.stdout
    (dataset / "01_GT" / "TRA" / "man_track001.tif").unlink()
    result = run(dataset, "01", "3", "--measure", "tra")
    assert "TRA is undefined: " in result.stdout
    assert "no true image of frame 1: only SEG and DET are computed, TRA needs every frame" in result.stdout


def test_showing_the_help_imports_nothing_heavy():
    heavy = {"scipy", "tifffile", "rich.console", "torch"}
    code = f"import sys, dinocell_eval.commands.eval_ctc\nassert not {heavy} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
