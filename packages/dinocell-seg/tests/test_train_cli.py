import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from dinocell_core import load_model
from dinocell_io import LeakWarning, held_alone, read_labels, write_labels
from dinocell_seg.pipeline import default_model_path
from dinocell_seg.train_cli import calibrate, train

app = typer.Typer()
app.command()(train)
app.command()(calibrate)
SMALL = [
    "network.decoder_channels=[8, 8, 8, 8]",
    "network.stem_channels=[4, 4, 4, 4]",
    "sampling.crop_px=32",
    "sampling.batch_size=2",
    "schedule.steps=2",
    "schedule.steps_per_epoch=2",
]
SETTINGS = [word for value in SMALL for word in ("--set", value)]
# Two steps from nothing find no cell; the embedded model, left nearly as it is, finds those of the folder.
FINE_TUNED = [word for value in (*SMALL[2:], "optimization.learning_rate=1e-9") for word in ("--set", value)]
FINE_TUNED += ["--start-from", "default"]


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "squares"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    labels = np.zeros((40, 40), np.int32)
    labels[5:15, 5:15] = 1
    labels[20:34, 18:36] = 2
    for index in range(3):
        Image.fromarray((40 + index + 160 * (labels > 0)).astype(np.uint8)).save(folder / "images" / f"s{index}.png")
        write_labels(folder / "masks" / f"s{index}.png", labels)
    (folder / "splits.csv").write_text("name,split\ns0,train\ns1,val\ns2,test\n")
    return folder


def run(*words: str | Path):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_train_writes_a_calibrated_model_and_says_how_to_use_it(folder, tmp_path):
    result = run("train", "--data", folder, "--output", tmp_path / "run", "--device", "cpu", *FINE_TUNED)
    assert result.exit_code == 0, result.output
    assert "calibrated on 1 image: peak" in result.output
    assert "dinocell segment IMAGE --model" in result.output
    assert load_model(tmp_path / "run" / "model.safetensors").metadata["calibration"]["split"] == "val"
    assert (tmp_path / "run" / "log.jsonl").read_text().count("\n") == 1


def test_fine_tuning_starts_from_the_embedded_model(folder, tmp_path):
    words = [word for value in SMALL[2:] for word in ("--set", value)]
    words += ["--set", "optimization.learning_rate=1e-9", "--start-from", "default", "--device", "cpu"]
    result = run("train", "--data", folder, "--output", tmp_path / "run", "--no-calibrate", *words)
    assert result.exit_code == 0, result.output
    tuned, embedded = load_model(tmp_path / "run" / "model.safetensors"), load_model(default_model_path())
    assert tuned.architecture == embedded.architecture
    weight = "decoder.head.weight"
    torch.testing.assert_close(tuned.state_dict()[weight], embedded.state_dict()[weight], rtol=1e-4, atol=1e-6)


def test_an_unknown_recipe_key_is_refused_with_the_nearest_known_one(folder, tmp_path):
    result = run("train", "--data", folder, "--output", tmp_path / "run", "--set", "schedule.step=3")
    assert result.exit_code == 2
    assert "unknown setting 'schedule.step'; did you mean 'steps'?" in result.output
    assert not (tmp_path / "run").exists()


def test_a_missing_dataset_is_named(tmp_path):
    result = run("train", "--data", tmp_path / "nowhere", "--output", tmp_path / "run", *SETTINGS)
    assert result.exit_code == 2
    assert "nowhere" in result.output


def test_calibrate_writes_the_whole_sweep_with_its_heat_maps(folder, tmp_path):
    run("train", "--data", folder, "--output", tmp_path / "run", "--device", "cpu", "--no-calibrate", *FINE_TUNED)
    model, output = tmp_path / "run" / "model.safetensors", tmp_path / "calibration"
    result = run("calibrate", model, "--data", folder, "--device", "cpu", "--output", output)
    assert result.exit_code == 0, result.output
    written = json.loads((output / "calibration.json").read_text())
    assert max(point["score"] for point in written["grid"]) == written["best"]["score"]
    assert load_model(model).metadata["thresholds"]["peak"] == written["best"]["peak"]
    page = (output / "calibration.html").read_text()
    assert "Calibration of thresholds" in page
    assert "op_csb" in page


def test_a_model_that_finds_nothing_keeps_its_thresholds(folder, tmp_path):
    run("train", "--data", folder, "--output", tmp_path / "run", "--device", "cpu", *FINE_TUNED)
    model = tmp_path / "run" / "model.safetensors"
    before = model.read_bytes()
    assert "thresholds" in load_model(model).metadata, "test invalid: there is nothing to keep"
    one_pixel = np.zeros((40, 40), np.int32)
    one_pixel[3, 3] = 1
    write_labels(folder / "masks" / "s1.png", one_pixel)
    result = run("calibrate", model, "--data", folder, "--device", "cpu", "--output", tmp_path / "page")
    assert result.exit_code == 1
    assert f"{model} keeps its thresholds: ap_mean is 0 at every point: the model finds nothing" in result.output
    assert model.read_bytes() == before
    assert (tmp_path / "page" / "calibration.html").exists()
    assert not list(model.parent.glob(".*.lock"))


def test_binary_and_empty_masks_are_no_truth_to_calibrate_on(folder, tmp_path):
    run("train", "--data", folder, "--output", tmp_path / "run", "--device", "cpu", "--no-calibrate", *SETTINGS)
    mask, model = folder / "masks" / "s1.png", tmp_path / "run" / "model.safetensors"
    write_labels(mask, (read_labels(mask) > 0).astype(np.int32) * 255)
    result = run("calibrate", model, "--data", folder, "--device", "cpu")
    assert result.exit_code == 1
    assert "the masks look binary" in result.output
    write_labels(mask, np.zeros((40, 40), np.int32))
    result = run("calibrate", model, "--data", folder, "--device", "cpu")
    assert result.exit_code == 1
    assert "none of 1 mask holds a cell" in result.output
    assert "thresholds" not in load_model(model).metadata


def test_calibrated_thresholds_name_those_that_they_replace(folder, tmp_path):
    run("train", "--data", folder, "--output", tmp_path / "run", "--device", "cpu", *FINE_TUNED)
    model = tmp_path / "run" / "model.safetensors"
    before = load_model(model).metadata["thresholds"]
    for _ in range(2):
        assert run("calibrate", model, "--data", folder, "--device", "cpu").exit_code == 0
    replaced = load_model(model).metadata["calibration"]["replaced"]
    assert replaced["thresholds"] == before
    assert "replaced" not in replaced["calibration"]


def test_a_folder_without_splits_is_calibrated_on_as_a_whole(folder, tmp_path):
    run("train", "--data", folder, "--output", tmp_path / "run", "--device", "cpu", "--no-calibrate", *FINE_TUNED)
    model = tmp_path / "run" / "model.safetensors"
    result = run("calibrate", model, "--data", folder, "--device", "cpu", "--split", "all")
    assert f"on all 2 images of {folder} but 1 of the test split; where the model was trained" in result.output
    assert "calibrated on 2 images" in result.output
    (folder / "splits.csv").unlink()
    result = run("calibrate", model, "--data", folder, "--device", "cpu")
    assert f"on all 3 images of {folder}, which has no splits.csv" in result.output
    assert "calibrated on 3 images" in result.output


def test_a_second_calibration_of_one_model_is_refused(folder, tmp_path):
    run("train", "--data", folder, "--output", tmp_path / "run", "--device", "cpu", "--no-calibrate", *SETTINGS)
    model = tmp_path / "run" / "model.safetensors"
    with held_alone(model.with_name(".model.safetensors.lock"), busy="test invalid"):
        result = run("calibrate", model, "--data", folder, "--device", "cpu")
    assert result.exit_code == 1
    assert f"another process calibrates {model}" in result.output


def test_calibrate_refuses_the_test_split_and_an_empty_one(folder, tmp_path):
    run("train", "--data", folder, "--output", tmp_path / "run", "--device", "cpu", "--no-calibrate", *SETTINGS)
    model = tmp_path / "run" / "model.safetensors"
    refused = run("calibrate", model, "--data", folder, "--split", "test")
    assert refused.exit_code == 2
    assert "thresholds chosen on a test split" in refused.output
    empty = run("calibrate", model, "--data", folder, "--split", "validation")
    assert "is in the split 'validation'" in empty.output
    assert "thresholds" not in load_model(model).metadata


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--set", "sampling.crop_px=40"],
            "sampling.crop_px is 40, no multiple of 16, the model's coarsest grid; use 32",
        ),
        (
            ["--start-from", "default", "--backbone", "w.pth"],
            "start_from default fixes the network, but stem_channels and decoder_channels and pretrained would be",
        ),
        (["--backbone", "nowhere.pth"], "there is no file nowhere.pth of backbone weights"),
    ],
)
def test_what_would_end_or_spoil_a_training_is_refused_before_it_begins(folder, tmp_path, words, message):
    result = run("train", "--data", folder, "--output", tmp_path / "run", "--device", "cpu", *SETTINGS, *words)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "run").exists()


def test_a_model_to_start_from_that_is_not_there_is_named(folder, tmp_path):
    words = ["--data", folder, "--output", tmp_path / "run", "--device", "cpu", "--start-from", "nowhere.safetensors"]
    result = run("train", *words)
    assert result.exit_code == 2
    assert "there is no model file nowhere.safetensors to start from" in result.output


def test_a_folder_that_is_named_twice_is_refused(folder, tmp_path):
    again = folder / ".." / folder.name
    result = run("train", "--data", folder, "--data", again, "--output", tmp_path / "run", "--device", "cpu", *SETTINGS)
    assert result.exit_code == 2
    assert f"{again} is named twice" in result.output


def test_a_folder_of_one_image_is_told_that_two_are_needed(folder, tmp_path):
    for name in ("s1", "s2"):
        (folder / "images" / f"{name}.png").unlink()
        (folder / "masks" / f"{name}.png").unlink()
    (folder / "splits.csv").unlink()
    result = run("train", "--data", folder, "--output", tmp_path / "run", "--device", "cpu", *SETTINGS)
    assert result.exit_code == 1
    assert f"{folder} holds 1 image and no splits.csv; one to train on and another to validate on are needed" in (
        result.output
    )


def test_a_training_whose_calibration_fails_says_where_its_model_is(folder, tmp_path):
    one_pixel = np.zeros((40, 40), np.int32)
    one_pixel[3, 3] = 1
    write_labels(folder / "masks" / "s1.png", one_pixel)
    result = run("train", "--data", folder, "--output", tmp_path / "run", "--device", "cpu", *SETTINGS)
    model = tmp_path / "run" / "model.safetensors"
    assert result.exit_code == 1
    assert (
        f"wrote {model}, but its thresholds are not calibrated: {model} keeps its thresholds: ap_mean is 0"
        in result.output
    )
    assert model.exists()


def test_an_interrupted_training_says_how_to_go_on(folder, tmp_path, monkeypatch):
    words = ["--data", folder, "--output", tmp_path / "run", "--device", "cpu", *SETTINGS]
    assert run("train", *words, "--no-calibrate").exit_code == 0

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("dinocell_seg.training_preparation.start", interrupted)
    result = run("train", *words, "--resume")
    assert result.exit_code == 130
    assert "stopped; the same command with --resume continues from the last checkpoint" in result.output


def test_calibrating_the_embedded_model_is_refused_with_what_to_do(folder):
    result = run("calibrate", "default", "--data", folder)
    assert result.exit_code == 2
    assert "thresholds are written into the model's file, and the built-in one stays as it is; copy it" in result.output


def test_calibrate_takes_a_channel_by_index(folder, tmp_path):
    trained = run("train", "--data", folder, "--output", tmp_path / "run", "--no-calibrate", *FINE_TUNED)
    assert trained.exit_code == 0, trained.output
    result = run("calibrate", tmp_path / "run" / "model.safetensors", "--data", folder, "--channel", "0")
    assert "calibrated on 1 image:" in result.output
    result = run("calibrate", tmp_path / "run" / "model.safetensors", "--data", folder, "--channel", "7")
    assert result.exit_code == 1
    assert "no channel is named '7' or has that index" in result.output


def test_an_image_that_cannot_be_read_ends_with_exit_code_1_and_no_run(folder, tmp_path):
    (folder / "images" / "s0.png").write_bytes(b"no PNG")
    result = run("train", "--data", folder, "--output", tmp_path / "run", "--device", "cpu", *SETTINGS)
    assert result.exit_code == 1
    assert "s0.png is not a PNG file" in result.output
    assert not (tmp_path / "run").exists()


def test_a_run_resumed_with_another_recipe_is_refused_as_a_wrong_command_line(folder, tmp_path):
    words = ["--data", folder, "--output", tmp_path / "run", "--device", "cpu", "--no-calibrate", *SETTINGS]
    assert run("train", *words).exit_code == 0
    result = run("train", *words, "--resume", "--set", "sampling.batch_size=3")
    assert result.exit_code == 2
    assert "sampling.batch_size: 2 then, 3 now" in result.output


@pytest.mark.parametrize(
    ("model", "words", "message"),
    [
        ("nowhere.safetensors", [], "there is no model file nowhere.safetensors"),
        (__file__, ["--metric", "seg+ap_0.77"], "there is no metric ap_0.77; choose from"),
        (__file__, ["--metric", "count_error"], "count_error is not better when it is higher"),
        (__file__, ["--data", "nowhere"], "nowhere/images does not exist"),
    ],
)
def test_a_wrong_choice_for_a_calibration_is_refused_before_the_model_is_loaded(folder, model, words, message):
    result = run("calibrate", model, "--data", folder, *words)
    assert result.exit_code == 2
    assert message in result.output


def test_equal_images_in_several_splits_are_named_before_the_first_step(folder, tmp_path):
    shutil.copy(folder / "images" / "s0.png", folder / "images" / "s1.png")
    with pytest.warns(LeakWarning, match=r"equal: s0 \(train\) = s1 \(val\); keep one of each"):
        run("train", "--data", folder, "--output", tmp_path / "run", "--device", "cpu", *SETTINGS)
