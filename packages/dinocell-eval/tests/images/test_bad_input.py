"""Files that other tools misread or fail on: read exactly where they mean something, refused with a cure where not."""

import numpy as np
import pytest
import tifffile
import typer
from typer.testing import CliRunner

from dinocell_eval import evaluate
from dinocell_eval.commands.eval import eval_command

TRUTH = np.zeros((40, 48), np.uint16)
TRUTH[2:12, 2:12], TRUTH[2:12, 20:30], TRUTH[20:36, 4:40] = 1, 2, 3
PREDICTED = np.roll(TRUTH, 1, axis=1)


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """Evaluates two files that the given functions write."""
    monkeypatch.setenv("COLUMNS", "300")
    app = typer.Typer()
    app.command()(eval_command)
    for folder in ("truth", "predicted"):
        (tmp_path / folder).mkdir()

    def run(write_truth, write_predicted):
        write_truth(tmp_path / "truth" / "a.tif")
        write_predicted(tmp_path / "predicted" / "a.tif")
        words = [tmp_path / "truth", tmp_path / "predicted", "--output", tmp_path / "out", "--no-html"]
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert (result.exit_code == 0) == (tmp_path / "out" / "summary.json").exists()
        return result

    return run


def saved(array, **options):
    return lambda path: tifffile.imwrite(path, array, **options)


def seg_shown(result):
    assert result.exit_code == 0, result.output
    return next(line.split("│")[2].strip() for line in result.output.splitlines() if "│ seg" in line)


EXPECTED = f"{evaluate([TRUTH], [PREDICTED]).pooled['seg']:.4f}"
HIGH = np.array([0, 70_000, 70_000 - 65_536, 40_000], np.uint32)


@pytest.mark.parametrize(
    ("truth", "options"),
    [
        (TRUTH, {"compression": "zstd"}),
        (TRUTH, {"tile": (16, 16)}),
        (TRUTH, {"tile": (16, 16), "compression": "zstd"}),
        (TRUTH, {"compression": "lzw"}),
        (TRUTH, {"compression": "packbits"}),
        (TRUTH, {"bigtiff": True}),
        (TRUTH, {"byteorder": ">"}),
        (TRUTH.astype(np.uint8), {}),
        (TRUTH.astype(np.int32), {}),
        (TRUTH.astype(np.float32), {}),
        (HIGH[TRUTH], {"compression": "zlib"}),
    ],
    ids=["zstd", "tiled", "tiled-zstd", "lzw", "packbits", "bigtiff", "big-endian", "8-bit", "signed", "whole-floats",
         "above-65535"],
)  # fmt: skip
def test_what_the_official_tools_misread_or_refuse_is_read_exactly(evaluated, truth, options):
    assert seg_shown(evaluated(saved(truth, **options), saved(PREDICTED))) == EXPECTED


def test_an_inverted_display_changes_no_label(evaluated):
    assert seg_shown(evaluated(saved(TRUTH, photometric="miniswhite"), saved(PREDICTED))) == EXPECTED


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (TRUTH * 0.5, "holds fractions, NaN or infinities, expected whole numbers as labels"),
        (np.where(TRUTH == 2, np.nan, TRUTH), "holds fractions, NaN or infinities"),
        (TRUTH.astype(np.int16) - 1, "holds negative numbers (down to -1), expected labels from 0 (background) up"),
        (np.stack([TRUTH.astype(np.uint8)] * 3, -1), "is a colour image, expected one number per pixel"),
        (np.stack([TRUTH] * 2), "has 2 planes"),
        (TRUTH[:-1], "image 'a': truth has shape (39, 48) and prediction (40, 48), expected the same"),
    ],
    ids=["fractions", "nan", "negative", "rgb", "planes", "shape"],
)
def test_what_means_nothing_is_refused_with_its_file_and_a_cure(evaluated, truth, message):
    photometric = "rgb" if truth.ndim == 3 and truth.shape[-1] == 3 else "minisblack"
    result = evaluated(saved(truth, photometric=photometric), saved(PREDICTED))
    assert result.exit_code == 1
    assert message in result.output
    assert "a.tif" in result.output or "image 'a'" in result.output
    assert "Traceback" not in result.output


def test_a_damaged_file_is_named(evaluated):
    result = evaluated(lambda path: path.write_bytes(b"II*\0nonsense"), saved(PREDICTED))
    assert result.exit_code == 1
    assert "a.tif" in result.output


@pytest.mark.parametrize(
    ("truth", "predicted", "note"),
    [
        (TRUTH * 0, TRUTH * 0, "1 image is empty in truth and prediction, and left out of per-image means"),
        (TRUTH * 0, PREDICTED, "no true object in the whole set: SEG, DET and OP_CSB are undefined"),
    ],
)
def test_empty_images_are_evaluated_and_noted(evaluated, truth, predicted, note):
    result = evaluated(saved(truth), saved(predicted))
    assert seg_shown(result) == "-"
    assert note in result.output


def test_an_empty_prediction_scores_zero(evaluated):
    assert seg_shown(evaluated(saved(TRUTH), saved(TRUTH * 0))) == "0.0000"


def test_images_without_background_keep_their_first_label(evaluated):
    halves = np.repeat(np.array([[1, 2]], np.uint16), 12, axis=0).repeat(10, axis=1)
    assert seg_shown(evaluated(saved(halves), saved(halves))) == "1.0000"


@pytest.mark.parametrize(("dtype", "bits"), [("float16", 11), ("float32", 24), ("float64", 53)])
def test_float_arrays_too_large_to_tell_labels_apart_are_refused(dtype, bits):
    exact = np.full((4, 4), 2**bits - 1, dtype)
    assert evaluate([exact], [exact], num_replicates=0).objects.label.tolist() == [2**bits - 1] * 2
    for sign in (1, -1):
        with pytest.raises(ValueError, match=rf"the predicted labels reach {2**bits} in {dtype}, expected less"):
            evaluate([exact], [exact * 0 + np.array(sign * 2**bits, dtype)], num_replicates=0)
