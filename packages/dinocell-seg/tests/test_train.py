import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from pydantic import ValidationError
from safetensors import SafetensorError

from dinocell_core import create_dinocell_model, file_sha256, load_model, save_model
from dinocell_io import LogWarning, Sample, TrainingStopped, read_labels, write_labels
from dinocell_seg.augment import Augmentation, warp_crop
from dinocell_seg.calibrate import _slice_of, calibrate, store_calibration, sweep
from dinocell_seg.crops import Sampling, random_batch, validation_batches
from dinocell_seg.normalize import Normalization
from dinocell_seg.pipeline import DINOCellPipeline
from dinocell_seg.train import prepare_training, run_training, train
from dinocell_seg.train_recipe import TrainRecipe
from dinocell_seg.training_images import TrainingImage, image_probabilities, load_training_images, with_splits
from dinocell_seg.training_preparation import _pixel_size_um

RECIPE = {
    "network": {"decoder_channels": [8, 8, 8, 8], "stem_channels": [4, 4, 4, 4]},
    "sampling": {"crop_px": 32, "batch_size": 2},
    "optimization": {"warmup_steps": 2},
    "schedule": {"steps": 6, "steps_per_epoch": 2, "validation_crops": 4},
}


def discs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.indices((64, 64))
    labels = np.zeros((64, 64), np.int32)
    for label, (cy, cx) in enumerate([(14, 14), (14, 44), (44, 16), (44, 46)], start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 < rng.integers(6, 11) ** 2] = label
    image = 200 + 2000 * (labels > 0) + rng.normal(0, 50, labels.shape)
    return np.clip(image, 0, 65535).astype(np.uint16), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("discs")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    rows = ["name,split"]
    for index, split in enumerate(["train", "train", "train", "val", "val", "test"]):
        image, labels = discs(index)
        Image.fromarray(image).save(folder / "images" / f"f{index}.png")
        write_labels(folder / "masks" / f"f{index}.png", labels)
        rows.append(f"f{index},{split}")
    (folder / "splits.csv").write_text("\n".join(rows) + "\n")
    return folder


def recipe(**schedule: int) -> TrainRecipe:
    return TrainRecipe.model_validate({**RECIPE, "schedule": {**RECIPE["schedule"], **schedule}})


def test_training_writes_a_model_a_log_and_its_recipe(folder, tmp_path):
    path = train([folder], tmp_path / "run", recipe=recipe())
    model = load_model(path)
    assert model.metadata["normalization"]["method"] == "percentile"
    assert model.metadata["training_data"] == [{"folder": folder.name, "num_train": 3}]
    low, median, high = model.metadata["diameter_px"]
    assert 10 < low <= median <= high < 25
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["sampling"]["crop_px"] == 32


def test_training_learns_to_find_bright_discs(folder, tmp_path):
    settings = {**RECIPE, "optimization": {"warmup_steps": 5, "learning_rate": 3e-3}}
    settings["schedule"] = {"steps": 80, "steps_per_epoch": 10, "validation_crops": 4, "ema": 0.9}
    losses = []
    train(
        [folder],
        tmp_path / "run",
        recipe=TrainRecipe.model_validate(settings),
        on_epoch=lambda epoch: losses.append(epoch["validation_loss"]),
    )
    assert losses[-1] < 0.5 * losses[0]


def lines_without_speed(log: Path) -> list[dict]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "crops_per_second"} for line in lines]


def test_a_run_that_was_killed_continues_to_the_same_bits(folder, tmp_path):
    settings = recipe(steps=8, steps_per_epoch=2)
    train([folder], tmp_path / "whole", recipe=settings)
    code = (
        "import json, sys; from dinocell_seg.train import train; from dinocell_seg.train_recipe import TrainRecipe;"
        "train([sys.argv[1]], sys.argv[2], recipe=TrainRecipe.model_validate(json.loads(sys.argv[3])))"
    )
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(killed), settings.model_dump_json()],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.DEVNULL,
    )
    log = killed / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 2):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    train([folder], killed, recipe=settings, resume=True)
    whole, resumed = load_model(tmp_path / "whole" / "model.safetensors"), load_model(killed / "model.safetensors")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    kept, expected = lines_without_speed(log), lines_without_speed(tmp_path / "whole" / "log.jsonl")
    assert kept == expected


def test_a_folder_with_a_run_is_not_overwritten(folder, tmp_path):
    train([folder], tmp_path, recipe=recipe(steps=2))
    with pytest.raises(ValueError, match="already holds a run; continue it with --resume"):
        train([folder], tmp_path, recipe=recipe(steps=2))


def test_resuming_with_another_recipe_names_the_difference(folder, tmp_path):
    train([folder], tmp_path, recipe=recipe(steps=2))
    with pytest.raises(ValueError, match=r"schedule.steps: 2 then, 4 now"):
        train([folder], tmp_path, recipe=recipe(steps=4), resume=True)


def test_resuming_with_other_images_is_refused(folder, tmp_path):
    settings = recipe(steps=2)
    train([folder], tmp_path / "run", recipe=settings)
    moved = shutil.copytree(folder, tmp_path / "moved")
    train([moved], tmp_path / "run", recipe=settings, resume=True)
    splits = (moved / "splits.csv").read_text()
    (moved / "splits.csv").write_text(splits.replace(",train", ",val", 1))
    with pytest.raises(ValueError, match=r"was trained on other images .* resume with the same --data"):
        train([moved], tmp_path / "run", recipe=settings, resume=True)


def test_a_line_of_the_log_that_is_cut_is_dropped(folder, tmp_path):
    train([folder], tmp_path, recipe=recipe(steps=2))
    log = tmp_path / "log.jsonl"
    (line,) = log.read_text().splitlines()
    log.write_text(f'{line}\n{{"step": 4, "train_lo')
    train([folder], tmp_path, recipe=recipe(steps=2), resume=True)
    assert log.read_text().splitlines() == [line]


def test_a_model_file_of_something_else_is_not_overwritten(folder, tmp_path):
    (tmp_path / "model.safetensors").write_text("mine")
    with pytest.raises(ValueError, match=r"already holds a model\.safetensors and no run to resume; choose another"):
        train([folder], tmp_path, recipe=recipe(steps=2))
    assert (tmp_path / "model.safetensors").read_text() == "mine"


def started_from(path: Path, **sections: dict) -> TrainRecipe:
    values = recipe(steps=2).model_dump()
    return TrainRecipe.model_validate({**values, "network": {"start_from": path}, **sections})


def test_a_model_tells_what_it_started_from(folder, tmp_path):
    base = train([folder], tmp_path / "base", recipe=recipe(steps=2))
    model = load_model(base)
    save_model(base, model, metadata={**without_format(model.metadata), "licence": "CC-BY-NC-4.0"})
    facts = load_model(train([folder], tmp_path / "next", recipe=started_from(base))).metadata["started_from"]
    assert facts["sha256"] == file_sha256(base)
    assert facts["licence"] == "CC-BY-NC-4.0"
    assert facts["training_data"] == [{"folder": folder.name, "num_train": 3}]


def without_format(metadata: dict) -> dict:
    return {key: value for key, value in metadata.items() if key != "format"}


def test_another_normalisation_than_that_of_the_model_it_starts_from_is_refused(folder, tmp_path):
    clahe = {"normalization": {"method": "clahe"}}
    values = {**recipe(steps=2).model_dump(), **clahe}
    base = train([folder], tmp_path / "base", recipe=TrainRecipe.model_validate(values))
    with pytest.raises(ValueError, match=r"another normalisation; keep it with --set normalization\.method=clahe"):
        train([folder], tmp_path / "next", recipe=started_from(base))
    train([folder], tmp_path / "next", recipe=started_from(base, **clahe))


def test_a_network_of_several_channels_is_refused_before_images_are_read(folder, tmp_path):
    values = recipe().model_dump()
    values["network"]["in_channels"] = 3
    with pytest.raises(ValueError, match="takes 3 channels, but training reads one plane of each image"):
        train([folder], tmp_path, recipe=TrainRecipe.model_validate(values))


def test_the_pixel_size_of_the_training_images_is_recorded_where_all_tell_theirs():
    image = TrainingImage("a", "m", np.zeros((2, 2), np.float16), np.zeros((2, 2), np.int32), np.zeros((0, 2)), 0.0)
    known = [replace(image, pixel_size_um=size) for size in (0.28, 0.3, 0.33)]
    assert _pixel_size_um(known) == 0.3
    assert _pixel_size_um([*known, replace(image, pixel_size_um=0.6)]) is None  # no image was resized to another one
    assert _pixel_size_um([*known, image]) is None


def test_a_setting_that_came_later_had_its_default_before(folder, tmp_path):
    train([folder], tmp_path, recipe=recipe(steps=2))
    contents = torch.load(tmp_path / "last.ckpt", weights_only=True)
    del contents["recipe"]["sampling"]["empty_share"]
    torch.save(contents, tmp_path / "last.ckpt")
    other = recipe(steps=2).model_copy(update={"sampling": Sampling(crop_px=32, batch_size=2, empty_share=0.5)})
    with pytest.raises(ValueError, match=r"sampling.empty_share: 0.0 then, 0.5 now"):
        train([folder], tmp_path, recipe=other, resume=True)
    train([folder], tmp_path, recipe=recipe(steps=2), resume=True)


@pytest.mark.parametrize("size", ["tiny", "small", "large"])
def test_a_recipe_builds_the_network_that_its_size_has_by_itself(size):
    channels = TrainRecipe.model_validate({"network": {"size": size}}).network.decoder_channels
    with torch.device("meta"):
        assert channels == create_dinocell_model(size).architecture.decoder_channels
    given = TrainRecipe.model_validate({"network": {"size": size, "decoder_channels": [8, 8, 8, 8]}})
    assert given.network.decoder_channels == (8, 8, 8, 8)


def test_resuming_nothing_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="to resume; start without --resume"):
        train([folder], tmp_path, recipe=recipe(), resume=True)


def test_a_damaged_checkpoint_is_refused(folder, tmp_path):
    train([folder], tmp_path, recipe=recipe(steps=2))
    (tmp_path / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="not a complete checkpoint; start the run again"):
        train([folder], tmp_path, recipe=recipe(steps=2), resume=True)


def test_training_stops_when_the_validation_loss_no_longer_improves(folder, tmp_path):
    steps = []
    train(
        [folder],
        tmp_path,
        recipe=recipe(steps=40, steps_per_epoch=1, patience=2, min_delta=10),
        on_epoch=lambda epoch: steps.append(epoch["step"]),
    )
    assert steps == [1, 2, 3]


def test_patience_counts_from_the_last_improvement_that_counts(folder, tmp_path, monkeypatch):
    """Every epoch improves by two thirds of min_delta: every other one counts, and the run goes on."""
    losses = iter(1 - 2e-3 * epoch for epoch in range(20))
    monkeypatch.setattr("dinocell_seg.train._validate", lambda *arguments: next(losses))
    steps = []
    train(
        [folder],
        tmp_path,
        recipe=recipe(steps=8, steps_per_epoch=1, patience=2, min_delta=3e-3),
        on_epoch=lambda epoch: steps.append(epoch["step"]),
    )
    assert steps == list(range(1, 9))


def test_the_model_file_is_of_the_lowest_validation_loss_however_small_the_step(folder, tmp_path):
    losses = {}
    model = train(
        [folder],
        tmp_path,
        recipe=recipe(steps=6, steps_per_epoch=1, patience=9, min_delta=10),
        on_epoch=lambda epoch: losses.update({epoch["step"]: epoch["validation_loss"]}),
    )
    best = min(losses, key=losses.get)
    assert best > 1, "test invalid: the first epoch is the best"
    assert load_model(model).metadata["step"] == best


def break_step(monkeypatch, number: int, change) -> None:
    """Change the loss of one training step, counted from 1 in this process."""
    from dinocell_seg import train as module

    original, calls = module._loss, []

    def changed(model, batch, recipe, device):
        loss = original(model, batch, recipe, device)
        if not torch.is_grad_enabled():
            return loss
        calls.append(loss)
        return change(model, loss) if len(calls) == number else loss

    monkeypatch.setattr(module, "_loss", changed)


def infinite_gradient(model, loss):
    """The same loss, whose gradient is not finite."""
    return loss + torch.sqrt((model.decoder.head.bias * 0).sum())


def infinite_loss(model, loss):
    return loss / 0


@pytest.mark.parametrize("change", [infinite_gradient, infinite_loss])
@pytest.mark.parametrize("number", [1, 4])  # the first step, and the last one of an epoch
def test_a_step_that_is_not_finite_reaches_neither_weights_nor_files(folder, tmp_path, monkeypatch, change, number):
    with monkeypatch.context() as patch:
        break_step(patch, number, change)
        with pytest.raises(
            FloatingPointError, match=rf"of step {number} .*--resume --set optimization\.learning_rate="
        ):
            train([folder], tmp_path / "run", recipe=recipe())
    kept = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert kept["step"] == (number - 1) // 2 * 2
    assert all(bool(tensor.isfinite().all()) for part in ("model", "averaged") for tensor in kept[part].values())
    train([folder], tmp_path / "run", recipe=recipe(), resume=True)
    train([folder], tmp_path / "whole", recipe=recipe())
    lines = [lines_without_speed(tmp_path / name / "log.jsonl") for name in ("run", "whole")]
    assert lines[0] == lines[1]


def overflowing_weight(model, loss):
    """The same loss, and a weight that a step leaves infinite."""
    model.decoder.head.bias.data.fill_(float("inf"))
    return loss


def test_weights_that_overflow_in_the_last_step_are_not_written(folder, tmp_path, monkeypatch):
    break_step(monkeypatch, 2, overflowing_weight)
    with pytest.raises(FloatingPointError, match=r"after step 2 model\.decoder\.head\.bias and 1 other tensor"):
        train([folder], tmp_path / "run", recipe=recipe(steps=2))
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["step"] == 0
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_learning_rate_beyond_floating_point_numbers_is_refused():
    for rate in (1e38, float("inf"), float("nan")):
        with pytest.raises(ValidationError, match="learning_rate"):
            TrainRecipe.model_validate({"optimization": {"learning_rate": rate}})


def test_a_validation_loss_that_is_not_finite_is_told_in_words(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("dinocell_seg.train._validate", lambda *arguments: float("nan"))
    with pytest.raises(FloatingPointError, match="the validation loss after step 2 is nan"):
        train([folder], tmp_path / "run", recipe=recipe())
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("part", ["model", "averaged", "optimizer"])
def test_a_checkpoint_with_numbers_that_are_not_finite_is_refused(folder, tmp_path, part):
    train([folder], tmp_path, recipe=recipe(steps=2))
    contents = torch.load(tmp_path / "last.ckpt", weights_only=True)
    tensors = contents[part]["state"][0] if part == "optimizer" else contents[part]
    next(tensor for name, tensor in tensors.items() if name != "step").fill_(float("nan"))
    torch.save(contents, tmp_path / "last.ckpt")
    with pytest.raises(
        ValueError, match=rf"cannot be continued: {part}.* not finite.*--start-from .*model.safetensors"
    ):
        train([folder], tmp_path, recipe=recipe(steps=2), resume=True)


def test_a_run_that_diverged_goes_on_with_another_rate_and_says_so(folder, tmp_path):
    train([folder], tmp_path, recipe=recipe(steps=2))
    slower = recipe(steps=2).model_dump() | {"optimization": {"learning_rate": 1e-4, "warmup_steps": 2}}
    prepared = prepare_training([folder], tmp_path, recipe=TrainRecipe.model_validate(slower), resume=True)
    assert prepared.notes() == [
        "resumed with another recipe, from step 2: optimization.learning_rate: 0.001 then, 0.0001 now"
    ]


def test_lines_and_checkpoints_come_between_epochs_too(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dinocell_seg.train.REPORT_EVERY_SECONDS", 0.0)
    saved = []
    original = torch.save
    monkeypatch.setattr(
        torch, "save", lambda contents, path: (saved.append(contents["step"]), original(contents, path))
    )
    monkeypatch.setattr("dinocell_seg.train.SAVING_SHARE", float("inf"))
    train([folder], tmp_path, recipe=recipe(steps=4, steps_per_epoch=4))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], "validation_loss" in line) for line in lines] == [(step, step == 4) for step in (1, 2, 3, 4)]
    assert saved == [0, 1, 2, 3, 4]
    printed = capsys.readouterr().out
    assert "3 images to train on, 4 crops to validate on; 4 steps of 2 crops, a validation every 4" in printed
    assert "step 1: train" in printed


def test_a_run_resumed_within_an_epoch_continues_to_the_same_bits(folder, tmp_path, monkeypatch):
    settings = recipe(steps=6, steps_per_epoch=3)
    train([folder], tmp_path / "whole", recipe=settings)
    with monkeypatch.context() as patch:
        break_step(patch, 5, interrupt_this_process)
        with pytest.raises(TrainingStopped, match=r"stopped after step 5 of 6; .* is of the best epoch so far") as stop:
            train([folder], tmp_path / "run", recipe=settings)
    assert stop.value.exit_code == 128 + signal.SIGTERM
    train([folder], tmp_path / "run", recipe=settings, resume=True)
    whole, resumed = (lines_without_speed(tmp_path / name / "log.jsonl") for name in ("whole", "run"))
    assert [line for line in resumed if "validation_loss" in line] == whole
    states = [load_model(tmp_path / name / "model.safetensors").state_dict() for name in ("whole", "run")]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def interrupt_this_process(model, loss):
    os.kill(os.getpid(), signal.SIGTERM)
    return loss


def test_a_run_that_is_stopped_before_its_first_validation_keeps_its_weights(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        break_step(patch, 1, interrupt_this_process)
        with pytest.raises(TrainingStopped, match="holds the averaged weights of this step, which were not validated"):
            train([folder], tmp_path, recipe=recipe())
    assert load_model(tmp_path / "model.safetensors").metadata["validation_loss"] is None
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    train([folder], tmp_path, recipe=recipe(), resume=True)
    assert load_model(tmp_path / "model.safetensors").metadata["validation_loss"] > 0


def test_two_trainings_into_one_folder_exclude_each_other(folder, tmp_path, monkeypatch):
    def begin_another(model, loss):
        with pytest.raises(
            ValueError, match=r"another process trains into .*run; wait for it, or choose another folder"
        ):
            train([folder], tmp_path / "run", recipe=recipe(), resume=True)
        return loss

    break_step(monkeypatch, 3, begin_another)
    train([folder], tmp_path / "run", recipe=recipe())
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 3
    assert not (tmp_path / "run" / ".lock").exists()


def test_a_run_that_another_process_has_continued_since_is_not_overwritten(folder, tmp_path):
    train([folder], tmp_path, recipe=recipe(steps=2))
    prepared = prepare_training([folder], tmp_path, recipe=recipe(steps=2), resume=True)
    train([folder], tmp_path, recipe=recipe(steps=2), resume=True)
    with pytest.raises(ValueError, match="another process has written into"):
        run_training(prepared)


def full_disk(monkeypatch, writer: str, error: type[Exception]) -> None:
    """Make a library's writer fail as it does on a full disk, with its own kind of error."""

    def write_a_part(contents, path, *arguments, **options):
        Path(path).write_bytes(b"the part that fitted")
        raise error("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(writer, write_a_part)


def test_a_full_disk_is_named_and_leaves_the_earlier_checkpoint(folder, tmp_path, monkeypatch):
    train([folder], tmp_path, recipe=recipe(steps=2))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    full_disk(monkeypatch, "torch.save", RuntimeError)
    with pytest.raises(OSError, match=r"last\.ckpt could not be written \(\d+ MB free\)$"):
        train([folder], tmp_path, recipe=recipe(steps=2), resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_full_disk_is_named_and_leaves_no_half_model(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        full_disk(patch, "dinocell_core.model_file.save_file", SafetensorError)
        with pytest.raises(OSError, match=r"model\.safetensors could not be written \(\d+ MB free\)"):
            train([folder], tmp_path / "run", recipe=recipe(steps=2))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["last.ckpt", "log.jsonl", "recipe.json"]
    train([folder], tmp_path / "run", recipe=recipe(steps=2), resume=True)
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_a_full_disk_costs_lines_of_the_log_and_not_the_run(folder, tmp_path, monkeypatch):
    class FullFile(io.FileIO):
        def write(self, data):
            return super().write(data[:3])

    opened = Path.open

    def full(path, mode="r", *arguments, **options):
        is_log = path.name == "log.jsonl" and mode == "ab"
        return FullFile(path, "a") if is_log else opened(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.warns(LogWarning, match=r"log\.jsonl are lost \(No space left on device\) until there is room"):
        train([folder], tmp_path, recipe=recipe(steps=2))
    monkeypatch.undo()
    assert (tmp_path / "log.jsonl").read_text() == ""
    assert (tmp_path / "model.safetensors").exists()


def test_a_split_without_images_is_refused(folder):
    with pytest.raises(ValueError, match="no image in the split 'validation'"):
        load_training_images([folder], split="validation", normalization=Normalization())


def test_a_folder_without_splits_gives_a_tenth_of_its_groups_to_validation():
    nowhere = Path("nowhere")
    samples = [Sample(f"s{i}", nowhere, nowhere, None, f"g{i // 2}", None) for i in range(40)]
    divided = with_splits(samples)
    held_out = {sample.group for sample in divided if sample.split == "val"}
    assert len(held_out) == 2
    assert all((sample.group in held_out) == (sample.split == "val") for sample in divided)
    assert with_splits(samples) == divided
    assert sum(sample.split == "val" for sample in with_splits(samples[:2])) == 2


def test_given_splits_are_kept():
    nowhere = Path("nowhere")
    samples = [Sample("a", nowhere, nowhere, "train", None, None), Sample("b", nowhere, nowhere, None, None, None)]
    assert with_splits(samples) == samples


def test_an_image_and_labels_of_different_shapes_are_refused(folder, tmp_path):
    import shutil

    copy = shutil.copytree(folder, tmp_path / "copy")
    write_labels(copy / "masks" / "f0.png", np.zeros((10, 10), np.int32))
    with pytest.raises(ValueError, match=r"f0.png is \(64, 64\) but .* is \(10, 10\)"):
        load_training_images([copy], split="train", normalization=Normalization())


def changed_masks(folder, copy, change, names=range(6)) -> Path:
    shutil.copytree(folder, copy)
    for index in names:
        path = copy / "masks" / f"f{index}.png"
        write_labels(path, change(read_labels(path)))
    return copy


def test_masks_that_are_binary_are_refused_before_the_first_step(folder, tmp_path):
    binary = changed_masks(folder, tmp_path / "binary", lambda labels: (labels > 0).astype(np.int32) * 255)
    with pytest.raises(ValueError, match=r"the masks look binary: .*f0\.png .*dinocell data split-pieces"):
        train([binary], tmp_path / "run", recipe=recipe(steps=2))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("split", "names"), [("train", range(3)), ("val", (3, 4))])
def test_masks_without_any_cell_are_refused_before_the_first_step(folder, tmp_path, split, names):
    empty = changed_masks(folder, tmp_path / "empty", np.zeros_like, names)
    with pytest.raises(ValueError, match=rf"no mask of the split '{split}' holds a cell"):
        train([empty], tmp_path / "run", recipe=recipe(steps=2))
    assert not (tmp_path / "run").exists()


def test_a_pixel_that_is_not_a_number_is_named_with_its_file(folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "images" / "f1.png").unlink()
    pixels = discs(1)[0].astype(np.float32)
    pixels[0, 0] = np.nan
    tifffile.imwrite(broken / "images" / "f1.tif", pixels)
    with pytest.raises(ValueError, match=r"f1\.tif: .*NaN"):
        train([broken], tmp_path / "run", recipe=recipe(steps=2))


def test_weights_of_images_that_share_a_name_are_told_apart_by_their_folders(folder):
    images = load_training_images([folder], split="train", normalization=Normalization())[:1]
    images += [replace(images[0], modality="other/all")]
    with pytest.raises(ValueError, match="names f0, which several folders have; name it as folder/f0"):
        image_probabilities(images, balance=0.5, weights={"f0": 2.0})
    both = [*images, replace(images[1], name="g")]
    np.testing.assert_allclose(
        image_probabilities(both, balance=1.0, weights={"other/f0": 3.0}), [1 / 3, 2 / 3 * 3 / 4, 2 / 3 / 4]
    )


def test_validation_mirrors_a_small_image_as_training_does(folder):
    (image,) = load_training_images([folder], split="train", normalization=Normalization())[:1]
    small = replace(image, image=image.image[:40, :40], labels=image.labels[:40, :40])
    (batch,) = validation_batches([small], sampling=Sampling(crop_px=64, batch_size=1), max_crops=1)
    plain, _ = warp_crop(small.image, small.labels, matrix=np.eye(2), center=(31.5, 31.5), size=64)
    np.testing.assert_allclose(batch.images[0, 0].numpy(), plain, atol=1e-6)
    target = batch.targets[0, 0].numpy()
    np.testing.assert_array_equal(target[40:], target[38:14:-1])


def test_batches_are_a_function_of_seed_and_step(folder):
    images = load_training_images([folder], split="train", normalization=Normalization())
    probabilities = image_probabilities(images, balance=0.5)

    def batch(seed: int, step: int) -> torch.Tensor:
        return random_batch(
            images,
            step,
            seed=seed,
            sampling=Sampling(crop_px=32, batch_size=2),
            augmentation=Augmentation(),
            probabilities=probabilities,
        ).images

    assert torch.equal(batch(0, 5), batch(0, 5))
    assert not torch.equal(batch(0, 5), batch(0, 6))
    assert not torch.equal(batch(0, 5), batch(1, 5))


def test_targets_of_a_cut_cell_agree_with_the_whole_image(folder):
    images = load_training_images([folder], split="train", normalization=Normalization())
    batches = validation_batches(images[:1], sampling=Sampling(crop_px=32, batch_size=4), max_crops=4)
    whole = validation_batches(images[:1], sampling=Sampling(crop_px=64, batch_size=1), max_crops=1)
    quarters = batches[0].targets
    np.testing.assert_array_equal(quarters[0, 0], whole[0].targets[0, 0, :32, :32])
    np.testing.assert_array_equal(quarters[3, 0], whole[0].targets[0, 0, 32:, 32:])


def test_modalities_are_drawn_by_the_square_root_of_their_size(folder):
    images = load_training_images([folder], split="train", normalization=Normalization())
    images = [replace(images[0], modality="a")] * 9 + [replace(images[1], modality="b")]
    np.testing.assert_allclose(image_probabilities(images, balance=0.5), [0.75 / 9] * 9 + [0.25])


def test_images_are_drawn_by_their_weights_within_their_modality(folder):
    (image, *_) = load_training_images([folder], split="train", normalization=Normalization())
    images = [replace(image, name=name, modality=name[0]) for name in ("a1", "a2", "a3", "b1")]
    probabilities = image_probabilities(images, balance=0.0, weights={"a1": 3.0, "a3": 0.0})
    np.testing.assert_allclose(probabilities, [3 / 8, 1 / 8, 0, 1 / 2])
    with pytest.raises(ValueError, match=r"names 2 images that the train split does not have: a4, a9; use the names"):
        image_probabilities(images, balance=0.0, weights={"a9": 1.0, "a4": 2.0, "a1": 2.0})
    with pytest.raises(ValueError, match="is 0 for all images of b; give one a weight"):
        image_probabilities(images, balance=0.0, weights={"b1": 0.0})


def test_weights_of_images_are_part_of_the_recipe(folder, tmp_path):
    names = [image.name for image in load_training_images([folder], split="train", normalization=Normalization())]
    weights = {names[0]: 2.0}
    sampling = {**RECIPE["sampling"], "image_weights": weights}
    weighted = TrainRecipe.model_validate({**recipe(steps=2).model_dump(), "sampling": sampling})
    path = train([folder], tmp_path, recipe=weighted)
    assert load_model(path).metadata["recipe"]["sampling"]["image_weights"] == weights
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Sampling(image_weights={"a": -1})


def test_calibration_finds_the_threshold_that_fills_the_cells(folder, tmp_path):
    truths = [discs(index)[1] for index in range(3)]
    from dinocell_kernels import distance_map

    maps = [0.3 * (t > 0).astype(np.float32) + 0.7 * distance_map(t) for t in truths]
    only = {"prominences": (None,), "min_sizes": (0,)}
    grid = sweep(truths, maps, metric="ap_mean", peaks=(0.5, 0.9), fills=(0.2, 0.45), **only)
    best = max(grid, key=lambda point: point.score)
    assert (best.fill, best.score) == (0.2, 1.0)
    assert min(point.score for point in grid) < 0.9
    last = {"peaks": (0.9,), "fills": (0.45,), **only}
    (single,) = sweep(truths, maps, metric="ap_mean", **last).values()
    ((both, values),) = sweep(truths, maps, metric="ap_mean+ap_0.50", **last).items()
    assert both.score == pytest.approx((single["ap_mean"].mean() + values["ap_0.50"].mean()) / 2)
    assert set(values) == {"ap_mean", "ap_0.50", "op_csb", "mma"}


def test_of_several_metrics_score_map_and_interval_are_of_one_rule():
    """An empty field in which the model sees a faint cell: op_csb is undefined there, and ap_mean 0."""
    y, x = np.indices((40, 40))
    from_centre = np.hypot(y - 20, x - 20)
    cell = np.clip(1 - from_centre / 15, 0, 1).astype(np.float32)
    truth = (cell > 0).astype(np.int32)
    faint = np.clip(0.45 - from_centre / 30, 0, 1).astype(np.float32)
    metric = "op_csb+ap_mean"
    points = sweep(
        [truth, np.zeros_like(truth)],
        [cell, faint],
        metric=metric,
        peaks=(0.3, 0.6),
        fills=(0.01,),
        prominences=(None,),
        min_sizes=(0,),
    )
    scores = {point.peak: point.score for point in points}
    assert scores[0.3] == pytest.approx(scores[0.6] - 0.25, abs=0.01)
    best = max(points, key=lambda point: point.score)
    shown = _slice_of(points, best, ["a", "b"], split="val", metric=metric)
    np.testing.assert_allclose(shown.scores(metric)[:, 0], [scores[0.3], scores[0.6]])
    optimum = shown.best(metric)
    assert (optimum.peak, optimum.score) == (best.peak, pytest.approx(best.score))
    low, high = optimum.interval
    assert low <= best.score <= high
    assert shown.metrics[0] == metric


def test_calibration_varies_the_size_from_which_the_prominence_is_full():
    from dinocell_kernels import distance_map

    truths = [discs(index)[1] for index in range(2)]
    maps = [distance_map(truth) for truth in truths]
    grid = sweep(
        truths,
        maps,
        metric="ap_mean",
        peaks=(0.5,),
        fills=(0.2,),
        prominences=(None, 0.2),
        full_prominences_px=(0.0, 25.0),
        min_sizes=(0,),
        scales=(1.0, 0.5),
    )
    found = [(point.prominence, point.full_prominence_px) for point in grid]
    assert found == [(None, 0.0), (0.2, 0.0), (0.2, 25.0)]


def test_calibrated_thresholds_are_stored_in_the_model_file(folder, tmp_path):
    from dinocell_io import open_dataset

    path = train([folder], tmp_path, recipe=recipe(steps=2))
    samples = [sample for sample in open_dataset(folder) if sample.split == "val"]
    pipeline = DINOCellPipeline(path, device="cpu", precision="fp32", tile=32, overlap=8)
    grid = {"peaks": (0.05, 0.6), "fills": (0.02,), "prominences": (None,), "min_sizes": (0,)}
    calibration = calibrate(pipeline, samples, metric="mma", **grid)  # two steps teach less than a match
    assert calibration.best.score > 0, "test invalid"
    assert calibration.slice.peaks == (0.05, 0.6)
    assert calibration.slice.best("mma").score == pytest.approx(calibration.best.score)
    interval = calibration.interval()
    assert interval is not None
    assert interval[0] <= calibration.best.score <= interval[1]
    store_calibration(path, calibration)
    metadata = load_model(path).metadata
    assert metadata["thresholds"]["peak"] in (0.05, 0.6)
    assert metadata["calibration"]["split"] == "val"
    assert metadata["calibration"]["num_images"] == 2
    assert metadata["calibration"]["interval"] == list(interval)


def test_calibration_refuses_a_test_split_and_an_unknown_metric(folder, tmp_path):
    from dinocell_io import open_dataset

    path = train([folder], tmp_path, recipe=recipe(steps=2))
    pipeline = DINOCellPipeline(path, device="cpu", tile=32, overlap=8)
    samples = open_dataset(folder)
    with pytest.raises(ValueError, match="thresholds chosen on a test split"):
        calibrate(pipeline, [sample for sample in samples if sample.split == "test"])
    with pytest.raises(ValueError, match="one split"):
        calibrate(pipeline, samples)
    validation = [sample for sample in samples if sample.split == "val"]
    with pytest.raises(ValueError, match="no metric beauty; choose from aji"):
        calibrate(pipeline, validation, metric="beauty", peaks=(0.5,), fills=(0.1,))
    with pytest.raises(
        ValueError, match="count_error is not better when it is higher; maximise another, such as ap_mean"
    ):
        calibrate(pipeline, validation, metric="op_csb+count_error")


def open_ended(**schedule) -> TrainRecipe:
    settings = recipe(**schedule)
    optimization = settings.optimization.model_copy(update={"decay_steps": 2})
    return settings.model_copy(update={"optimization": optimization})


class Stopped(Exception):
    """What ends a run after an epoch, as a user would."""


def stop_at(step: int):
    def stop(epoch: dict) -> None:
        if epoch["step"] == step:
            raise Stopped

    return stop


def train_losses(output: Path) -> list[float]:
    return [json.loads(line)["train_loss"] for line in (output / "log.jsonl").read_text().splitlines()]


def test_a_run_of_constant_rate_is_given_its_end_on_resuming_and_is_as_if_it_had_known_it(folder, tmp_path):
    train([folder], tmp_path / "known", recipe=open_ended(steps=8, steps_per_epoch=2))
    with pytest.raises(Stopped):
        train([folder], tmp_path / "told", recipe=open_ended(steps=1000, steps_per_epoch=2), on_epoch=stop_at(4))
    train([folder], tmp_path / "told", recipe=open_ended(steps=8, steps_per_epoch=2), resume=True)
    assert train_losses(tmp_path / "told") == train_losses(tmp_path / "known")


def test_a_run_of_constant_rate_goes_on_with_other_batches_and_one_with_a_cosine_does_not(folder, tmp_path):
    for name, settings in (("constant", open_ended(steps=2)), ("cosine", recipe(steps=2))):
        train([folder], tmp_path / name, recipe=settings)
        more = settings.model_copy(
            update={
                "sampling": settings.sampling.model_copy(update={"batch_size": 3}),
                "schedule": settings.schedule.model_copy(update={"steps": 4}),
            }
        )
        if name == "constant":
            train([folder], tmp_path / name, recipe=more, resume=True)
        else:
            with pytest.raises(ValueError, match=r"was written with another recipe .*schedule.steps: 2 then, 4 now"):
                train([folder], tmp_path / name, recipe=more, resume=True)


def test_a_resumed_run_drops_the_same_stem_maps(folder, tmp_path):
    settings = open_ended(steps=6, steps_per_epoch=2)
    settings = settings.model_copy(update={"network": settings.network.model_copy(update={"stem_dropout": 0.5})})
    train([folder], tmp_path / "whole", recipe=settings)

    with pytest.raises(Stopped):
        train([folder], tmp_path / "stopped", recipe=settings, on_epoch=stop_at(2))
    torch.manual_seed(99)
    train([folder], tmp_path / "stopped", recipe=settings, resume=True)
    assert train_losses(tmp_path / "stopped") == train_losses(tmp_path / "whole")
