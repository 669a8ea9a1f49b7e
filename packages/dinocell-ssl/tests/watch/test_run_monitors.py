"""Monitors in a real run: what comes into the log, the folder and the warnings, and that a run is the same."""

import warnings

import numpy as np
import pytest
import torch

from dinocell_core import DinoVisionTransformer, ViTConfig
from dinocell_io import Image, read_image, read_log, write_image
from dinocell_ssl.backbones.backbone_file import read_backbone_facts
from dinocell_ssl.data.fields import open_folders
from dinocell_ssl.model.teacher import Teacher
from dinocell_ssl.run.pretrain import pretrain
from dinocell_ssl.run.recipe import PretrainRecipe, TeacherSettings
from dinocell_ssl.watch.few_shot_monitor import FewShotMonitor
from dinocell_ssl.watch.monitor import CollapseError, Monitor, TrainState
from dinocell_ssl.watch.probe_monitor import ProbeMonitor, ProbeWarning
from dinocell_ssl.watch.run_monitors import Monitoring, run_monitors
from dinocell_ssl.watch.teacher_backbone import teacher_backbone

HEAD = {"prototypes": 32, "hidden": 16, "bottleneck": 8}
STEPS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    for seed in range(4):
        pixels = np.random.default_rng(seed).integers(0, 4000, (2, 64, 64)).astype(np.uint16)
        write_image(folder / f"field{seed}.tif", Image(pixels, ("DNA", "ER"), None, False, ""))
    return folder


@pytest.fixture(scope="module")
def recipe(folder):
    return PretrainRecipe.model_validate(
        {
            "data": {"folders": [folder]},
            "dino_head": HEAD,
            "ibot_head": HEAD,
            "crops": {"global_px": 32, "local_px": 16, "num_local": 1},
            "schedule": {"steps": STEPS, "batch_size": 2, "checkpoint_every": STEPS, "log_every": 1},
            "loading": {"num_workers": 0},
        }
    )


def run_with(recipe, output, **monitoring):
    settings = Monitoring(**{"collapse_every": 2, "collapse_start_steps": 0, "pictures_every": 0, **monitoring})
    pretrain(recipe.model_copy(update={"monitoring": settings}), output)


@pytest.fixture(scope="module")
def watched(recipe, folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("watched")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProbeWarning)
        run_with(recipe, output, collapse_start=1.0, pictures_every=1, probe_folders=(folder,), probe_every=2)
    return output


def test_the_log_has_measures_of_collapse_and_of_the_probes_at_their_steps(watched):
    lines = {line["step"]: line for line in read_log(watched / "log.jsonl")}
    collapse = {"teacher_entropy", "student_entropy", "prototype_usage", "feature_rank", "attention_entropy", "alarms"}
    assert [step for step in lines if collapse <= lines[step].keys()] == [2]
    assert [step for step in lines if {"knn_field", "channel_margin"} <= lines[step].keys()] == [2]
    assert not collapse & lines[1].keys()


def test_pictures_of_the_fields_and_of_the_masks_are_there_when_the_run_ends(watched):
    names = sorted(path.name for path in (watched / "pictures").iterdir())
    assert names == [f"{kind}_{step:08d}.png" for kind in ("channels", "masks") for step in (1, 2)]
    # two fields of three rows, two channels; 64 pixels, all that the fields have, and gaps of 4
    assert read_image(watched / "pictures" / names[0]).pixels.shape == (3, 6 * 68 - 4, 2 * 68 - 4)


def test_a_watched_run_computes_what_an_unwatched_one_does(watched, recipe, folder, tmp_path):
    pretrain(recipe, tmp_path)
    losses = [[line["loss"] for line in read_log(output / "log.jsonl")] for output in (watched, tmp_path)]
    assert losses[0] == losses[1]


def test_a_run_that_is_to_stop_on_collapse_stops_and_says_so(recipe, folder, tmp_path):
    # The assignments of a blunt teacher hardly depend on the image: to a judge without patience a collapse.
    blunt = recipe.model_copy(update={"teacher": TeacherSettings(temperature=(1.0, 1.0))})
    with pytest.raises(CollapseError, match="step 2: uniform assignments"):
        run_with(blunt, tmp_path, collapse="stop", collapse_start=0.0, collapse_patience=1)


@pytest.mark.parametrize(("num_steps", "start"), [(100, 500), (5000, 500), (20_000, 2000)])
def test_alarms_count_from_a_tenth_of_the_run_and_not_before_500_steps(folder, tmp_path, num_steps, start):
    with run_monitors(Monitoring(), tmp_path, fields=None, size=32, num_steps=num_steps) as monitors:
        assert monitors[0].start_step == start


def test_monitoring_can_be_switched_off(folder, tmp_path):
    settings = Monitoring(collapse="off", pictures_every=0)
    with run_monitors(settings, tmp_path, fields=open_folders([folder]), size=32, num_steps=9) as monitors:
        assert monitors == []


def test_missing_probe_folders_are_refused_before_the_run(folder, tmp_path):
    settings = Monitoring(probe_folders=(tmp_path / "missing",))
    with (
        pytest.raises(FileNotFoundError, match="missing does not exist"),
        run_monitors(settings, tmp_path, fields=open_folders([folder]), size=32, num_steps=9),
    ):
        pass


def test_probed_files_may_have_a_pattern_of_their_own(folder, tmp_path):
    settings = Monitoring(
        collapse="off",
        probe_folders=(folder,),
        probe_channel_pattern=r"(?P<channel>fie)(?P<field>ld[01])",
        pictures_every=0,
    )
    arguments = {"fields": None, "size": 32, "num_steps": 9, "channel_pattern": "(?P<channel>x)(?P<a>y)"}
    with run_monitors(settings, tmp_path, **arguments) as monitors:
        assert len(monitors[0].read()[0]) == 2
    with (
        pytest.raises(ValueError, match="none of the 4 images"),
        run_monitors(settings.model_copy(update={"probe_channel_pattern": None}), tmp_path, **arguments),
    ):
        pass


class Scored:
    """A trainer that draws random numbers, as a real one does, and scores what it was given."""

    def __init__(self, task, calls):
        self.task, self.calls = task, calls

    def __call__(self, backbone, *, num_images, seed):
        torch.manual_seed(5)
        self.calls.append((None if backbone is None else read_backbone_facts(backbone)["step"], num_images, seed))
        self.task.work.mkdir(exist_ok=True)
        return 0.25 if backbone is None else 0.5


def test_few_shot_scores_of_the_teacher_come_into_the_log_and_leave_no_folder(watched, recipe, folder, tmp_path):
    calls, tasks = [], []

    def make(task):
        tasks.append(task)
        assert not task.work.exists()
        return Scored(task, calls)

    settings = Monitoring(collapse="off", pictures_every=0, few_shot_folder=folder, few_shot_images=3, few_shot_every=1)
    pretrain(recipe.model_copy(update={"monitoring": settings}), tmp_path, few_shot=make)
    lines = read_log(tmp_path / "log.jsonl")
    assert [(line["few_shot_3"], line["few_shot_3_random"]) for line in lines] == [(0.5, 0.25)] * 2
    assert calls == [(1, 3, 0), (None, 3, 0), (2, 3, 0)]
    assert {(task.dataset, task.size, task.patch, task.precision) for task in tasks} == {(folder, "tiny", 16, "fp32")}
    assert not [path for path in tmp_path.iterdir() if "few_shot" in path.name]
    assert [line["loss"] for line in lines] == [line["loss"] for line in read_log(watched / "log.jsonl")]


def test_what_a_few_shot_trainer_refuses_is_told_once(folder, tmp_path):
    def refuse(work):
        raise ValueError("10 images are too many")

    monitor = FewShotMonitor(refuse, tmp_path, every=1)
    with pytest.warns(ProbeWarning, match="few-shot probe: 10 images are too many"):
        assert monitor.on_step(1, {}, state_of(folder)) == {}
    assert monitor.on_step(2, {}, state_of(folder)) == {}  # a warning would be an error


def test_a_few_shot_folder_needs_a_trainer_and_must_be_there(folder, tmp_path):
    arguments = {"fields": None, "size": 32, "num_steps": 9}
    with (
        pytest.raises(ValueError, match=r"no trainer of decoders is available; start the run with 'dinocell pretrain'"),
        run_monitors(Monitoring(few_shot_folder=folder), tmp_path, **arguments),
    ):
        pass
    with (
        pytest.raises(FileNotFoundError, match=r"monitoring.few_shot_folder .*missing does not exist"),
        run_monitors(Monitoring(few_shot_folder=tmp_path / "missing"), tmp_path, **arguments),
    ):
        pass


def test_all_monitors_follow_the_protocol(folder, tmp_path):
    settings = Monitoring(probe_folders=(folder,))
    with run_monitors(settings, tmp_path, fields=open_folders([folder]), size=32, num_steps=9) as monitors:
        assert [type(monitor).__name__ for monitor in monitors] == ["CollapseMonitor", "ProbeMonitor", "PictureMonitor"]
        assert all(isinstance(monitor, Monitor) for monitor in monitors)


def state_of(folder):
    config = ViTConfig(embed_dim=16, num_blocks=1, num_heads=1, patch_size=4, in_channels=1)
    student = torch.nn.ModuleDict({"backbone": DinoVisionTransformer(config)})
    return TrainState(
        step=0,
        student=student,
        teacher=Teacher(student),
        optimizer=torch.optim.SGD(student.parameters()),
        recipe={},
        output=folder,
    )


@pytest.fixture
def sharded(folder):
    """A state whose teacher is cut over the ranks, of which there is one: a second would wait for a first."""
    if not torch.distributed.is_gloo_available():
        pytest.skip("this PyTorch has no gloo")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import distribute_module

    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    state = state_of(folder)
    distribute_module(state.teacher.module, init_device_mesh("cpu", (1,)))
    yield state
    torch.distributed.destroy_process_group()


def test_weights_cut_over_the_ranks_are_not_run_by_one_of_them(sharded, folder, tmp_path):
    assert teacher_backbone(state_of(folder)) is not None, "test invalid"
    assert teacher_backbone(sharded) is None
    settings = Monitoring(probe_folders=(folder,))
    with run_monitors(settings, tmp_path, fields=open_folders([folder]), size=32, num_steps=9) as monitors:
        _, probe, pictures = monitors
        with pytest.warns(ProbeWarning, match="weights cut over the ranks are not probed during a run"):
            assert probe.on_step(1000, {}, sharded) == {}
        pictures.on_step(1000, {}, sharded)
    assert not (tmp_path / "pictures").exists()


def test_fields_too_small_to_probe_are_told_once_and_cost_nothing_else(folder):
    from dinocell_ssl.probes.probe import read_probe_fields

    monitor = ProbeMonitor(lambda: read_probe_fields(open_folders([folder]), max_fields=1, size=500))
    with pytest.warns(ProbeWarning, match="it has 64 x 64 pixels, less than one square of 500"):
        assert monitor.on_step(1000, {}, state_of(folder)) == {}
    assert monitor.on_step(2000, {}, state_of(folder)) == {}  # a warning would be an error


def test_of_a_stream_the_masks_are_shown_and_the_fields_of_the_probes(folder, tmp_path):
    for probe_folders, count in (((), 0), ((folder,), 2)):
        settings = Monitoring(collapse="off", probe_folders=probe_folders)
        with run_monitors(settings, tmp_path, fields=None, size=32, num_steps=9) as monitors:
            assert len(monitors[-1].read()) == count


def of_channel_drop(folder, channels):
    """A recipe that watches its fields, and one more of a single channel, which training skips."""
    images = {f"field{seed}": channels for seed in range(3)} | {"a": 1}
    for seed, (name, count) in enumerate(images.items()):
        pixels = np.random.default_rng(seed).integers(0, 4000, (count, 48, 48)).astype(np.uint16)
        write_image(folder / f"{name}.tif", Image(pixels, tuple("xyz"[:count]), None, False, ""))
    return PretrainRecipe.model_validate(
        {
            "data": {"folders": [folder]},
            "network": {"in_channels": 3},
            "views": {"strategy": "channel_drop"},
            "dino_head": HEAD,
            "ibot_head": HEAD,
            "crops": {"global_px": 32, "local_px": 16, "num_local": 1},
            "schedule": {"steps": 1, "batch_size": 4, "log_every": 1},
            "loading": {"num_workers": 0},
            "monitoring": {"collapse": "off", "pictures_every": 1, "probe_every": 1, "probe_folders": [folder]},
        }
    )


def test_monitors_leave_out_what_training_skips_and_say_so(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.warns(ProbeWarning) as told:
        pretrain(of_channel_drop(tmp_path / "data", 3), tmp_path / "run")
    reason = "a.tif was left out: it has 1 channels, and the backbone takes 3 in their places"
    messages = [str(warning.message) for warning in told]
    assert all(message.endswith(reason) for message in messages if "left out" in message)
    assert sorted(message.split(":")[0] for message in messages if "left out" in message) == ["pictures", "probe"]
    (line,) = read_log(tmp_path / "run" / "log.jsonl")
    assert line["probe_fields"] == 3
    assert read_image(tmp_path / "run" / "pictures" / "channels_00000001.png").pixels.shape[2] > 100
    assert "a.tif" in (tmp_path / "run" / "skipped.jsonl").read_text()


def test_monitors_without_any_field_that_fits_let_the_run_go_on(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "held_out").mkdir()
    recipe = of_channel_drop(tmp_path / "data", 3)
    of_channel_drop(tmp_path / "held_out", 2)
    settings = recipe.monitoring.model_copy(
        update={"probe_folders": (tmp_path / "held_out",), "picture_fields": 1}  # the first field: a.tif
    )
    with pytest.warns(ProbeWarning) as told:
        pretrain(recipe.model_copy(update={"monitoring": settings}), tmp_path / "run")
    assert sum("it has 2 channels, and the backbone takes 3" in str(warning.message) for warning in told) == 3
    (line,) = read_log(tmp_path / "run" / "log.jsonl")
    assert "probe_fields" not in line
    assert [path.name for path in (tmp_path / "run" / "pictures").iterdir()] == ["masks_00000001.png"]
