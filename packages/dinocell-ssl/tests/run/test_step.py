"""One step: its loss, its micro-batches, and what a number that is not finite does."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dinocell_core import create_backbone
from dinocell_core.recipe import merged
from dinocell_ssl import koleo_loss
from dinocell_ssl.backbones.export_backbone import export_backbone
from dinocell_ssl.data.batches import BatchMaker, BatchPlan
from dinocell_ssl.distributed import Ranks
from dinocell_ssl.model.network import Head, Network, create_network
from dinocell_ssl.model.parameter_groups import create_optimizer
from dinocell_ssl.model.teacher import Teacher
from dinocell_ssl.run.objective import LossRequest, Objective, TargetMaker, Targets
from dinocell_ssl.run.recipe import PretrainRecipe, step_rates
from dinocell_ssl.run.step import Stepper
from dinocell_ssl.watch.monitor import TrainState

HEAD = {"prototypes": 256, "hidden": 64, "bottleneck": 32}
SMALL = {
    "network": {"size": "tiny", "patch": 8},
    "dino_head": HEAD,
    "ibot_head": HEAD,
    "crops": {"global_px": 32, "local_px": 16, "num_local": 2},
    "schedule": {"steps": 20, "batch_size": 4, "freeze_last_layer": 0.0},
}


class Noise:
    def __len__(self):
        return 6

    def name(self, index):
        return str(index)

    def read(self, index):
        return np.random.default_rng(index).integers(0, 4000, (2, 40, 40)).astype(np.uint16)


def start(tmp_path, **changes):
    recipe = PretrainRecipe.model_validate(merged(SMALL, changes))
    torch.manual_seed(0)
    network, _ = create_network(recipe.network, dino_head=recipe.dino_head, ibot_head=recipe.ibot_head)
    state = TrainState(
        step=0,
        student=network.train(),
        teacher=Teacher(network),
        optimizer=create_optimizer(network, recipe.optimization),
        recipe=recipe.model_dump(mode="json"),
        output=tmp_path,
    )
    targets = TargetMaker(recipe.loss, group=None)
    stepper = Stepper(
        state,
        recipe,
        Objective(network, recipe.loss),
        targets=targets,
        ranks=Ranks(),
        device=torch.device("cpu"),
    )
    return recipe, state, stepper, targets


def batch_of(recipe, step=0):
    plan = BatchPlan(
        fields=Noise(),
        batch_size=recipe.schedule.batch_size,
        patch=recipe.network.patch,
        seed=0,
        crops=recipe.crops,
        masking=recipe.masking,
    )
    return BatchMaker(plan).batch(step)


def weights(module):
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def moved(module, before):
    return {name for name, parameter in module.named_parameters() if not torch.equal(parameter, before[name])}


@pytest.mark.parametrize("prototypes", [256, 4096])
def test_the_first_loss_is_one_and_a_half_ln_k_plus_koleo(tmp_path, prototypes):
    head = {"dino_head": {"prototypes": prototypes}, "ibot_head": {"prototypes": prototypes}}
    recipe, state, stepper, _ = start(tmp_path, **head)
    values = stepper.take(batch_of(recipe), step_rates(recipe, 0))
    koleo = sum(float(koleo_loss(crop)) for crop in state.outputs.student_class_tokens)
    assert values["loss"] == pytest.approx(1.5 * math.log(prototypes) + 0.1 * koleo, rel=0.01)
    assert values["koleo"] == pytest.approx(koleo, rel=1e-4)
    assert values["dino"] == pytest.approx(math.log(prototypes), rel=0.01)
    assert values["ibot"] == pytest.approx(0.5 * math.log(prototypes), rel=0.01)


def test_the_loss_is_the_weighted_sum_of_its_terms(tmp_path):
    weights = {"loss": {"dino": 0.7, "ibot": 1.3, "koleo": 0.2, "local": 0.5}}
    recipe, _, stepper, _ = start(tmp_path, **weights)
    values = stepper.take(batch_of(recipe), step_rates(recipe, 0))
    dino = (2 * values["dino_global"] + 0.5 * 4 * values["dino_local"]) / 6
    assert values["dino"] == pytest.approx(dino)
    assert values["loss"] == pytest.approx(0.7 * dino + 1.3 * values["ibot"] + 0.2 * values["koleo"], rel=1e-5)


def test_a_step_moves_the_student_and_a_little_the_teacher(tmp_path):
    recipe, state, stepper, _ = start(tmp_path, schedule={"warmup": 0.0})
    student, teacher = weights(state.student), weights(state.teacher.module)
    rates = step_rates(recipe, 0)
    stepper.take(batch_of(recipe), rates)
    assert moved(state.student, student) == student.keys()
    name = "dino_head.mlp.0.weight"
    now = dict(state.teacher.module.named_parameters())[name]
    expected = rates.momentum * teacher[name] + (1 - rates.momentum) * dict(state.student.named_parameters())[name]
    torch.testing.assert_close(now, expected)
    assert (state.step, state.skipped_steps) == (1, 0)


def test_micro_batches_take_the_step_of_the_whole_batch(tmp_path):
    """Sinkhorn and KoLeo see all samples; without random depth the gradients are equal too."""
    still = {"network": {"drop_path": 0.0, "rope_rescale": None}, "schedule": {"batch_size": 8, "warmup": 0.0}}
    found = {}
    for accumulate in (1, 2, 4):
        recipe, state, stepper, _ = start(
            tmp_path, **merged(still, {"schedule": {"accumulate": accumulate}, "loss": {"koleo": 1.0}})
        )
        found[accumulate] = (stepper.take(batch_of(recipe), step_rates(recipe, 0)), weights(state.student))
    for accumulate in (2, 4):
        for name, value in found[1][0].items():
            assert found[accumulate][0][name] == pytest.approx(value, rel=2e-4), name
        # AdamW's first step is the sign of the gradient: compare where it is not close to nothing.
        one, many = (torch.cat([w.flatten() for w in found[n][1].values()]) for n in (1, accumulate))
        assert (one - many).abs().gt(1e-5).float().mean() < 0.01


def test_micro_batches_of_their_own_would_have_other_targets(tmp_path):
    _, _, _, targets = start(tmp_path)
    logits = torch.randn(8, 256, generator=torch.Generator().manual_seed(0)) * 0.3
    together = targets.targets("dino", logits, 0.04)
    apart = torch.cat([targets.targets("dino", part, 0.04) for part in logits.chunk(2)])
    assert (together - apart).abs().max() > 0.01


def test_koleo_of_micro_batches_replays_their_random_depth(tmp_path):
    """With drop path the class tokens of the first pass are those of the pass that learns."""
    recipe, _, stepper, _ = start(tmp_path, network={"drop_path": 0.5}, schedule={"accumulate": 2})
    part = stepper._parts(batch_of(recipe))[0]
    stepper._seed(0)
    first = stepper._plain(part)
    stepper._seed(0)
    targets = Targets(torch.full((2, 2, 256), 1 / 256), torch.full((int(part.masks.sum()), 256), 1 / 256))
    second = stepper._plain(part, LossRequest(targets=targets)).class_tokens
    torch.testing.assert_close(first, second)
    stepper._seed(1)
    assert not torch.allclose(stepper._plain(part), first)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_number_that_is_not_finite_reaches_neither_student_nor_teacher(tmp_path, broken):
    recipe, state, stepper, targets = start(tmp_path, loss={"targets": "softmax"}, schedule={"warmup": 0.0})
    stepper.take(batch_of(recipe), step_rates(recipe, 0))
    student, teacher = weights(state.student), weights(state.teacher.module)
    optimizer = state.optimizer.state_dict()
    centers = {name: center.clone() for name, center in targets.centers.items()}
    batch = batch_of(recipe, 1)
    if broken == "loss":
        batch.global_crops[0, 0, 0, 0, 0] = math.nan
    else:
        hook = state.student.backbone.norm.weight.register_hook(lambda gradient: gradient * math.inf)
    values = stepper.take(batch, step_rates(recipe, 1))
    assert any(not math.isfinite(value) for value in values.values())
    assert (state.step, state.skipped_steps, state.consecutive_skips) == (2, 1, 1)
    assert moved(state.student, student) == moved(state.teacher.module, teacher) == set()
    for old, new in zip(optimizer["state"].values(), state.optimizer.state_dict()["state"].values(), strict=True):
        assert all(torch.equal(old[key], new[key]) for key in old)
    if broken == "gradient":
        hook.remove()
    assert all(torch.equal(targets.centers[name], center) for name, center in centers.items())
    values = stepper.take(batch_of(recipe, 2), step_rates(recipe, 2))
    assert all(math.isfinite(value) for value in values.values())
    assert (state.skipped_steps, state.consecutive_skips) == (1, 0)


def test_centres_of_softmax_targets_follow_the_teacher(tmp_path):
    recipe, _, stepper, targets = start(tmp_path, loss={"targets": "softmax", "center_momentum": 0.5})
    stepper.take(batch_of(recipe), step_rates(recipe, 0))
    assert targets.centers.keys() == {"dino", "ibot"}
    assert all(center.abs().max() > 0 for center in targets.centers.values())


def test_monitors_find_the_outputs_of_the_step(tmp_path):
    recipe, state, stepper, _ = start(tmp_path)
    batch = batch_of(recipe)
    stepper.take(batch, step_rates(recipe, 0))
    outputs = state.outputs
    assert outputs.grid == (4, 4)
    assert outputs.teacher_patch_tokens.shape == (8, 16, 192)
    assert len(outputs.ibot_targets) == int(batch.masks.sum())
    torch.testing.assert_close(outputs.dino_targets.sum(dim=-1), torch.ones(2, 4))
    assert not outputs.student_class_logits.requires_grad
    with torch.no_grad():
        again = state.student.dino_head(outputs.student_class_tokens)
    assert again.shape == outputs.student_class_logits.shape


def test_no_local_crops_leave_the_global_pairs(tmp_path):
    recipe, _, stepper, _ = start(tmp_path, crops={"num_local": 0})
    values = stepper.take(batch_of(recipe), step_rates(recipe, 0))
    assert values["dino"] == values["dino_global"]


def test_bfloat16_is_near_float32(tmp_path):
    found = []
    for precision in ("fp32", "bf16"):
        recipe, _, stepper, _ = start(tmp_path, precision=precision)
        found.append(stepper.take(batch_of(recipe), step_rates(recipe, 0))["loss"])
    assert found[0] != found[1], "test invalid"
    assert found[1] == pytest.approx(found[0], rel=0.02)


def test_activation_checkpointing_takes_the_same_step(tmp_path):
    found = []
    for chosen in (False, True):
        recipe, state, stepper, _ = start(
            tmp_path, network={"activation_checkpointing": chosen}, schedule={"warmup": 0.0}
        )
        stepper.take(batch_of(recipe), step_rates(recipe, 0))
        found.append(weights(state.student))
    for name, weight in found[0].items():
        torch.testing.assert_close(weight, found[1][name])


COMPILED = """
import math
import sys
from pathlib import Path
import torch
from torch._dynamo.utils import counters
from test_step import batch_of, start, step_rates

losses = []
for is_compiled in (False, True):
    recipe, state, stepper, _ = start(Path(), network={"drop_path": 0.3}, schedule={"warmup": 0.0})
    if is_compiled:
        for backbone in (state.student.backbone, state.teacher.module.backbone):
            for block in backbone.blocks:
                block.compile(backend="eager")
    losses.append([stepper.take(batch_of(recipe, step), step_rates(recipe, step))["loss"] for step in range(2)])
# The tracer writes addcmul_ as a product and a sum, which round apart; some processors' addcmul_ rounds once.
is_same = all(math.isclose(*pair, rel_tol=1e-6) for pair in zip(*losses, strict=True))
print(is_same, counters["stats"]["unique_graphs"], sum(counters["graph_break"].values()), losses)
"""


@pytest.mark.slow
def test_compiled_blocks_take_the_same_step_as_one_graph_for_the_student_and_one_for_the_teacher():
    """As `network.compile` does, with no compiler behind the tracing; in a process apart, without checks of types."""
    search = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search)}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.stdout.split()[:3] == ["True", "2", "0"], done.stdout + done.stderr


@pytest.mark.parametrize(
    ("channels", "changes", "message"),
    [
        (3, {"in_channels": 5}, r"takes 3 channels, and network.in_channels is 5; set it to 1 .*, or to 3 for fields"),
        (1, {"in_channels": 5}, r"takes 1 channel, and network.in_channels is 5; set it to 1 .* than channel_drop\)$"),
        (3, {"patch": 14}, r"16 px wide, which network.patch 14 does not divide; set it to one of 16, 8, 4, 2, 1$"),
    ],
)
def test_a_start_that_does_not_fit_is_told_in_words_of_the_recipe(tmp_path, channels, changes, message):
    path = tmp_path / "released.pth"
    export_backbone(create_backbone("tiny", in_channels=channels), path, layout="meta")
    head = Head(prototypes=8, hidden=8, bottleneck=8)
    with pytest.raises(ValueError, match=message):
        create_network(Network(start_from=path, **changes), dino_head=head, ibot_head=head)
