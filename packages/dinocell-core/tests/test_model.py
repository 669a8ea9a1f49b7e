import pytest
import torch

from dinocell_core import DINOCell, create_dinocell_model
from dinocell_core.model import Architecture, pad_to_multiple


@pytest.fixture(scope="module")
def model() -> DINOCell:
    torch.manual_seed(0)
    return create_dinocell_model("tiny", decoder_channels=(16, 16, 8, 8), stem_channels=(4, 4, 8, 8)).eval()


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (16, 16), (17, 33), (64, 48)])
def test_the_distance_map_has_exactly_the_size_of_the_image(model, size):
    distance_map = model(torch.randn(1, 1, *size))
    assert distance_map.shape == (1, 1, *size)
    assert distance_map.dtype == torch.float32
    assert ((distance_map > 0) & (distance_map < 1)).all()


def test_patch_8_gives_the_same_output_size():
    model = create_dinocell_model("tiny", patch=8, decoder_channels=(16, 16, 8, 8), stem_channels=(4, 4)).eval()
    assert model(torch.randn(1, 1, 40, 28)).shape == (1, 1, 40, 28)


def test_padding_mirrors_the_image_and_repeats_its_edge_when_it_is_too_small():
    row = torch.arange(5.0)[None, None, None]
    assert pad_to_multiple(row, 4)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    square = torch.arange(36.0).reshape(1, 1, 6, 6)
    assert pad_to_multiple(square, 8)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]
    assert pad_to_multiple(square, 6) is square


def test_an_image_with_other_channels_is_refused(model):
    with pytest.raises(ValueError, match="has 3 channels but this model takes 1"):
        model(torch.randn(1, 3, 16, 16))


def test_a_frozen_backbone_stays_frozen_and_in_evaluation_mode_while_the_rest_trains():
    model = create_dinocell_model("tiny", decoder_channels=(16, 16, 8, 8), freeze_backbone=True).train()
    assert model.decoder.training
    assert not any(module.training for module in model.backbone.modules())
    model(torch.randn(2, 1, 32, 32)).mean().backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert any(parameter.grad is not None for parameter in model.decoder.parameters())
    assert model.summary().trainable == model.summary().decoder + model.summary().stem


def test_every_parameter_that_matters_gets_a_gradient():
    model = create_dinocell_model("tiny", decoder_channels=(16, 16, 8, 8)).train()
    model(torch.randn(2, 1, 32, 32)).mean().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without <= {"backbone.mask_token"}


def test_summary_counts_every_parameter_once(model):
    assert model.summary().total == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("size", ["mini", "tiny", "small", "base", "large", "huge_plus", "7b"])
def test_every_size_has_four_skips_within_its_depth(size):
    with torch.device("meta"):
        model = DINOCell(Architecture(size=size))
    assert len(model.skip_blocks) == 4
    assert model.skip_blocks[-1] == model.backbone.num_blocks - 1


def test_the_model_exports_with_a_free_batch_size(model):
    batch = torch.export.Dim("batch", min=1, max=16)
    program = torch.export.export(
        model, (torch.randn(2, 1, 32, 32),), dynamic_shapes={"image": {0: batch}}, strict=False
    )
    images = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(program.module()(images), model(images), rtol=1e-4, atol=1e-5)


def test_an_unknown_size_is_refused_in_one_line_with_the_known_ones():
    with pytest.raises(ValueError, match=r"^size: Input should be 'mini', .*'huge_plus' or '7b' \(it is 'huge'\)$"):
        create_dinocell_model("huge")


HALF_RESOLUTION = {
    "stem_channels": (0, 4, 8, 8),
    "stem_skips": (2, 4),
    "stem_to_tokens": True,
    "decoder_channels": (16, 8, 8),
    "head_channels": 2,
    "diameter_head": True,
}


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (17, 33), (64, 48)])
def test_a_decoder_that_stops_at_stride_2_still_gives_one_value_per_pixel(size):
    model = create_dinocell_model("mini", **HALF_RESOLUTION).eval()
    assert model(torch.randn(1, 1, *size)).shape == (1, 1, *size)


def test_the_diameter_head_says_one_number_per_patch_and_a_model_without_it_none():
    image = torch.randn(2, 1, 32, 48)
    logits, diameters = create_dinocell_model("mini", **HALF_RESOLUTION).eval().logits_and_diameters(image)
    assert logits.shape == (2, 1, 32, 48)
    assert diameters.shape == (2, 1, 2, 3)
    assert create_dinocell_model("mini").eval().logits_and_diameters(image)[1] is None


def test_tokens_see_the_stem_only_where_it_is_added_to_them():
    image = torch.randn(1, 1, 32, 32)
    for to_tokens in (False, True):
        model = create_dinocell_model("mini", **HALF_RESOLUTION | {"stem_to_tokens": to_tokens}).eval()
        without = model.backbone.get_intermediate_layers(image, n=model.skip_blocks, reshape=True)[-1]
        before = model.logits_and_diameters(image)[1]
        torch.testing.assert_close(before, model.diameter_head(without))  # a pretrained backbone is left as it is
        if model.stem_to_tokens is not None:
            torch.nn.init.normal_(model.stem_to_tokens.weight)
            before = model.logits_and_diameters(image)[1]
        for parameter in model.stem.parameters():
            torch.nn.init.normal_(parameter)
        after = model.logits_and_diameters(image)[1]
        assert torch.equal(before, after) != to_tokens


def test_every_parameter_of_a_half_resolution_model_gets_a_gradient():
    model = create_dinocell_model("mini", **HALF_RESOLUTION).train()
    logits, diameters = model.logits_and_diameters(torch.randn(2, 1, 32, 32))
    (logits.mean() + diameters.mean()).backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without <= {"backbone.mask_token"}
    assert model.summary().total == sum(parameter.numel() for parameter in model.parameters())


def test_stem_dropout_hides_maps_from_the_decoder_in_training_alone():
    model = create_dinocell_model("mini", **HALF_RESOLUTION)
    model.stem_dropout = 1.0
    seen = []
    model.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    image = torch.randn(1, 1, 32, 32)
    model.train()(image)
    model.eval()(image)
    hidden, shown = seen
    assert all(stem_map.abs().max() == 0 for stem_map in hidden if stem_map is not None)
    assert all(stem_map.abs().max() > 0 for stem_map in shown if stem_map is not None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem_channels": (0, 0)}, "only leading levels may be 0"),
        ({"stem_channels": (4, 0, 8)}, "only leading levels may be 0"),
        ({"stem_channels": (0, 4), "stem_skips": (1,)}, "stem_skips names stride 1, but the stem has the strides"),
        ({"stem_channels": (), "stem_to_tokens": True}, "stem_to_tokens needs a stem whose last stride is at most"),
        ({"decoder_channels": (8, 8, 8)}, "or head_channels for a sub-pixel head"),
    ],
)
def test_a_network_whose_parts_do_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        create_dinocell_model("mini", **changes)
