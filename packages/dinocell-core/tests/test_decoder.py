import pytest
import torch
from torch.nn import functional as F

from dinocell_core.convolution import conv_norm_act, fold_batch_norm
from dinocell_core.decoder import DecoderStage, UNetDecoder
from dinocell_core.stem import ConvStem


def token_maps(embed_dim: int, grid: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, embed_dim, grid, grid, generator=generator) for _ in range(4)]


@pytest.mark.parametrize(("patch", "grid"), [(16, 4), (8, 8)])
@pytest.mark.parametrize("stem_channels", [(), (4, 8), (4, 8, 12, 16)])
def test_the_output_has_the_resolution_of_the_image_for_both_patches(patch, grid, stem_channels):
    decoder = UNetDecoder(24, patch=patch, channels=(32, 16, 16, 8), stem_channels=stem_channels)
    stem_maps = [torch.randn(2, width, 64 >> level, 64 >> level) for level, width in enumerate(stem_channels)]
    assert decoder(token_maps(24, grid), stem_maps).shape == (2, 1, 64, 64)


def test_patch_8_refines_its_last_stage_without_upsampling():
    decoder = UNetDecoder(24, patch=8, channels=(32, 16, 16, 8))
    kinds = [type(stage.up) for stage in decoder.stages]
    assert kinds == [torch.nn.ConvTranspose2d] * 3 + [torch.nn.Conv2d]


def test_each_stage_takes_the_stem_level_of_its_own_resolution():
    assert UNetDecoder(24, patch=16, stem_channels=(4, 8, 12, 16)).stem_levels == [3, 2, 1, 0]
    assert UNetDecoder(24, patch=16, stem_channels=(4, 8)).stem_levels == [None, None, 1, 0]
    assert UNetDecoder(24, patch=8, stem_channels=(4, 8, 12)).stem_levels == [2, 1, 0, 0]


def test_every_token_map_reaches_the_output():
    decoder = UNetDecoder(24, patch=16, channels=(16, 16, 8, 8)).eval()
    maps = token_maps(24, 2)
    before = decoder(maps)
    for index in range(4):
        changed = [m + 1.0 if position == index else m for position, m in enumerate(maps)]
        assert not torch.allclose(decoder(changed), before), index


def test_a_stage_is_upsampling_plus_lateral_then_two_convolutions():
    stage = DecoderStage(6, 4, skip_channels=5, stem_channels=3, upsample=True, norm="batch").eval()
    x, skip, stem = torch.randn(1, 6, 4, 4), torch.randn(1, 5, 2, 2), torch.randn(1, 3, 8, 8)
    up = F.conv_transpose2d(x, stage.up.weight, stage.up.bias, stride=2)
    lateral = F.conv2d(skip, stage.lateral.weight, stage.lateral.bias)
    plain = up + F.interpolate(lateral, size=(8, 8), mode="bilinear", align_corners=False)
    plain = stage.refine(torch.cat([plain, stem], dim=1))
    torch.testing.assert_close(stage(x, skip, stem), plain)


def test_a_patch_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match=r"patch is 14; .* power of two"):
        UNetDecoder(24, patch=14)


def test_too_few_stages_for_the_patch_are_refused():
    with pytest.raises(ValueError, match=r"needs 4 doublings but channels .* 2 stages"):
        UNetDecoder(24, patch=16, channels=(32, 16))


def test_stem_levels_halve_the_image():
    maps = ConvStem(1, (4, 8, 12)).eval()(torch.randn(1, 1, 32, 48))
    assert [tuple(m.shape) for m in maps] == [(1, 4, 32, 48), (1, 8, 16, 24), (1, 12, 8, 12)]


def test_group_normalisation_does_not_depend_on_the_other_images_of_a_batch():
    block = conv_norm_act(3, 32, norm="group").train()
    batch = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(block(batch)[:1], block(batch[:1]))
    other = conv_norm_act(3, 32, norm="batch").train()
    assert not torch.allclose(other(batch)[:1], other(batch[:1])), "test invalid"


def test_folding_batch_normalisation_keeps_the_output():
    torch.manual_seed(0)
    stem = ConvStem(1, (4, 8, 8))
    for _ in range(3):
        stem(torch.randn(4, 1, 16, 16) * 3 + 1)  # running statistics of their own
    stem.eval()
    image = torch.randn(2, 1, 16, 16)
    before = stem(image)
    assert fold_batch_norm(stem) is stem
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in stem.modules())
    for folded, plain in zip(stem(image), before, strict=True):
        torch.testing.assert_close(folded, plain, rtol=1e-5, atol=1e-5)


def test_folding_a_model_that_trains_is_refused():
    with pytest.raises(ValueError, match=r"call model.eval\(\) first"):
        fold_batch_norm(ConvStem(1, (4,)).train())


def test_a_stem_that_starts_at_stride_2_sees_the_four_pixels_of_each_position_as_channels():
    stem = ConvStem(1, (0, 4, 8)).eval()
    image = torch.randn(1, 1, 8, 8)
    maps = stem(image)
    assert maps[0] is None
    assert [tuple(stem_map.shape) for stem_map in maps[1:]] == [(1, 4, 4, 4), (1, 8, 2, 2)]
    pixels = torch.stack([image[0, 0, y::2, x::2] for y in (0, 1) for x in (0, 1)])[None]
    torch.testing.assert_close(maps[1], stem.levels[0](pixels))


def test_a_subpixel_head_makes_neighbouring_pixels_of_one_coarse_position():
    decoder = UNetDecoder(24, patch=16, channels=(16, 8, 8), head_channels=2).eval()
    assert decoder([torch.randn(1, 24, 3, 2) for _ in range(4)]).shape == (1, 1, 48, 32)
