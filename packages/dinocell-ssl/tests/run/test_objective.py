"""SIGReg and Gram anchoring as terms of a run: their values, micro-batches, refreshes and resuming."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dinocell_core.recipe import merged, validated
from dinocell_io import Image, read_log, write_image
from dinocell_io.testing import ObjectServer
from dinocell_ssl import gram_loss, sigreg_loss
from dinocell_ssl.data.batches import BatchMaker
from dinocell_ssl.data.fields import LeftOutWarning, open_folders
from dinocell_ssl.distributed import Ranks
from dinocell_ssl.model.gram_anchor import Gram, GramAnchor
from dinocell_ssl.run.assemble import assemble
from dinocell_ssl.run.pretrain import pretrain
from dinocell_ssl.run.recipe import PretrainRecipe, step_rates
from dinocell_ssl.run.resume import latest_checkpoint
from dinocell_ssl.run.step import Stepper
from dinocell_ssl.watch.monitor import CollapseError

HEAD = {"prototypes": 32, "hidden": 16, "bottleneck": 8}
SMALL = {
    "network": {"size": "tiny", "patch": 16, "drop_path": 0.0, "rope_rescale": None},
    "dino_head": HEAD,
    "ibot_head": HEAD,
    "crops": {"global_px": 32, "local_px": 16, "num_local": 1},
    "optimization": {"learning_rate": 1e-3, "scaling": "none"},
    "schedule": {"steps": 6, "batch_size": 4, "warmup": 0.0, "checkpoint_every": 1, "log_every": 1, "keep": 9},
    "loading": {"num_workers": 0},
}
SIGREG = {"loss": {"koleo": 0.0, "sigreg": 0.5}}
GRAM = {"gram": {"weight": 3.0, "anchor_step": 1, "start_step": 2, "warmup_steps": 2, "refresh_every": 2}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 4000, (2, 40, 48)).astype(np.uint16)
        write_image(folder / f"field{seed}.tif", Image(pixels, ("DNA", "ER"), None, False, "drawn"))
    return folder


@pytest.fixture(scope="module")
def anchored(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("anchored")
    pretrain(recipe_of(folder, merged(GRAM, SIGREG)), output)
    return output


def recipe_of(folder, *changes):
    values = merged(SMALL, {"data": {"folders": [folder]}})
    for change in changes:
        values = merged(values, change)
    return PretrainRecipe.model_validate(values)


def started(folder, tmp_path, *changes):
    recipe = recipe_of(folder, *changes)
    run = assemble(recipe, tmp_path / "run", open_folders([folder]), device="cpu", ranks=Ranks())
    stepper = Stepper(run.state, recipe, run.objective, targets=run.targets, ranks=run.ranks, device=run.device)
    return run, stepper, BatchMaker(run.plan)


def checkpoint(output, step):
    return torch.load(output / "checkpoints" / f"step_{step:08d}.pt", weights_only=True)


class StopAt:
    every = 1

    def __init__(self, step):
        self.step = step

    def on_step(self, step, values, state):
        if step == self.step:
            raise CollapseError(f"stopped at {step}")
        return {}


def test_sigreg_takes_the_place_of_koleo(folder, tmp_path):
    """On what the MLP of the DINO head makes of each global crop, along directions of the step."""
    run, stepper, maker = started(folder, tmp_path, SIGREG)
    student = copy.deepcopy(run.state.student)
    run.state.step = 3
    values = stepper.take(maker.batch(3), step_rates(run.recipe, 3))
    with torch.no_grad():
        projected = [student.dino_head.mlp(crop) for crop in run.state.outputs.student_class_tokens]
    sigreg = sum(float(sigreg_loss(crop, seed=3)) for crop in projected)
    assert values["sigreg"] == pytest.approx(sigreg, rel=1e-5)
    assert values["loss"] == pytest.approx(values["dino"] + values["ibot"] + 0.5 * sigreg, rel=1e-5)
    assert "koleo" not in values


def test_fresh_heads_have_the_sigreg_of_features_that_are_nearly_nothing(folder, tmp_path):
    run, stepper, maker = started(folder, tmp_path, SIGREG)
    values = stepper.take(maker.batch(0), step_rates(run.recipe, 0))
    golden = math.sqrt(2 * math.pi) * (1 - math.sqrt(2) + 1 / math.sqrt(3))
    assert values["sigreg"] == pytest.approx(2 * golden, rel=1e-2)


def test_sigreg_and_gram_of_micro_batches_take_the_step_of_the_whole_batch(folder, tmp_path):
    changes = merged(
        {"loss": {"koleo": 0.0, "sigreg": 50.0}}, {"gram": {"weight": 3.0, "start_step": 0, "warmup_steps": 0}}
    )
    found = []
    for accumulate in (1, 2):
        run, stepper, maker = started(folder, tmp_path, changes, {"schedule": {"accumulate": accumulate}})
        found.append(stepper.take(maker.batch(0), step_rates(run.recipe, 0)))
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=1e-3, abs=1e-6), name
    run, stepper, maker = started(folder, tmp_path, {"loss": {"koleo": 0.0}})
    without = stepper.take(maker.batch(0), step_rates(run.recipe, 0))
    name = "grad_norm_dino_head"
    assert abs(without[name] - found[0][name]) > 0.01 * found[0][name], "test invalid"


def test_koleo_and_sigreg_together_are_refused():
    with pytest.raises(ValueError, match=r"koleo 0.1 and sigreg 0.05 both spread .* set loss.koleo to 0 for SIGReg"):
        validated(PretrainRecipe, {"loss": {"sigreg": 0.05}})


def test_the_gram_term_is_that_of_an_earlier_teacher_on_enlarged_crops(folder, tmp_path):
    gram = {"gram": {"weight": 3.0, "start_step": 0, "warmup_steps": 0, "refresh_every": None, "local": 0.25}}
    run, stepper, maker = started(folder, tmp_path, gram)
    earlier = copy.deepcopy(run.state.teacher.module.backbone)
    stepper.take(maker.batch(0), step_rates(run.recipe, 0))
    student = copy.deepcopy(run.state.student)
    batch = maker.batch(1)
    values = stepper.take(batch, step_rates(run.recipe, 1))
    images = batch.global_crops.flatten(0, 1)
    with torch.no_grad():
        seen = student.backbone.forward_features(images, batch.masks.flatten(2).flatten(0, 1))["x_norm_patchtokens"]
        large = F.interpolate(images, size=(64, 64), mode="bilinear")
        tokens = earlier.forward_features(large)["x_norm_patchtokens"].reshape(8, 4, 4, -1)
        small = F.interpolate(tokens.permute(0, 3, 1, 2), size=(2, 2), mode="bicubic").permute(0, 2, 3, 1)
    gram = float(gram_loss(seen, small.flatten(1, 2)))
    assert values["gram"] == pytest.approx(gram, rel=1e-4)
    assert gram > 1e-4, "test invalid"
    dino = (2 * values["dino_global"] + 0.25 * 2 * values["dino_local"]) / 4
    assert values["dino"] == pytest.approx(dino)
    expected = dino + values["ibot"] + 0.1 * values["koleo"] + 3 * gram
    assert values["loss"] == pytest.approx(expected, rel=1e-5)


def test_an_anchor_that_does_not_enlarge_is_the_backbone_itself(folder, tmp_path):
    run, _, maker = started(folder, tmp_path)
    backbone = run.state.teacher.module.backbone
    crops = maker.batch(0).global_crops
    found = GramAnchor(backbone, enlarge=1)(crops)
    with torch.no_grad():
        torch.testing.assert_close(found, backbone.forward_features(crops.flatten(0, 1))["x_norm_patchtokens"])


def test_the_anchor_is_the_teacher_of_the_steps_that_are_told(anchored):
    """Taken before step 1, replaced before step 4 (2 + 2); checkpoints count steps taken."""
    teachers = {step: checkpoint(anchored, step)["teacher"] for step in range(1, 7)}
    anchors = {step: checkpoint(anchored, step)["gram_anchor"] for step in range(1, 7)}
    name = "blocks.0.mlp.fc1.weight"
    for step, taken in {2: 1, 3: 1, 4: 1, 5: 4, 6: 4}.items():
        for of in (name, "norm.weight"):
            assert torch.equal(anchors[step][of], teachers[taken][f"backbone.{of}"]), step
    assert not torch.equal(teachers[1][f"backbone.{name}"], teachers[4][f"backbone.{name}"]), "test invalid"
    lines = read_log(anchored / "log.jsonl")
    assert [line["gram"] > 0 for line in lines] == [False, False, False, True, True, True]


@pytest.mark.parametrize("stopped", [2, 4, 5])
def test_a_stopped_anchored_run_continues_exactly(anchored, folder, tmp_path, stopped):
    recipe = recipe_of(folder, merged(GRAM, SIGREG))
    with pytest.raises(CollapseError):
        pretrain(recipe, tmp_path, monitors=[StopAt(stopped)])
    torch.manual_seed(999)  # whatever happened in between
    pretrain(recipe, tmp_path)
    one, two = (torch.load(latest_checkpoint(output), weights_only=True) for output in (tmp_path, anchored))
    for part in ("student", "teacher", "gram_anchor"):
        for name, tensor in two[part].items():
            assert torch.equal(one[part][name], tensor), (part, name)
    terms = [[(line["loss"], line["gram"]) for line in read_log(run / "log.jsonl")] for run in (tmp_path, anchored)]
    assert terms[0] == terms[1]


def test_a_run_that_began_before_a_setting_existed_continues(folder, tmp_path):
    recipe = recipe_of(folder, {"schedule": {"steps": 2}})
    with pytest.raises(CollapseError):
        pretrain(recipe, tmp_path, monitors=[StopAt(2)])
    path = latest_checkpoint(tmp_path)
    contents = torch.load(path, weights_only=True)
    del contents["gram_anchor"], contents["recipe"]["gram"], contents["recipe"]["loss"]["sigreg"]
    torch.save(contents, path)
    pretrain(recipe, tmp_path)
    assert checkpoint(tmp_path, 2)["step"] == 2
    changed = recipe_of(folder, {"schedule": {"steps": 2}}, {"gram": {"weight": 1.0, "start_step": 0}})
    with pytest.raises(ValueError, match=r"gram.weight: 0.0 then, 1.0 now"):
        pretrain(changed, tmp_path)


def test_the_defaults_are_those_of_the_published_refinement():
    gram = Gram(weight=2.0, start_step=1_000_000)
    taken = [step for step in range(990_000, 1_060_000, 100) if gram.is_taken_before(step)]
    assert taken == [1_000_000, 1_010_000, 1_020_000, 1_030_000]
    shares = [gram.share(step) for step in (999_999, 1_000_000, 1_000_500, 1_001_000, 1_100_000)]
    assert shares == [0, 0, 0.5, 1, 1]
    assert (gram.local, gram.enlarge) == (0.5, 2)


def test_gram_is_off_by_default_and_its_weights_follow_its_warm_up():
    rates = step_rates(PretrainRecipe(), 9_999)
    assert (rates.gram_weight, rates.local_weight) == (0, 1)
    recipe = PretrainRecipe.model_validate({"gram": {"weight": 2.0, "start_step": 4000}})
    rates = step_rates(recipe, 4250)
    assert (rates.gram_weight, rates.local_weight) == (0.5, 0.875)


@pytest.mark.parametrize(
    ("gram", "message"),
    [
        ({"weight": 2.0}, r"weight is 2.0 but there is no start_step; set gram.start_step"),
        ({"weight": 2.0, "start_step": 3, "anchor_step": 4}, r"anchor_step 4 lies after start_step 3"),
        ({"weight": 2.0, "start_step": 10_000}, r"gram.start_step 10000 is beyond the 10000 steps"),
    ],
)
def test_gram_settings_that_cannot_be_are_refused(gram, message):
    with pytest.raises(ValueError, match=message):
        validated(PretrainRecipe, {"gram": gram})


def test_a_prefix_of_a_bucket_is_streamed(folder, tmp_path, monkeypatch):
    objects = {f"plates/{path.name}": path.read_bytes() for path in folder.iterdir()}
    labels = {"set/masks/a.tif": b"", "set/images/a.tif": b"", "alone/masks/a.tif": b""}
    with ObjectServer({**objects, **labels}) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        recipe = recipe_of("s3://bucket/plates", {"schedule": {"steps": 1}})
        assert len(recipe.data.open()) == 3
        pretrain(recipe, tmp_path)
        assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [1]
        with pytest.warns(LeftOutWarning, match=r"bucket/set: left out 1 file, masks/a\.tif: labels of an image"):
            assert list(recipe_of("s3://bucket/set").data.open().names) == ["images/a.tif"]
        with pytest.raises(ValueError, match=r"bucket/alone holds labels \(masks/a.tif\).* the prefix of the images"):
            recipe_of("s3://bucket/alone").data.open()


def test_of_a_prefix_with_splits_only_those_to_train_on_are_streamed(folder, monkeypatch):
    image = next(iter(folder.iterdir())).read_bytes()
    table = b"\xef\xbb\xbfname,split\r\na,train\r\nb,val\r\nc,test\r\nd,train\r\n"
    objects = {f"set/images/{name}.tif": image for name in "abcd"} | {
        "set/splits.csv": table,
        "other/images/e.tif": image,
    }
    with ObjectServer(objects) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)

        def names(uri, **data):
            return list(recipe_of(uri, {"data": data}).data.open().names)

        assert names("s3://bucket/set") == ["images/a.tif", "images/d.tif"]
        assert names("s3://bucket/set/images/", split="val") == ["b.tif"]
        assert names("s3://bucket/set/images", split=None) == ["a.tif", "b.tif", "c.tif", "d.tif"]
        assert names("s3://bucket/other") == ["images/e.tif"]
        with pytest.raises(ValueError, match=r"none of the 4 images in s3://bucket/set is in the split 'held'"):
            names("s3://bucket/set", split="held")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"split": "val"}, r"split 'val' applies to folders and has no effect on a stream"),
        ({"channel_pattern": "(?P<f>.)(?P<channel>.)"}, r"channel_pattern applies to folders .* data.stream.channels"),
    ],
)
def test_settings_of_folders_are_refused_for_a_stream(setting, message):
    with pytest.raises(ValueError, match=message):
        validated(PretrainRecipe, {"data": {"stream": {"index": "index"}, **setting}})


def test_of_prefixes_one_alone_is_streamed(folder):
    recipe = recipe_of(folder, {"data": {"folders": ["s3://bucket/a", str(folder)]}})
    with pytest.raises(ValueError, match=r"only a single s3:// prefix can be streamed"):
        recipe.data.open()
