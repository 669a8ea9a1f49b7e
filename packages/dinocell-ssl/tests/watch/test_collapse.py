"""Alarms name the cause of a collapse drawn by hand, last, warn once or stop, and spare a healthy run."""

import math
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from dinocell_core import DinoVisionTransformer, ViTConfig
from dinocell_ssl import Teacher, sinkhorn
from dinocell_ssl.watch.collapse import (
    CollapseMonitor,
    CollapseThresholds,
    CollapseWarning,
    collapse_values,
    find_alarms,
)
from dinocell_ssl.watch.monitor import CollapseError, StepOutputs, TrainState

SAMPLES, PROTOTYPES, FEATURES = 8, 16, 32


def healthy_outputs(seed=0):
    """Random features and assignments of 8 images, and of their second crops, which agree with the first."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator)

    logits = 0.2 * randn(1, SAMPLES, PROTOTYPES).expand(2, -1, -1)
    tokens = randn(1, SAMPLES, FEATURES).expand(2, -1, -1)
    masks = torch.zeros(2 * SAMPLES, 4, dtype=torch.bool)
    return StepOutputs(
        global_crops=randn(2, SAMPLES, 1, 8, 8),
        local_crops=randn(1, SAMPLES, 1, 4, 4),
        masks=masks,
        grid=(2, 2),
        teacher_class_tokens=tokens,
        teacher_class_logits=logits,
        teacher_patch_tokens=randn(2 * SAMPLES, 4, FEATURES),
        student_class_tokens=tokens,
        student_class_logits=logits,
        dino_targets=sinkhorn(logits.flatten(0, 1), 0.05).view_as(logits),
        ibot_targets=torch.zeros(0, PROTOTYPES),
        teacher_temperature=0.05,
        student_temperature=0.1,
    )


def with_constant_features(outputs):
    tokens = outputs.teacher_class_tokens[:, :1].expand(-1, SAMPLES, -1)
    return replace(outputs, teacher_class_tokens=tokens + 1e-3 * outputs.teacher_class_tokens)


def with_one_direction(outputs):
    signs = torch.tensor([1.0, -1.0]).repeat(SAMPLES // 2)[None, :, None]
    return replace(outputs, teacher_class_tokens=signs * outputs.teacher_class_tokens[:, :1])


def with_assignments(outputs, row):
    return replace(outputs, dino_targets=torch.tensor(row).expand(2, SAMPLES, -1))


ONE_PROTOTYPE = [1.0] + [0.0] * (PROTOTYPES - 1)
UNIFORM = [1 / PROTOTYPES] * PROTOTYPES
FOUR_PROTOTYPES = [0.25] * 4 + [0.0] * (PROTOTYPES - 4)


def test_a_healthy_batch_raises_no_alarm():
    values = collapse_values(healthy_outputs())
    assert find_alarms({"loss": 3.0, "attention_entropy": 0.9, **values}, usual_loss=3.0) == []


@pytest.mark.parametrize(
    ("collapse", "cause", "message"),
    [
        (with_constant_features, "constant_features", "nearly one feature vector .* raise the weight of KoLeo"),
        (with_one_direction, "one_direction", "vary along one direction .* use SIGReg"),
        (lambda o: with_assignments(o, ONE_PROTOTYPE), "one_prototype", "one prototype takes all; use Sinkhorn"),
        (
            lambda o: with_assignments(o, UNIFORM),
            "uniform_assignments",
            "all prototypes equally; keep the teacher sharp",
        ),
        (lambda o: with_assignments(o, FOUR_PROTOTYPES), "equal_assignments", "all images have the same; enlarge"),
    ],
)
def test_each_collapse_has_its_own_cause(collapse, cause, message):
    assert find_alarms(collapse_values(healthy_outputs())) == [], "test invalid"
    (alarm,) = find_alarms(collapse_values(collapse(healthy_outputs())))
    assert alarm.cause == cause
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(alarm.message)


def test_constant_features_are_named_and_not_the_assignments_that_follow_from_them():
    outputs = with_constant_features(with_assignments(healthy_outputs(), UNIFORM))
    assert [alarm.cause for alarm in find_alarms(collapse_values(outputs))] == ["constant_features"]


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"loss": math.nan}, "loss_not_finite"),
        ({"loss": math.inf}, "loss_not_finite"),
        ({"loss": 21.0}, "exploding_loss"),
        ({"loss": 19.0, "attention_entropy": 0.01}, "attention_on_one_token"),
    ],
)
def test_losses_and_attention_have_causes_too(values, cause):
    (alarm,) = find_alarms(values, usual_loss=10.0)
    assert alarm.cause == cause


def test_a_single_image_is_not_compared_with_itself():
    outputs = healthy_outputs()
    single = replace(
        outputs,
        **{
            name: getattr(outputs, name)[:, :1]
            for name in (
                "global_crops",
                "local_crops",
                "teacher_class_tokens",
                "teacher_class_logits",
                "student_class_tokens",
                "student_class_logits",
                "dino_targets",
            )
        },
        masks=outputs.masks[:2],
        teacher_patch_tokens=outputs.teacher_patch_tokens[:2],
    )
    values = collapse_values(single)
    assert "feature_variance" not in values
    assert find_alarms(values) == []


@pytest.fixture
def state(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ViTConfig(embed_dim=16, num_blocks=1, num_heads=1, patch_size=4, in_channels=1)
        student = nn.ModuleDict({"backbone": DinoVisionTransformer(config)})
    optimizer = torch.optim.AdamW(student.parameters())
    return TrainState(
        step=0,
        student=student,
        teacher=Teacher(student),
        optimizer=optimizer,
        recipe={},
        output=tmp_path,
        outputs=healthy_outputs(),
    )


def test_the_log_gets_entropies_usage_rank_variance_and_attention(state):
    values = CollapseMonitor().on_step(50, {"loss": 3.0}, state)
    assert values["alarms"] == 0
    assert values["uniform_entropy"] == pytest.approx(math.log(PROTOTYPES))
    assert 0 < values["student_entropy"] < values["uniform_entropy"]
    assert 0 < values["teacher_entropy"] < values["uniform_entropy"]
    assert 1 < values["feature_rank"] <= SAMPLES
    assert 0.5 < values["feature_variance"] < 1
    assert 1 < values["patch_rank"] <= FEATURES
    assert 0.9 < values["attention_entropy"] <= 1
    assert 0.5 < values["prototype_usage"] <= 1  # Sinkhorn balances


def test_usage_counts_prototypes_over_several_readings(state):
    monitor = CollapseMonitor(attention_images=0, start_step=10_000)
    usages = []
    for reading in range(40):
        row = [0.0] * PROTOTYPES
        row[reading % 4] = 1.0
        state.outputs = with_assignments(healthy_outputs(), row)
        usages.append(monitor.on_step(50 * reading, {}, state)["prototype_usage"])
    assert usages[0] == pytest.approx(1 / PROTOTYPES)
    assert usages[-1] == pytest.approx(4 / PROTOTYPES, rel=0.05)


def test_a_collapse_that_lasts_warns_once_and_stays_in_the_log(state):
    monitor = CollapseMonitor(patience=2, start_step=0)
    state.outputs = with_constant_features(healthy_outputs())
    assert monitor.on_step(50, {"loss": 3.0}, state)["alarms"] == 0
    with pytest.warns(CollapseWarning, match="step 100: constant features: the teacher gives all images"):
        values = monitor.on_step(100, {"loss": 3.0}, state)
    assert (values["alarms"], values["alarm_constant_features"]) == (1, 1)
    assert monitor.on_step(150, {"loss": 3.0}, state)["alarms"] == 1  # and no warning, which would be an error here
    state.outputs = healthy_outputs()
    assert monitor.on_step(200, {"loss": 3.0}, state)["alarms"] == 0
    assert "alarm_constant_features" not in monitor.on_step(250, {"loss": 3.0}, state)


def test_a_run_that_was_asked_to_stop_stops_with_the_cause(state):
    monitor = CollapseMonitor(patience=2, start_step=0, action="stop")
    state.outputs = with_assignments(healthy_outputs(), ONE_PROTOTYPE)
    monitor.on_step(50, {"loss": 3.0}, state)
    with pytest.raises(CollapseError, match=r"step 100: one prototype: .* use Sinkhorn instead of centering"):
        monitor.on_step(100, {"loss": 3.0}, state)


def test_a_single_bad_reading_is_no_collapse(state):
    monitor = CollapseMonitor(patience=2, start_step=0, action="stop")
    for step in range(6):
        state.outputs = with_constant_features(healthy_outputs()) if step % 2 else healthy_outputs()
        monitor.on_step(step, {"loss": 3.0}, state)


def test_a_collapse_whose_cause_changes_is_still_one(state):
    monitor = CollapseMonitor(patience=3, start_step=0, action="stop")
    for step, collapse in enumerate((with_constant_features, lambda o: with_assignments(o, UNIFORM))):
        state.outputs = collapse(healthy_outputs())
        monitor.on_step(step, {"loss": 3.0}, state)
    with pytest.raises(CollapseError, match="step 2: uniform assignments"):
        monitor.on_step(2, {"loss": 3.0}, state)


def test_the_start_of_a_run_is_not_judged_but_for_losses_that_are_not_finite(state):
    monitor = CollapseMonitor(patience=1, start_step=100, action="stop")
    state.outputs = with_constant_features(healthy_outputs())
    assert monitor.on_step(99, {"loss": 3.0}, state)["alarms"] == 0
    with pytest.raises(CollapseError, match="step 99: loss not finite: the loss is nan; lower the learning rate"):
        monitor.on_step(99, {"loss": math.nan}, state)
    with pytest.raises(CollapseError, match="constant features"):
        monitor.on_step(100, {"loss": 3.0}, state)


def test_a_loss_that_doubles_is_an_explosion(state):
    monitor = CollapseMonitor(patience=2, start_step=0, action="stop")
    for step in range(10):
        monitor.on_step(step, {"loss": 10.0 - 0.1 * step}, state)
    monitor.on_step(10, {"loss": 25.0}, state)
    with pytest.raises(CollapseError, match=r"exploding loss: the loss is 30, 2 times what was usual \(9\.6"):
        monitor.on_step(11, {"loss": 30.0}, state)


def test_thresholds_can_be_changed():
    values = {"feature_variance": 0.1}
    assert find_alarms(values) == []
    assert len(find_alarms(values, thresholds=CollapseThresholds(feature_variance=0.2))) == 1


def test_a_step_without_outputs_is_judged_by_its_loss_alone(state):
    state.outputs = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert CollapseMonitor(start_step=0).on_step(1, {"loss": 3.0}, state) == {"alarms": 0.0}


def test_the_rank_of_patches_is_that_of_patches_of_all_images():
    of_each_image = torch.eye(2 * SAMPLES, FEATURES)[:, None].expand(-1, 4, -1)  # its own direction
    outputs = replace(healthy_outputs(), teacher_patch_tokens=of_each_image)
    assert collapse_values(outputs, max_patches=40)["patch_rank"] == pytest.approx(2 * SAMPLES, rel=0.05)
    assert collapse_values(outputs, max_patches=4000)["patch_rank"] == pytest.approx(2 * SAMPLES)


def test_features_that_are_not_finite_end_no_run_by_being_measured():
    outputs = healthy_outputs()
    broken = replace(outputs, teacher_class_tokens=outputs.teacher_class_tokens * math.nan)
    values = collapse_values(broken)
    assert math.isnan(values["feature_rank"])
    assert [alarm.cause for alarm in find_alarms({"loss": math.nan, **values})] == ["loss_not_finite"]
