"""Conversions of the patch kernel keep what the tokens say about an image."""

import pytest
import torch
import torch.nn.functional as F

from dinocell_core.patch_embed import PatchEmbed, expand_channels, fold_to_grey, resize_kernel, sum_pool_kernel


def test_incomplete_patches_are_left_out():
    patch_embed = PatchEmbed(3, 5, 4)
    image = torch.randn(1, 3, 15, 23)
    tokens = patch_embed(image)
    assert tokens.shape == (1, 3, 5, 5)
    torch.testing.assert_close(tokens, patch_embed(image[:, :, :12, :20]))


def test_summed_kernel_sees_an_image_as_the_full_kernel_sees_it_enlarged():
    kernel, image = torch.randn(8, 3, 16, 16), torch.randn(2, 3, 32, 48)
    enlarged = F.interpolate(image, scale_factor=2, mode="nearest")
    summed = sum_pool_kernel(kernel, 8)
    assert summed.shape == (8, 3, 8, 8)
    torch.testing.assert_close(
        F.conv2d(image, summed, stride=8), F.conv2d(enlarged, kernel, stride=16), rtol=0, atol=1e-4
    )


def test_summed_kernel_is_bitwise_equal_for_whole_numbers():
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randint(-8, 9, (4, 2, 16, 16), generator=generator).float()
    image = torch.randint(0, 256, (1, 2, 24, 16), generator=generator).float()
    enlarged = F.interpolate(image, scale_factor=2, mode="nearest")
    assert torch.equal(F.conv2d(image, sum_pool_kernel(kernel, 8), stride=8), F.conv2d(enlarged, kernel, stride=16))


def test_response_to_a_constant_image_is_kept():
    kernel = torch.rand(4, 3, 16, 16)
    constant = kernel.sum(dim=(1, 2, 3))
    torch.testing.assert_close(sum_pool_kernel(kernel, 8).sum(dim=(1, 2, 3)), constant)
    interpolated = F.interpolate(kernel, size=(8, 8), mode="bilinear").sum(dim=(1, 2, 3))
    torch.testing.assert_close(interpolated, constant / 4)  # why kernels are not interpolated


def test_flexivit_resize_by_two_is_the_sum():
    kernel = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(resize_kernel(kernel, 8), sum_pool_kernel(kernel, 8), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_flexivit_enlargement_answers_to_enlarged_patches_as_before(mode):
    kernel, patches = torch.randn(5, 2, 8, 8), torch.randn(3, 2, 8, 8)
    enlarged = F.interpolate(patches, size=(14, 14), mode=mode)
    before = torch.einsum("dcyx,bcyx->bd", kernel, patches)
    after = torch.einsum("dcyx,bcyx->bd", resize_kernel(kernel, 14, mode=mode), enlarged)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)


def test_flexivit_to_the_same_size_changes_nothing():
    kernel = torch.randn(5, 2, 8, 8)
    assert torch.equal(resize_kernel(kernel, 8), kernel)


def test_patch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="must divide the old; use resize_kernel"):
        sum_pool_kernel(torch.randn(4, 3, 16, 16), 14)


def test_folded_kernel_sees_a_grey_image_as_the_rgb_kernel_sees_it_repeated():
    kernel, grey = torch.randn(8, 3, 8, 8), torch.randn(2, 1, 24, 24)
    folded = fold_to_grey(kernel)
    assert folded.shape == (8, 1, 8, 8)
    repeated = grey.repeat(1, 3, 1, 1)
    torch.testing.assert_close(
        F.conv2d(grey, folded, stride=8), F.conv2d(repeated, kernel, stride=8), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_expanded_kernel_sees_equal_channels_as_before(channels):
    kernel, grey = torch.randn(8, 3, 8, 8), torch.randn(2, 1, 24, 24)
    expanded = expand_channels(kernel, channels)
    assert expanded.shape == (8, channels, 8, 8)
    torch.testing.assert_close(
        F.conv2d(grey.repeat(1, channels, 1, 1), expanded, stride=8),
        F.conv2d(grey.repeat(1, 3, 1, 1), kernel, stride=8),
        rtol=0,
        atol=1e-4,
    )
