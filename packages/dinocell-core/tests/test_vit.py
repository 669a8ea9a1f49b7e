"""The transformer against printed numbers, and what its outputs promise."""

import pytest
import torch

from dinocell_core.rope import RopeAugmentation
from dinocell_core.vit import DinoVisionTransformer, ViTConfig


def close(actual, *expected):
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_mlp_model_gives_the_printed_numbers(golden_backbone, golden_images):
    backbone = golden_backbone()
    assert sum(p.numel() for p in backbone.parameters()) == 27_296
    features = backbone.forward_features(golden_images)
    cls, storage, patches = (features[key] for key in ("x_norm_clstoken", "x_storage_tokens", "x_norm_patchtokens"))
    close(cls[0, :4], 0.5407803361162081, 0.33283787957545413, 1.030729905711227, 0.7042313448635801)
    close(cls[1, :4], 0.5452045871930002, 0.33673345775835084, 1.0340681841960657, 0.7072993922205563)
    close(storage[0, 0, :3], -0.7756630706509331, -1.1703381650358842, -0.6252940189219913)
    close(patches[0, 0, :3], 0.4568481796279871, -0.7167442625246608, 0.28239920566842436)
    close(patches[1, 23, :3], 0.8920991500611726, 0.8148286043436554, -0.5971558487893854)
    assert patches.sum().item() == pytest.approx(-1.1039946377826766, abs=1e-10)
    assert patches.square().sum().item() == pytest.approx(1607.263170047575, abs=1e-9)
    assert features["x_prenorm"].square().sum().item() == pytest.approx(10085.092920314808, abs=1e-8)


def test_masked_patches_give_the_printed_numbers_and_other_images_the_same_bits(golden_backbone, golden_images):
    backbone = golden_backbone()
    masks = torch.zeros(2, 24, dtype=torch.bool)
    masks[0, [0, 5, 23]] = True
    features = backbone.forward_features(golden_images, masks)
    close(features["x_norm_clstoken"][0, :3], 0.484527532228229, 0.3093527709002923, 0.9885856306731192)
    close(features["x_norm_patchtokens"][0, 5, :3], -0.6818645420943508, -0.8930538454201487, -1.0653244296600377)
    assert features["masks"] is masks
    unmasked = backbone.forward_features(golden_images)
    assert torch.equal(features["x_prenorm"][1], unmasked["x_prenorm"][1])


def test_first_block_gives_the_printed_numbers(golden_backbone, golden_images):
    backbone = golden_backbone()
    (normed,) = backbone.get_intermediate_layers(golden_images, [0], reshape=True)
    close(normed[0, :3, 0, 0], -0.07217349014832498, -1.5609535990411314, -0.5612075753732192)
    (raw,) = backbone.get_intermediate_layers(golden_images, [0], norm=False)
    close(raw[0, 0, :3], 0.22707615009915827, -2.8937790397893766, -0.8103200025269015)


def test_swiglu_model_gives_the_printed_numbers(golden_backbone, golden_images):
    backbone = golden_backbone(ffn="swiglu", ffn_ratio=6.0)
    assert sum(p.numel() for p in backbone.parameters()) == 35_744
    features = backbone.forward_features(golden_images)
    close(
        features["x_norm_clstoken"][0, :4],
        *(0.4600279819504704, 0.7667414779918476, 1.11536897718944, 1.235296314804906),
    )
    patches = features["x_norm_patchtokens"]
    assert patches.square().sum().item() == pytest.approx(1452.6813690264494, abs=1e-9)
    assert patches.sum().item() == pytest.approx(-161.8403981522517, abs=1e-9)


def test_model_without_qkv_bias_gives_the_printed_numbers(golden_backbone, golden_images):
    backbone = golden_backbone(qkv_bias=False)
    assert sum(p.numel() for p in backbone.parameters()) == 27_104
    features = backbone.forward_features(golden_images)
    close(
        features["x_norm_clstoken"][0, :4],
        *(0.0835922533844058, -0.9885642302186041, 0.276033792564783, -0.645608877840186),
    )
    assert features["x_norm_patchtokens"].square().sum().item() == pytest.approx(1400.2553048016132, abs=1e-9)


def test_forward_is_the_normed_cls_token_and_in_training_form_the_dict(golden_backbone, golden_images):
    backbone = golden_backbone()
    features = backbone(golden_images, is_training=True)
    assert set(features) == {"x_norm_clstoken", "x_storage_tokens", "x_norm_patchtokens", "x_prenorm", "masks"}
    assert features["masks"] is None
    assert features["x_storage_tokens"].shape == (2, 2, 32)
    assert features["x_prenorm"].shape == (2, 1 + 2 + 24, 32)
    assert torch.equal(backbone(golden_images), features["x_norm_clstoken"])


def test_list_of_batches_equals_separate_forwards(golden_backbone, golden_images):
    backbone = golden_backbone()
    images = [golden_images, golden_images[:1, :, :8, :12]]
    masks = [torch.rand(2, 24) < 0.3, None]
    together = backbone.forward_features(images, masks)
    for one, image, mask in zip(together, images, masks, strict=True):
        alone = backbone.forward_features(image, mask)
        for key in ("x_norm_clstoken", "x_storage_tokens", "x_norm_patchtokens", "x_prenorm"):
            assert torch.equal(one[key], alone[key])
        assert one["masks"] is mask
    assert torch.equal(backbone(images)[1], together[1]["x_norm_clstoken"])


def test_list_with_too_few_masks_is_refused(golden_backbone, golden_images):
    with pytest.raises(ValueError, match="2 batches but masks for 1;"):
        golden_backbone().forward_features([golden_images, golden_images], [None])


def test_last_intermediate_layer_is_the_final_output(golden_backbone, golden_images):
    backbone = golden_backbone()
    features = backbone.forward_features(golden_images)
    ((patches, cls, storage),) = backbone.get_intermediate_layers(
        golden_images, 1, return_class_token=True, return_extra_tokens=True
    )
    assert torch.equal(patches, features["x_norm_patchtokens"])
    assert torch.equal(cls, features["x_norm_clstoken"])
    assert torch.equal(storage, features["x_storage_tokens"])


def test_intermediate_layers_are_counted_from_the_end_or_given_by_index(golden_backbone, golden_images):
    backbone = golden_backbone(num_blocks=4)
    last_two = backbone.get_intermediate_layers(golden_images, 2, reshape=True)
    by_index = backbone.get_intermediate_layers(golden_images, (2, 3), reshape=True)
    assert len(last_two) == len(by_index) == 2
    for one, other in zip(last_two, by_index, strict=True):
        assert one.shape == (2, 32, 4, 6)
        assert one.is_contiguous()
        assert torch.equal(one, other)
    (flat,) = backbone.get_intermediate_layers(golden_images, (2,))
    assert torch.equal(flat.transpose(1, 2).reshape(2, 32, 4, 6), last_two[0])


@pytest.mark.parametrize("n", [0, 3, (2,), (-1,), ()])
def test_blocks_that_do_not_exist_are_refused(golden_backbone, golden_images, n):
    with pytest.raises(ValueError, match="the model has 2 blocks, numbered from 0"):
        golden_backbone().get_intermediate_layers(golden_images, n)


def test_blocks_after_the_last_one_asked_for_are_not_computed(golden_backbone, golden_images):
    backbone = golden_backbone()
    backbone.blocks[1].register_forward_hook(lambda *_: pytest.fail("block 1 was computed"))
    backbone.get_intermediate_layers(golden_images, (0,))


def test_rows_and_columns_beyond_the_last_patch_are_left_out(golden_backbone, golden_images):
    backbone = golden_backbone()
    cropped = backbone.forward_features(golden_images[:, :, :15, :23])["x_prenorm"]
    assert cropped.shape[1] == 1 + 2 + 3 * 5
    torch.testing.assert_close(cropped, backbone.forward_features(golden_images[:, :, :12, :20])["x_prenorm"])


def test_images_with_other_channels_are_refused(golden_backbone):
    with pytest.raises(ValueError, match=r"have 5 channels but the backbone takes 3; create it with in_channels=5"):
        golden_backbone()(torch.zeros(1, 5, 16, 16, dtype=torch.float64))


def test_mask_for_another_grid_is_refused(golden_backbone, golden_images):
    with pytest.raises(ValueError, match=r"got a mask of shape \(2, 1\) for \(2, 24\) patches"):
        golden_backbone()(golden_images, torch.ones(2, 1, dtype=torch.bool))


def test_images_smaller_than_a_patch_are_refused(golden_backbone):
    with pytest.raises(ValueError, match="smaller than one patch of 4"):
        golden_backbone()(torch.zeros(1, 3, 16, 3, dtype=torch.float64))


def test_untied_cls_norm_is_for_cls_and_storage_tokens(golden_backbone, golden_images):
    backbone = golden_backbone(untie_cls_and_patch_norms=True)
    features = backbone.forward_features(golden_images)
    x = features["x_prenorm"]
    assert torch.equal(features["x_norm_clstoken"], backbone.cls_norm(x[:, :3])[:, 0])
    assert torch.equal(features["x_storage_tokens"], backbone.cls_norm(x[:, :3])[:, 1:])
    assert torch.equal(features["x_norm_patchtokens"], backbone.norm(x[:, 3:]))
    ((_, cls),) = backbone.get_intermediate_layers(golden_images, 1, return_class_token=True)
    assert torch.equal(cls, features["x_norm_clstoken"])


def test_local_cls_norm_is_for_the_second_batch_of_a_list_in_training(golden_backbone, golden_images):
    backbone = golden_backbone(untie_global_and_local_cls_norm=True)
    assert {"local_cls_norm.weight", "local_cls_norm.bias"} <= backbone.state_dict().keys()
    images = [golden_images, golden_images]
    first, second = backbone(images)
    assert torch.equal(first, second)
    first, second = backbone.train().forward_features(images)
    assert torch.equal(first["x_norm_clstoken"], backbone.norm(first["x_prenorm"])[:, 0])
    assert torch.equal(second["x_norm_clstoken"], backbone.local_cls_norm(second["x_prenorm"][:, :3])[:, 0])
    assert torch.equal(second["x_norm_patchtokens"], first["x_norm_patchtokens"])


@pytest.mark.parametrize(("per_block", "draws"), [(True, 6), (False, 2)])
def test_positions_are_drawn_per_batch_and_block_or_once(golden_images, per_block, draws):
    config = ViTConfig(embed_dim=32, num_blocks=3, num_heads=2, patch_size=4)
    backbone = DinoVisionTransformer(config, rope_augmentation=RopeAugmentation(per_block=per_block)).double()
    seen = []
    for block in backbone.blocks:
        block.register_forward_pre_hook(lambda _, args: seen.extend(table.sin[-1, 0].item() for table in args[1]))
    backbone([golden_images, golden_images])
    assert len(seen) == 6
    assert len(set(seen)) == draws
    seen.clear()
    backbone.eval()([golden_images, golden_images])
    assert len(set(seen)) == 1


def test_activation_checkpointing_gives_the_same_gradients(golden_images):
    config = ViTConfig(embed_dim=32, num_blocks=3, num_heads=2, patch_size=4, layerscale_init=1.0)
    gradients = []
    for activation_checkpointing in (False, True):
        torch.manual_seed(0)
        backbone = DinoVisionTransformer(
            config,
            drop_path=0.5,
            rope_augmentation=RopeAugmentation(),
            activation_checkpointing=activation_checkpointing,
        )
        calls = []
        backbone.blocks[0].mlp.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        features = backbone.forward_features([golden_images.float(), golden_images[:, :, :8, :8].float()])
        sum(one["x_prenorm"].square().sum() for one in features).backward()
        assert len(calls) == (4 if activation_checkpointing else 2)
        gradients.append({name: p.grad for name, p in backbone.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_initialisation_is_the_published_one():
    torch.manual_seed(0)
    backbone = DinoVisionTransformer(ViTConfig(embed_dim=256, num_blocks=1, num_heads=4))
    block = backbone.blocks[0]
    assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not block.attn.qkv.bias.any()
    assert (block.ls1.gamma == 1e-5).all()
    assert not backbone.mask_token.any()
    assert backbone.cls_token.std().item() == pytest.approx(0.02, rel=0.2)
    assert block.norm1.eps == backbone.norm.eps == 1e-5
    bound = (3 * 16 * 16) ** -0.5
    assert backbone.patch_embed.proj.weight.abs().max().item() == pytest.approx(bound, rel=1e-3)


def test_bfloat16_autocast_stays_near_float32():
    torch.manual_seed(0)
    backbone = DinoVisionTransformer(ViTConfig(embed_dim=64, num_blocks=4, num_heads=4, layerscale_init=1.0)).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        exact = backbone(x)
        with torch.autocast("cpu", torch.bfloat16):
            near = backbone(x)
    assert near.dtype == torch.float32  # the residual stream is never rounded
    assert (near - exact).norm() / exact.norm() < 0.02


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_stay_near_float32(dtype):
    torch.manual_seed(0)
    backbone = DinoVisionTransformer(ViTConfig(embed_dim=64, num_blocks=4, num_heads=4, layerscale_init=1.0)).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        exact = backbone(x)
        near = backbone.to(dtype)(x.to(dtype))
    assert near.dtype == dtype
    assert (near.float() - exact).norm() / exact.norm() < 0.03


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_outputs_of_the_cpu():
    torch.manual_seed(0)
    backbone = DinoVisionTransformer(ViTConfig(embed_dim=64, num_blocks=4, num_heads=4, layerscale_init=1.0)).eval()
    x, masks = torch.randn(2, 3, 64, 64), torch.rand(2, 16) < 0.3
    with torch.inference_mode():
        expected = backbone.forward_features(x, masks)["x_norm_patchtokens"]
        actual = backbone.cuda().forward_features(x.cuda(), masks.cuda())["x_norm_patchtokens"]
    torch.testing.assert_close(actual.cpu(), expected, rtol=0, atol=5e-3)  # TF32
