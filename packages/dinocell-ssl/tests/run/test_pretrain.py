"""Whole runs: what they write, and that a killed one continues exactly."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from typer import Typer
from typer.testing import CliRunner

from dinocell_core import create_backbone, create_dinocell_model
from dinocell_core.recipe import merged
from dinocell_io import Image, TrainingStopped, open_folder_fields, read_log, write_image
from dinocell_ssl import distributed
from dinocell_ssl.backbones.backbone_file import read_backbone_facts, save_backbone_weights
from dinocell_ssl.backbones.export_backbone import export_backbone
from dinocell_ssl.backbones.open_backbone import open_backbone
from dinocell_ssl.commands.pretrain import pretrain as pretrain_command
from dinocell_ssl.data.fields import open_folders
from dinocell_ssl.distributed import Ranks
from dinocell_ssl.model.network import SslNetwork
from dinocell_ssl.run.assemble import assemble
from dinocell_ssl.run.pretrain import pretrain
from dinocell_ssl.run.recipe import PretrainRecipe
from dinocell_ssl.run.resume import latest_checkpoint
from dinocell_ssl.run.save import CheckpointWarning
from dinocell_ssl.watch.monitor import CollapseError

HEAD = {"prototypes": 32, "hidden": 16, "bottleneck": 8}
SMALL = {
    "network": {"size": "tiny", "patch": 16, "drop_path": 0.3},
    "dino_head": HEAD,
    "ibot_head": HEAD,
    "crops": {"global_px": 32, "local_px": 16, "num_local": 1},
    "schedule": {"steps": 4, "batch_size": 2, "checkpoint_every": 1, "log_every": 1},
    "loading": {"num_workers": 0},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 4000, (2, 40, 48)).astype(np.uint16)
        path = folder / f"field{seed}.tif"
        write_image(path, Image(pixels, ("DNA", "ER"), None, False, str(path)))
    return folder


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """A run of four steps that nothing interrupted."""
    output = tmp_path_factory.mktemp("finished")
    pretrain(recipe_of(folder), output)
    return output


def recipe_of(folder, **changes):
    return PretrainRecipe.model_validate(merged(merged(SMALL, {"data": {"folders": [folder]}}), changes))


def losses(output):
    return [(line["step"], line["loss"]) for line in read_log(output / "log.jsonl")]


def assert_same_result(one, other):
    assert losses(one) == losses(other)
    found, expected = (torch.load(latest_checkpoint(output), weights_only=True) for output in (one, other))
    for part in ("student", "teacher"):
        for name, tensor in expected[part].items():
            assert torch.equal(found[part][name], tensor), name
    for index, moments in expected["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(found["optimizer"]["state"][index][name], value), (index, name)


class StopAt:
    """A monitor that ends a run the hard way."""

    every = 1

    def __init__(self, step):
        self.step = step

    def on_step(self, step, values, state):
        if step == self.step:
            raise CollapseError(f"stopped at {step}")
        return {"watched": float(step)}


def test_a_run_writes_its_log_checkpoints_backbone_and_recipe(finished):
    lines = read_log(finished / "log.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    for name in ("loss", "dino", "ibot", "koleo", "lr", "weight_decay", "momentum", "images_per_second", "data_wait"):
        assert isinstance(lines[0][name], float), name
    assert [path.name for path in sorted((finished / "checkpoints").iterdir())] == [
        f"step_0000000{step}.pt" for step in (2, 3, 4)
    ]
    assert "mean_vs_single" in (finished / "recipe.yaml").read_text()


def test_the_backbone_starts_a_segmentation_model(finished):
    model = create_dinocell_model("tiny", patch=16, in_channels=1, pretrained=finished / "backbone.safetensors")
    teacher = torch.load(latest_checkpoint(finished), weights_only=True)["teacher"]
    assert torch.equal(model.backbone.blocks[3].mlp.fc1.weight, teacher["backbone.blocks.3.mlp.fc1.weight"])


def test_the_backbone_file_tells_its_origin(finished, folder):
    facts = read_backbone_facts(finished / "backbone.safetensors")
    assert (facts["step"], facts["num_fields"], facts["patch"], facts["in_channels"]) == (4, 3, 16, 1)
    assert facts["start"] == {"started_from": "random weights"}
    assert facts["recipe"]["views"]["strategy"] == "mean_vs_single"


def test_a_finished_run_is_left_as_it_is(finished, folder):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert pretrain(recipe_of(folder), finished) == finished / "backbone.safetensors"
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_a_run_stopped_between_its_last_checkpoint_and_the_backbone_gets_it(finished, folder, tmp_path):
    """Of two steps earlier, or missing: as a kill or a full disk leaves it."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / latest_checkpoint(finished).name).write_bytes(latest_checkpoint(finished).read_bytes())
    expected = (finished / "backbone.safetensors").read_bytes()
    pretrain(recipe_of(folder), tmp_path)
    assert (tmp_path / "backbone.safetensors").read_bytes() == expected
    older, facts = load_file(finished / "backbone.safetensors"), {"step": 2}
    save_backbone_weights(tmp_path / "backbone.safetensors", older, config=create_backbone("tiny").config, facts=facts)
    pretrain(recipe_of(folder), tmp_path)
    assert (tmp_path / "backbone.safetensors").read_bytes() == expected


def test_a_stopped_run_continues_exactly(finished, folder, tmp_path):
    with pytest.raises(CollapseError, match="stopped at 3"):
        pretrain(recipe_of(folder), tmp_path, monitors=[StopAt(3)])
    contents = torch.load(latest_checkpoint(tmp_path), weights_only=True)
    assert "rng" not in contents
    torch.save({**contents, "rng": torch.get_rng_state()}, latest_checkpoint(tmp_path))  # as older versions wrote it
    torch.manual_seed(999)  # whatever happened in between
    pretrain(recipe_of(folder), tmp_path)
    assert_same_result(tmp_path, finished)


@pytest.mark.slow
def test_a_stopped_run_of_micro_batches_and_centres_in_bfloat16_continues_exactly(folder, tmp_path):
    changes = {"schedule": {"accumulate": 2, "batch_size": 4}, "loss": {"targets": "softmax"}, "precision": "bf16"}
    recipe = recipe_of(folder, **changes)
    pretrain(recipe, tmp_path / "whole")
    with pytest.raises(CollapseError, match="stopped at 3"):
        pretrain(recipe, tmp_path / "stopped", monitors=[StopAt(3)])
    torch.manual_seed(999)  # whatever happened in between
    pretrain(recipe, tmp_path / "stopped")
    assert_same_result(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.slow
def test_a_stopped_stream_continues_exactly(folder, tmp_path):
    fields = open_folder_fields(folder)
    recipe = recipe_of(folder, loading={"num_workers": 2}, schedule={"steps": 5})
    pretrain(recipe, tmp_path / "whole", fields=fields)
    with pytest.raises(CollapseError):
        pretrain(recipe, tmp_path / "stopped", fields=fields, monitors=[StopAt(4)])
    with pytest.raises(ValueError, match="workers: 2 then, 1 now"):
        pretrain(recipe_of(folder, schedule={"steps": 5}), tmp_path / "stopped", fields=fields)
    pretrain(recipe, tmp_path / "stopped", fields=fields)
    assert_same_result(tmp_path / "stopped", tmp_path / "whole")


def test_monitors_add_to_the_log(folder, tmp_path):
    with pytest.raises(CollapseError):
        pretrain(recipe_of(folder), tmp_path, monitors=[StopAt(2)])
    assert read_log(tmp_path / "log.jsonl")[0]["watched"] == 1.0


RUN = """
import sys
from dinocell_ssl.run.pretrain import pretrain
from dinocell_ssl.run.recipe import PretrainRecipe
pretrain(PretrainRecipe.model_validate_json(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(finished, folder, tmp_path):
    recipe = recipe_of(folder).model_dump_json()
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    patience = random.Random(2)
    kills = 0
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", RUN, recipe, str(tmp_path)], env=environment)
        start = latest_checkpoint(tmp_path)
        while process.poll() is None and kills < 2:
            # After the next checkpoint has come, anywhere in the step that follows it.
            if latest_checkpoint(tmp_path) != start:
                time.sleep(patience.uniform(0, 0.3))
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
            time.sleep(0.01)
        if process.wait() != -signal.SIGKILL:
            break
    assert process.returncode == 0
    assert kills >= 1, "test invalid"
    assert_same_result(tmp_path, finished)


COMMAND = "from typer import run; from dinocell_ssl.commands.pretrain import pretrain; run(pretrain)"


def test_a_signal_stops_the_command_after_its_step_and_it_continues_to_the_same_bits(folder, tmp_path):
    """Sent to the workers too, as Ctrl-C and most queues do."""
    command = [sys.executable, "-c", COMMAND, *words(folder, tmp_path / "run", "--steps", "12")]
    command += ["--set", "schedule.log_every=1", "--set", "schedule.checkpoint_every=1000"]
    command += ["--set", "loading.num_workers=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    log = tmp_path / "run" / "log.jsonl"
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 2):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM == 143, errors
    step = int(re.search(r"stopped after step (\d+) of 12; the same command continues from there", errors)[1])
    assert step < 12, "test invalid"
    assert errors.count("stopping after this step") == 1
    assert latest_checkpoint(tmp_path / "run").name == f"step_{step:08d}.pt"
    assert read_backbone_facts(tmp_path / "run" / "backbone.safetensors")["step"] == step
    subprocess.run(command, env=environment, check=True, capture_output=True)
    command[command.index(str(tmp_path / "run"))] = str(tmp_path / "whole")
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert_same_result(tmp_path / "run", tmp_path / "whole")


class SignalAt(StopAt):
    """A monitor in whose step signals arrive."""

    def __init__(self, step, *numbers):
        super().__init__(step)
        self.numbers = numbers

    def on_step(self, step, values, state):
        for number in self.numbers if step == self.step else ():
            os.kill(os.getpid(), number)
        return {}


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_ctrl_c_and_a_closed_terminal_stop_a_run_with_a_checkpoint(folder, tmp_path, number, exit_code):
    recipe = recipe_of(folder, schedule={"checkpoint_every": 1000})
    with pytest.raises(TrainingStopped, match="stopped after step 2 of 4") as stop:
        pretrain(recipe, tmp_path, monitors=[SignalAt(2, number)])
    assert stop.value.exit_code == exit_code
    assert latest_checkpoint(tmp_path).name == "step_00000002.pt"


def test_a_second_signal_stops_a_run_at_once(folder, tmp_path):
    recipe = recipe_of(folder, schedule={"checkpoint_every": 1000})
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as stop:
        pretrain(recipe, tmp_path, monitors=[SignalAt(2, signal.SIGTERM, signal.SIGTERM)])
    assert not isinstance(stop.value, TrainingStopped)
    assert latest_checkpoint(tmp_path) is None
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_in_the_last_step_comes_too_late_to_stop(folder, tmp_path):
    assert pretrain(recipe_of(folder), tmp_path, monitors=[SignalAt(4, signal.SIGTERM)]).is_file()


def test_a_training_within_a_monitor_that_is_stopped_stops_the_run_with_a_checkpoint(folder, tmp_path):
    class FewShot(StopAt):
        def on_step(self, step, values, state):
            if step == self.step:
                raise TrainingStopped("stopped after step 7 of 50 of its own", number=signal.SIGTERM)
            return {}

    recipe = recipe_of(folder, schedule={"checkpoint_every": 1000})
    with pytest.raises(TrainingStopped, match="stopped after step 2 of 4; the same command"):
        pretrain(recipe, tmp_path, monitors=[FewShot(2)])
    assert latest_checkpoint(tmp_path).name == "step_00000002.pt"


def test_a_stopped_run_whose_checkpoint_cannot_be_written_is_an_error(folder, tmp_path, monkeypatch):
    import dinocell_ssl.run.resume as resume

    def full(contents, path):
        raise RuntimeError("file write failed")

    monkeypatch.setattr(resume.torch, "save", full)
    recipe = recipe_of(folder, schedule={"checkpoint_every": 1000})
    with pytest.raises(OSError, match=r"step_00000002.pt could not be written .* file write failed"):
        pretrain(recipe, tmp_path, monitors=[SignalAt(2, signal.SIGTERM)])


def test_two_runs_into_one_folder_exclude_each_other(finished, folder, tmp_path):
    class BeginAnother(StopAt):
        def on_step(self, step, values, state):
            result = CliRunner().invoke(app(), words(folder, state.output, "--steps", "4"))
            assert result.exit_code == 1
            assert f"error: another process pretrains into {state.output}; wait for it, or choose" in result.output
            return {}

    pretrain(recipe_of(folder), tmp_path / "run", monitors=[BeginAnother(1)])
    assert_same_result(tmp_path / "run", finished)
    assert not (tmp_path / "run" / ".lock").exists()


def test_another_recipe_is_not_continued(finished, folder):
    with pytest.raises(ValueError, match=r"optimization.learning_rate: 0.001 then, 0.01 now"):
        pretrain(recipe_of(folder, optimization={"learning_rate": 0.01}), finished)


def test_other_data_are_not_continued(finished, folder, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (1, 40, 40)).astype(np.uint8)
    write_image(tmp_path / "one.tif", Image(pixels, ("DNA",), None, False, "one"))
    with pytest.raises(ValueError, match=r"fields: 3 then, 1 now; fingerprint: \w+ then, \w+ now"):
        pretrain(recipe_of(tmp_path), finished)
    for path in folder.iterdir():
        shutil.copy(path, tmp_path / path.name)
    (tmp_path / "one.tif").unlink()
    pretrain(recipe_of(tmp_path), finished)  # the same files in another folder
    (tmp_path / "field2.tif").rename(tmp_path / "field3.tif")
    with pytest.raises(ValueError, match=r"another recipe \(fingerprint: \w+ then, \w+ now\)"):
        pretrain(recipe_of(tmp_path), finished)


def test_a_damaged_checkpoint_is_named(finished, folder, tmp_path):
    target = tmp_path / "checkpoints"
    target.mkdir()
    (target / "step_00000002.pt").write_bytes(latest_checkpoint(finished).read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"step_00000002.pt is not a complete checkpoint; remove it"):
        pretrain(recipe_of(folder), tmp_path)


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(folder, tmp_path, monkeypatch):
    import dinocell_ssl.run.resume as resume

    written = torch.save
    calls = []

    def full(contents, path):
        calls.append(path)
        if len(calls) == 2:
            Path(path).write_bytes(b"half a checkpoint")
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")
        written(contents, path)

    monkeypatch.setattr(resume.torch, "save", full)
    with pytest.warns(CheckpointWarning, match=r"step 2: .* could not be written \(\d+ MB free\); training continues"):
        pretrain(recipe_of(folder, schedule={"steps": 3}), tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step_00000001.pt",
        "step_00000003.pt",
    ]


def test_a_disk_that_is_full_at_the_end_is_an_error(folder, tmp_path, monkeypatch):
    import dinocell_ssl.run.resume as resume

    def full(contents, path):
        Path(path).write_bytes(b"half")
        raise RuntimeError("file write failed")

    monkeypatch.setattr(resume.torch, "save", full)
    with pytest.raises(OSError, match=r"step_00000001.pt could not be written .* file write failed"):
        pretrain(recipe_of(folder, schedule={"steps": 1}), tmp_path)


def test_older_checkpoints_make_room_for_the_newest(folder, tmp_path, monkeypatch):
    import dinocell_ssl.run.resume as resume

    written, target = torch.save, tmp_path / "checkpoints"

    def room_for_two(contents, path):
        if len(list(target.glob("step_*.pt"))) >= 2:
            raise RuntimeError("file write failed")
        written(contents, path)

    monkeypatch.setattr(resume.torch, "save", room_for_two)
    pretrain(recipe_of(folder, schedule={"steps": 3}), tmp_path)
    assert sorted(path.name for path in target.iterdir()) == ["step_00000002.pt", "step_00000003.pt"]


def test_a_disk_without_room_for_a_checkpoint_may_have_some_for_the_backbone(folder, tmp_path, monkeypatch):
    import dinocell_ssl.run.resume as resume

    def full(contents, path):
        raise RuntimeError("file write failed")

    monkeypatch.setattr(resume.torch, "save", full)
    with pytest.raises(OSError, match=r"file write failed. Make room and give the same command again"):
        pretrain(recipe_of(folder, schedule={"steps": 1}), tmp_path)
    assert read_backbone_facts(tmp_path / "backbone.safetensors")["step"] == 1


def test_a_disk_without_room_for_the_backbone_costs_that_alone(folder, tmp_path, monkeypatch):
    import dinocell_ssl.backbones.backbone_file as backbone_file

    written = backbone_file.save_file
    calls = []

    def full_at_first(tensors, path, metadata):
        calls.append(path)
        if len(calls) == 1:
            raise SafetensorError("I/O error: No space left on device")
        written(tensors, path, metadata=metadata)

    monkeypatch.setattr(backbone_file, "save_file", full_at_first)
    with pytest.warns(CheckpointWarning, match=r"step 1: .*backbone.safetensors could not be written \(.* MB free\)"):
        pretrain(recipe_of(folder, schedule={"steps": 2}), tmp_path)
    assert read_backbone_facts(tmp_path / "backbone.safetensors")["step"] == 2
    assert (tmp_path / "checkpoints" / "step_00000001.pt").is_file()


def test_fields_that_cannot_be_used_are_reported_once(folder, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for path in folder.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    (data / "cut.tif").write_bytes((folder / "field0.tif").read_bytes()[:200])
    blank = np.full((1, 40, 40), 7, np.uint16)
    write_image(data / "blank.tif", Image(blank, ("DNA",), None, False, "blank"))
    pretrain(recipe_of(data), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert sorted(Path(line["field"]).name for line in lines) == ["blank.tif", "cut.tif"]
    assert any("blank" in line["reason"] for line in lines)


def test_steps_without_a_finite_loss_in_a_row_end_the_run(folder, tmp_path, monkeypatch):
    def broken(teacher, crops, masks, real=SslNetwork.forward):
        outputs = real(teacher, crops, masks)
        return outputs._replace(class_logits=outputs.class_logits * float("nan"))

    monkeypatch.setattr(SslNetwork, "forward", broken)
    with pytest.raises(FloatingPointError, match=r"the last 3 steps up to 3 had a loss .* Lower"):
        pretrain(recipe_of(folder, schedule={"max_consecutive_skips": 3}), tmp_path)
    assert [line["skipped_steps"] for line in read_log(tmp_path / "log.jsonl")] == [1, 2]


def test_heads_that_the_start_lacks_are_trained_alone_first(finished, folder, tmp_path):
    start = finished / "backbone.safetensors"
    changes = {
        "network": {"start_from": start, "start_licence": "CC0-1.0"},
        "schedule": {"head_only": 0.5, "checkpoint_every": 1, "keep": 4, "warmup": 0.0},
    }
    pretrain(recipe_of(folder, **changes), tmp_path)
    given = load_file(start)
    states = [
        torch.load(tmp_path / "checkpoints" / f"step_{step:08d}.pt", weights_only=True)["student"] for step in (2, 3)
    ]
    name = "blocks.0.mlp.fc1.weight"
    assert torch.equal(states[0][f"backbone.{name}"], given[name])
    assert not torch.equal(states[1][f"backbone.{name}"], given[name])
    facts = read_backbone_facts(tmp_path / "backbone.safetensors")["start"]
    assert (facts["heads"], facts["licence"], facts["qkv_bias"]) == ("random", "CC0-1.0", "trainable")
    rates = [(line["lr"] > 0, line["backbone_lr"] > 0) for line in read_log(tmp_path / "log.jsonl")]
    assert rates == [(True, False), (True, False), (True, True), (True, True)]


@pytest.mark.parametrize("kind", ["checkpoint", "backbone"])
def test_the_licence_of_the_first_start_passes_on_to_runs_that_continue_the_result(finished, folder, tmp_path, kind):
    def fields_of(name):
        run = tmp_path / name
        return latest_checkpoint(run) if kind == "checkpoint" else run / "backbone.safetensors"

    short = {"steps": 1, "head_only": 0.0}
    first = {"start_from": finished / "backbone.safetensors", "start_licence": "DINOv3 License"}
    pretrain(recipe_of(folder, network=first, schedule=short), tmp_path / "first")
    pretrain(recipe_of(folder, network={"start_from": fields_of("first")}, schedule=short), tmp_path / "second")
    facts = read_backbone_facts(tmp_path / "second" / "backbone.safetensors")["start"]
    assert facts["licence"] == facts["origin"]["licence"] == "DINOv3 License"
    assert facts["origin"]["origin"] == {"started_from": "random weights"}


def test_a_checkpoint_tells_of_its_origin_what_the_backbone_file_does(finished, folder, tmp_path):
    start = {"start_from": finished / "backbone.safetensors", "start_licence": "DINOv3 License"}
    pretrain(recipe_of(folder, network=start, schedule={"steps": 1, "head_only": 0.0}), tmp_path / "run")
    _, told = open_backbone(tmp_path / "run" / "backbone.safetensors")
    backbone, facts = open_backbone(latest_checkpoint(tmp_path / "run"))
    assert facts == {name: told[name] for name in ("size", "step", "start", "recipe", "normalization")}
    export_backbone(backbone, tmp_path / "hf", layout="hugging_face", facts=facts)
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["dinocell"]["start"]["licence"] == "DINOv3 License"


def test_a_run_that_starts_from_ones_own_is_bound_by_nobodys_licence(finished, folder, tmp_path):
    own = {"start_from": finished / "backbone.safetensors"}
    pretrain(recipe_of(folder, network=own, schedule={"steps": 1, "head_only": 0.0}), tmp_path)
    assert read_backbone_facts(tmp_path / "backbone.safetensors")["start"]["licence"].startswith("no other weights")


def test_a_tenth_of_the_steps_is_for_new_heads_unless_told_otherwise(finished, folder, tmp_path):

    fields = open_folders([folder])

    def head_only_steps(start):
        recipe = recipe_of(folder, network={"start_from": start}, schedule={"steps": 50})
        return assemble(recipe, tmp_path, fields, device="cpu", ranks=Ranks()).head_only_steps

    assert head_only_steps(None) == 0
    assert head_only_steps(finished / "backbone.safetensors") == 5
    assert head_only_steps(latest_checkpoint(finished)) == 0  # its heads came with it


def app():
    application = Typer()
    application.command()(pretrain_command)
    return application


def words(folder, output, *more):
    sets = ["network.patch=16", "crops.global_px=32", "crops.local_px=16", "crops.num_local=1"]
    sets += ["schedule.batch_size=2", "loading.num_workers=0"]
    sets += [f"{head}.{key}={value}" for head in ("dino_head", "ibot_head") for key, value in HEAD.items()]
    options = [option for setting in sets for option in ("--set", setting)]
    return ["--data", str(folder), "--size", "tiny", "--output", str(output), "--device", "cpu", *options, *more]


def test_the_command_pretrains_and_says_what_to_do_next(folder, tmp_path):
    result = CliRunner().invoke(app(), words(folder, tmp_path, "--steps", "1"))
    assert result.exit_code == 0, result.output
    command = f"dinocell train --backbone {tmp_path / 'backbone.safetensors'} --set network.size=tiny "
    assert f"{command}--set network.patch=16 --data FOLDER --output RUN\n" in result.output
    assert losses(tmp_path)[0][0] == 1


def test_the_command_tells_what_is_wrong(folder, tmp_path):
    runner = CliRunner()
    nothing = runner.invoke(app(), ["--output", str(tmp_path)])
    assert nothing.exit_code == 2
    assert "error: no data: give folders of images with --data" in nothing.output
    unknown = runner.invoke(app(), words(folder, tmp_path, "--set", "crop.num_local=1"))
    assert unknown.exit_code == 2
    assert "did you mean 'crops'?" in unknown.output
    missing = runner.invoke(app(), words(tmp_path / "nowhere", tmp_path))
    assert missing.exit_code == 2
    assert "does not exist" in missing.output
    recipe = runner.invoke(app(), ["jump", "--data", str(folder)])
    assert "included are debug_cpu, jump_vits8" in recipe.output


def test_data_that_cannot_be_used_fail_with_another_exit_code(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"no picture")
    result = CliRunner().invoke(app(), words(tmp_path / "images", tmp_path / "run", "--steps", "1"))
    assert result.exit_code == 1
    assert "error: none of the 1 fields can be used" in result.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--device", "gpu"], "'gpu' is not a device; use auto, cpu, cuda"),
        (["--steps", "0"], r"schedule.steps: .* \(it is 0\)"),
        (["--start-from", "missing.pth"], "network.start_from is missing.pth, which is not a file; give a DINOv3 file"),
        (["--set", "data.channel_pattern=("], r"'\(' is not a regular expression"),
    ],
)
def test_what_came_and_what_to_give_is_told(folder, tmp_path, more, message):
    result = CliRunner().invoke(app(), words(folder, tmp_path, *more))
    assert result.exit_code == 2
    assert re.search(f"^error: .*{message}", result.output)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one")
def test_a_device_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(ValueError, match=r"sees no cuda device; use --device cpu, or run 'dinocell doctor'"):
        pretrain(recipe_of(folder), tmp_path, device="cuda")


def test_an_output_that_cannot_be_a_folder_is_told_before_anything_else(folder, tmp_path):
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ValueError, match=r"--output .*: .*file is a file; give a folder"):
            pretrain(recipe_of(folder), output)


def test_another_rank_that_is_gone_is_told_with_what_to_do(monkeypatch):
    """Alone: the group of one rank, whose talk fails as that of a rank whose neighbour was killed."""
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda *arguments, **settings: None)
    monkeypatch.setattr(distributed.dist, "new_group", lambda **settings: None)
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: None)
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: 0)
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 2)
    environment = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "nowhere", "MASTER_PORT": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    lost = "[gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:21890: Connection reset by peer. This is typically"
    with (
        pytest.raises(
            distributed.RankLostError, match=r"rank 0 of 2 lost another rank \(.* by peer\); look .* same command"
        ),
        distributed.joined_ranks("cpu"),
    ):
        raise RuntimeError(lost)
    with pytest.raises(RuntimeError, match=r"^its own$"), distributed.joined_ranks("cpu"):
        raise RuntimeError("its own")
