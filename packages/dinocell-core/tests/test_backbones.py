"""Sizes of the published backbones: parameters, keys, and their relation to other libraries' counts."""

import pytest
import torch

from dinocell_core.backbones import BACKBONES, create_backbone

# name: parameters, keys in the state dict, parameters of one block, of Hugging Face's model, of timm's with q and
# v bias, of timm's without.
COUNTS = {
    "small": (21_601_152, 188, 1_775_232, 21_596_544, 21_596_160, 21_586_944),
    "small_plus": (28_697_472, 212, 2_366_592, 28_692_864, 28_692_480, 28_683_264),
    "base": (85_669_632, 188, 7_089_408, 85_660_416, 85_659_648, 85_641_216),
    "large": (303_154_176, 368, 12_598_272, 303_129_600, 303_128_576, 303_079_424),
    "large_plus": (403_915_776, 416, None, None, None, None),
    "huge_plus": (840_633_600, 552, 26_238_720, 840_592_640, 840_591_360, 840_509_440),
    "7b": (6_716_043_264, 610, 167_821_312, 6_716_035_072, None, 6_716_030_976),
}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_published_sizes_have_the_published_counts(name):
    parameters, keys, per_block, hugging_face, timm_qkvb, timm_plain = COUNTS[name]
    backbone = create_backbone(name, device="meta")
    dim, blocks = backbone.embed_dim, backbone.num_blocks
    assert count(backbone) == parameters
    assert len(backbone.state_dict()) == keys
    if per_block is not None:
        assert count(backbone.blocks[0]) == per_block
    has_bias = backbone.config.qkv_bias
    without_key_bias = parameters - (dim * blocks if has_bias else 0)
    without_local_norm = without_key_bias - (2 * dim if backbone.local_cls_norm is not None else 0)
    if hugging_face is not None:
        assert without_local_norm == hugging_face
        assert without_local_norm - dim - (2 * dim * blocks if has_bias else 0) == timm_plain
    if timm_qkvb is not None:
        assert without_local_norm - dim == timm_qkvb


def test_tiny_is_ours():
    backbone = create_backbone("tiny", device="meta")
    assert (backbone.embed_dim, backbone.num_blocks, backbone.num_storage_tokens) == (192, 12, 4)
    assert count(backbone) == 5_492_160


@pytest.mark.parametrize("name", BACKBONES)
def test_patch_8_has_a_smaller_kernel_and_nothing_else_changed(name):
    at_16, at_8 = create_backbone(name, device="meta"), create_backbone(name, patch=8, device="meta")
    assert count(at_16) - count(at_8) == at_16.embed_dim * 3 * (256 - 64)
    shapes_16, shapes_8 = ({key: t.shape for key, t in b.state_dict().items()} for b in (at_16, at_8))
    assert {key for key in shapes_16 if shapes_16[key] != shapes_8[key]} == {"patch_embed.proj.weight"}


def test_small_at_patch_8_has_the_published_count():
    assert count(create_backbone("small", patch=8, device="meta")) == 21_379_968


def test_keys_and_shapes_of_small_are_those_of_the_published_file():
    shapes = {key: tuple(tensor.shape) for key, tensor in create_backbone("small", device="meta").state_dict().items()}
    outside = {
        "cls_token": (1, 1, 384),
        "storage_tokens": (1, 4, 384),
        "mask_token": (1, 384),
        "patch_embed.proj.weight": (384, 3, 16, 16),
        "patch_embed.proj.bias": (384,),
        "rope_embed.periods": (16,),
        "norm.weight": (384,),
        "norm.bias": (384,),
    }
    block = {
        "norm1.weight": (384,),
        "norm1.bias": (384,),
        "attn.qkv.weight": (1152, 384),
        "attn.qkv.bias": (1152,),
        "attn.qkv.bias_mask": (1152,),
        "attn.proj.weight": (384, 384),
        "attn.proj.bias": (384,),
        "ls1.gamma": (384,),
        "norm2.weight": (384,),
        "norm2.bias": (384,),
        "mlp.fc1.weight": (1536, 384),
        "mlp.fc1.bias": (1536,),
        "mlp.fc2.weight": (384, 1536),
        "mlp.fc2.bias": (384,),
        "ls2.gamma": (384,),
    }
    assert shapes == outside | {f"blocks.{i}.{key}": shape for i in range(12) for key, shape in block.items()}


def test_buffers_of_small_and_7b():
    assert sum(b.numel() for b in create_backbone("small", device="meta").buffers()) == 12 * 1152 + 16
    assert sum(b.numel() for b in create_backbone("7b", device="meta").buffers()) == 32


def test_options_reach_the_backbone():
    backbone = create_backbone("tiny", patch=8, in_channels=5, drop_path=0.1, activation_checkpointing=True)
    assert (backbone.patch_size, backbone.in_channels, backbone.activation_checkpointing) == (8, 5, True)
    assert backbone.blocks[3].drop_path == 0.1
    assert backbone.eval()(torch.zeros(1, 5, 16, 24)).shape == (1, 192)


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match="there is no backbone 'giant'; choose one of mini, tiny, small, small_plus, base"
    ):
        create_backbone("giant")


def test_patch_below_one_is_refused():
    with pytest.raises(ValueError, match="patch is 0"):
        create_backbone("tiny", patch=0)
