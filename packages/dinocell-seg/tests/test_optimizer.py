import pytest
import torch

from dinocell_core import create_dinocell_model
from dinocell_seg.optimizer import Optimization, create_optimizer, learning_rate_factor


@pytest.fixture(scope="module")
def model():
    return create_dinocell_model("tiny", decoder_channels=(8, 8, 8, 8), stem_channels=(4, 4, 4, 4))


def groups_by_parameter(model, settings):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = create_optimizer(model, settings)
    return {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}


def test_every_trainable_parameter_is_in_one_group(model):
    groups = groups_by_parameter(model, Optimization())
    assert groups.keys() == {name for name, _ in model.named_parameters()}


def test_rates_fall_by_the_layer_decay_from_the_decoder_down_to_the_patches(model):
    groups = groups_by_parameter(model, Optimization(layer_decay=0.5))
    assert groups["decoder.head.weight"]["multiplier"] == 1
    assert groups["stem.levels.0.0.conv.weight"]["multiplier"] == 1
    assert groups["backbone.norm.weight"]["multiplier"] == 1
    assert groups["backbone.blocks.11.mlp.fc1.weight"]["multiplier"] == 0.5
    assert groups["backbone.blocks.0.mlp.fc1.weight"]["multiplier"] == 0.5**12
    assert groups["backbone.patch_embed.proj.weight"]["multiplier"] == 0.5**13


def test_norms_biases_and_tokens_are_not_decayed(model):
    groups = groups_by_parameter(model, Optimization(weight_decay=0.1))
    assert groups["backbone.blocks.3.mlp.fc1.weight"]["weight_decay"] == 0.1
    for name in (
        "backbone.blocks.3.norm1.weight",
        "backbone.blocks.3.ls1.gamma",
        "decoder.head.bias",
        "backbone.cls_token",
    ):
        assert groups[name]["weight_decay"] == 0, name


def test_a_model_without_trainable_parameters_is_refused():
    frozen = create_dinocell_model("tiny", decoder_channels=(8, 8, 8, 8)).requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        create_optimizer(frozen, Optimization())


def test_the_rate_warms_up_linearly_and_falls_as_a_cosine():
    settings = Optimization(warmup_steps=10, final_factor=0.1)
    factors = [learning_rate_factor(step, settings, total=111) for step in range(111)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1.0
    assert factors[60] == pytest.approx(0.55, abs=1e-9)
    assert factors[110] == pytest.approx(0.1)
    assert torch.tensor(factors[10:]).diff().max() <= 0


def test_a_short_run_warms_up_for_a_fifth_of_its_steps_and_still_falls():
    factors = [learning_rate_factor(step, Optimization(), total=30) for step in range(30)]
    assert factors[5] == factors[6] == 1.0
    assert factors[4] < 1.0
    assert factors[29] == pytest.approx(Optimization().final_factor)
    assert learning_rate_factor(0, Optimization(), total=4) == 1.0  # no step to spare


def test_with_decay_steps_the_rate_stays_and_falls_linearly_over_the_last_ones():
    settings = Optimization(warmup_steps=10, final_factor=0.2, decay_steps=40)
    factors = [learning_rate_factor(step, settings, total=111) for step in range(111)]
    assert factors[9:71] == [1.0] * 62
    assert factors[90] == pytest.approx(0.6)
    assert factors[110] == pytest.approx(0.2)
    # what was trained so far is the same, however long the run turns out to be
    assert factors[:71] == [learning_rate_factor(step, settings, total=10_000) for step in range(71)]
    assert learning_rate_factor(2, settings, total=45) == factors[2]  # nor does the warm-up know the end
