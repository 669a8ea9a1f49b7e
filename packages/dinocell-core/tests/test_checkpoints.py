"""Files of every layout load completely, with the changes the report names, or not at all."""

import hashlib
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from dinocell_core.backbones import create_backbone
from dinocell_core.checkpoints import load_backbone_weights
from dinocell_core.patch_embed import expand_channels, resize_kernel, sum_pool_kernel
from dinocell_core.vit import DinoVisionTransformer, ViTConfig

TINY = {"embed_dim": 32, "num_blocks": 2, "num_heads": 2, "patch_size": 16}
NO_BIAS = {"qkv_bias": False, "ffn": "swiglu", "ffn_ratio": 3.0}


def random_backbone(seed: int = 0, **config) -> DinoVisionTransformer:
    generator = torch.Generator().manual_seed(seed)
    backbone = DinoVisionTransformer(ViTConfig(**{**TINY, **config})).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        for name, parameter in backbone.named_parameters():
            if name.endswith("qkv.bias"):
                parameter.chunk(3)[1].zero_()  # what files without a key bias come back as
    return backbone


def as_hugging_face(state, *, prefix="layer."):
    """The writer of Hugging Face's names, written apart from the reader under test."""
    out = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.register_tokens": state["storage_tokens"],
        "embeddings.mask_token": state["mask_token"][None],
        "embeddings.patch_embeddings.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.bias": state["patch_embed.proj.bias"],
        "norm.weight": state["norm.weight"],
        "norm.bias": state["norm.bias"],
    }
    swiglu = {"w1": "gate_proj", "w2": "up_proj", "w3": "down_proj"}
    mlp = {"fc1": "up_proj", "fc2": "down_proj"}
    for key, tensor in state.items():
        if not key.startswith("blocks.") or key.endswith("bias_mask"):
            continue
        _, i, *rest = key.split(".")
        layer = f"{prefix}{i}."
        match rest:
            case ["attn", "qkv", kind]:
                for part, third in zip("qkv", tensor.chunk(3), strict=True):
                    if (part, kind) != ("k", "bias"):
                        out[f"{layer}attention.{part}_proj.{kind}"] = third
            case ["attn", "proj", kind]:
                out[f"{layer}attention.o_proj.{kind}"] = tensor
            case ["ls1" | "ls2" as ls, "gamma"]:
                out[f"{layer}layer_scale{ls[-1]}.lambda1"] = tensor
            case ["mlp", linear, kind]:
                out[f"{layer}mlp.{(swiglu | mlp)[linear]}.{kind}"] = tensor
            case ["norm1" | "norm2" as norm, kind]:
                out[f"{layer}{norm}.{kind}"] = tensor
    return out


def as_timm(state, *, bias=True):
    """The writer of timm's names; without `bias` as in its plain files."""
    out = {}
    names = {"storage_tokens": "reg_token", ".ls1.gamma": ".gamma_1", ".ls2.gamma": ".gamma_2"}
    names |= {".mlp.w1.": ".mlp.fc1_g.", ".mlp.w2.": ".mlp.fc1_x.", ".mlp.w3.": ".mlp.fc2."}
    for key, tensor in state.items():
        if key in ("mask_token", "rope_embed.periods") or key.endswith("bias_mask") or "local_cls" in key:
            continue
        if key.endswith("attn.qkv.bias"):
            if bias:
                q, _, v = tensor.chunk(3)
                out[key.replace("qkv.bias", "q_bias")], out[key.replace("qkv.bias", "v_bias")] = q, v
            continue
        for old, new in names.items():
            key = key.replace(old, new)
        out[key] = tensor
    return out


def contiguous(state):
    return {key: tensor.detach().clone().contiguous() for key, tensor in state.items()}


def assert_equal_states(one, other, *, but=()):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    assert {key for key in one if not torch.equal(one[key], other[key])} == set(but)


@pytest.fixture(params=[{}, {"ffn": "swiglu", "ffn_ratio": 6.0}, NO_BIAS], ids=["mlp", "swiglu", "no-bias"])
def config(request):
    return request.param


def test_meta_file_comes_back_bit_for_bit(tmp_path, config):
    source, backbone = random_backbone(**config), random_backbone(seed=1, **config)
    path = tmp_path / "meta.pth"
    torch.save(source.state_dict(), path)
    report = load_backbone_weights(backbone, path)
    assert_equal_states(backbone, source)
    assert report.layout == "meta"
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report.path == str(path)
    assert (report.patch_conversion, report.channel_conversion) == (None, None)
    assert report.dropped_keys == report.filled_keys == ()
    assert report.rope_periods == "file"
    assert report.qkv_bias == ("trainable" if backbone.config.qkv_bias else "none")


def test_meta_names_in_safetensors_are_read_too(tmp_path):
    source, backbone = random_backbone(), random_backbone(seed=1)
    save_file(contiguous(source.state_dict()), tmp_path / "meta.safetensors")
    load_backbone_weights(backbone, str(tmp_path / "meta.safetensors"))
    assert_equal_states(backbone, source)


@pytest.mark.parametrize("prefix", ["layer.", "model.layer."])
def test_hugging_face_file_comes_back_bit_for_bit(tmp_path, config, prefix):
    source, backbone = random_backbone(**config), random_backbone(seed=1, **config)
    path = tmp_path / "model.safetensors"
    save_file(contiguous(as_hugging_face(source.state_dict(), prefix=prefix)), path)
    report = load_backbone_weights(backbone, path)
    assert_equal_states(backbone, source)
    assert report.layout == "hugging_face"
    assert report.rope_periods == "exact"
    assert "rope_embed.periods" in report.filled_keys
    assert ("blocks.1.attn.qkv.bias_mask" in report.filled_keys) == backbone.config.qkv_bias


@pytest.mark.parametrize("bias", [True, False], ids=["qkvb", "plain"])
def test_timm_file_comes_back_but_for_the_mask_token(tmp_path, config, bias):
    source, backbone = random_backbone(**config), random_backbone(seed=1, **config)
    if not bias and source.config.qkv_bias:
        for block in source.blocks:
            torch.nn.init.zeros_(block.attn.qkv.bias)
    path = tmp_path / "model.safetensors"
    save_file(contiguous(as_timm(source.state_dict(), bias=bias)), path)
    report = load_backbone_weights(backbone, path)
    assert_equal_states(backbone, source, but=["mask_token"])
    assert not backbone.mask_token.any()
    assert report.layout == "timm"
    assert "mask_token" in report.filled_keys
    assert ("blocks.0.attn.qkv.bias" in report.filled_keys) == (not bias and backbone.config.qkv_bias)


def test_teacher_of_a_training_checkpoint_is_taken_without_its_heads(tmp_path):
    source, backbone = random_backbone(), random_backbone(seed=1)
    teacher = {f"backbone.{key}": tensor for key, tensor in source.state_dict().items()}
    teacher |= {"dino_head.mlp.0.weight": torch.zeros(2, 2), "ibot_head.last_layer.weight": torch.zeros(2, 2)}
    torch.save({"teacher": teacher}, tmp_path / "teacher_checkpoint.pth")
    report = load_backbone_weights(backbone, tmp_path / "teacher_checkpoint.pth")
    assert_equal_states(backbone, source)
    assert report.dropped_keys == ("dino_head.mlp.0.weight", "ibot_head.last_layer.weight")


def test_local_cls_norm_is_dropped_where_the_backbone_has_none(tmp_path):
    source, backbone = random_backbone(untie_global_and_local_cls_norm=True), random_backbone(seed=1)
    torch.save(source.state_dict(), tmp_path / "sat.pth")
    report = load_backbone_weights(backbone, tmp_path / "sat.pth")
    assert report.dropped_keys == ("local_cls_norm.bias", "local_cls_norm.weight")
    assert torch.equal(backbone.norm.weight, source.norm.weight)


def test_local_cls_norm_starts_as_the_norm_where_the_file_has_none(tmp_path):
    untied = {"untie_global_and_local_cls_norm": True}
    source, backbone = random_backbone(**untied), random_backbone(seed=1, **untied)
    save_file(contiguous(as_hugging_face(source.state_dict())), tmp_path / "model.safetensors")
    report = load_backbone_weights(backbone, tmp_path / "model.safetensors")
    assert torch.equal(backbone.local_cls_norm.weight, source.norm.weight)
    assert {"local_cls_norm.bias", "local_cls_norm.weight"} <= set(report.filled_keys)


def test_patch_16_file_in_a_patch_8_backbone_sees_images_as_if_enlarged(tmp_path):
    source, backbone = random_backbone(), random_backbone(seed=1, patch_size=8)
    torch.save(source.state_dict(), tmp_path / "meta.pth")
    report = load_backbone_weights(backbone, tmp_path / "meta.pth")
    assert report.patch_conversion == "sum_pool 16 -> 8"
    assert torch.equal(backbone.patch_embed.proj.weight, sum_pool_kernel(source.patch_embed.proj.weight, 8))
    image = torch.randn(1, 3, 32, 48)
    enlarged = torch.nn.functional.interpolate(image, scale_factor=2, mode="nearest")
    with torch.no_grad():
        torch.testing.assert_close(
            backbone.forward_features(image)["x_norm_patchtokens"],
            source.forward_features(enlarged)["x_norm_patchtokens"],
            rtol=0,
            atol=1e-4,
        )


def test_patch_that_does_not_divide_needs_the_flexivit_resize(tmp_path):
    source, backbone = random_backbone(), random_backbone(seed=1, patch_size=14)
    torch.save(source.state_dict(), tmp_path / "meta.pth")
    with pytest.raises(ValueError, match=r"has patch 16 and the backbone 14.*patch_resize='flexivit'"):
        load_backbone_weights(backbone, tmp_path / "meta.pth")
    report = load_backbone_weights(backbone, tmp_path / "meta.pth", patch_resize="flexivit")
    assert report.patch_conversion == "flexivit 16 -> 14"
    assert torch.equal(backbone.patch_embed.proj.weight, resize_kernel(source.patch_embed.proj.weight, 14))


def test_rgb_file_in_a_grey_backbone_sees_grey_as_if_repeated(tmp_path):
    source, backbone = random_backbone(), random_backbone(seed=1, in_channels=1, patch_size=8)
    torch.save(source.state_dict(), tmp_path / "meta.pth")
    report = load_backbone_weights(backbone, tmp_path / "meta.pth")
    assert (report.channel_conversion, report.patch_conversion) == ("fold 3 -> 1", "sum_pool 16 -> 8")
    grey = torch.randn(1, 1, 16, 24)
    enlarged = torch.nn.functional.interpolate(grey.repeat(1, 3, 1, 1), scale_factor=2, mode="nearest")
    with torch.no_grad():
        torch.testing.assert_close(backbone(grey), source(enlarged), rtol=0, atol=1e-4)


def test_other_numbers_of_channels_need_expansion(tmp_path):
    source, backbone = random_backbone(), random_backbone(seed=1, in_channels=5)
    torch.save(source.state_dict(), tmp_path / "meta.pth")
    with pytest.raises(ValueError, match=r"has 3 channels and the backbone 5.*channels='expand'"):
        load_backbone_weights(backbone, tmp_path / "meta.pth")
    report = load_backbone_weights(backbone, tmp_path / "meta.pth", channels="expand")
    assert report.channel_conversion == "expand 3 -> 5"
    assert torch.equal(backbone.patch_embed.proj.weight, expand_channels(source.patch_embed.proj.weight, 5))


def zero_masked_file(path):
    source = random_backbone()
    for block in source.blocks:
        block.attn.qkv.bias_mask.zero_()
    torch.save(source.state_dict(), path)
    return source


def test_zero_bias_mask_stays_as_in_the_file_and_is_reported(tmp_path):
    source, backbone = zero_masked_file(tmp_path / "meta.pth"), random_backbone(seed=1)
    assert load_backbone_weights(backbone, tmp_path / "meta.pth").qkv_bias == "frozen_at_zero"
    assert_equal_states(backbone, source)
    backbone(torch.randn(1, 3, 32, 32)).sum().backward()
    assert not backbone.blocks[0].attn.qkv.bias.grad.any()


def test_zero_bias_mask_made_trainable_keeps_the_output(tmp_path):
    source, backbone = zero_masked_file(tmp_path / "meta.pth"), random_backbone(seed=1)
    report = load_backbone_weights(backbone, tmp_path / "meta.pth", qkv_bias="trainable")
    assert report.qkv_bias == "trainable"
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(backbone(image), source(image))
    backbone(image).sum().backward()
    q, k, v = backbone.blocks[0].attn.qkv.bias.grad.chunk(3)
    assert q.any()
    assert v.any()
    assert not k.any()


def test_bias_mask_of_nan_is_refused_unless_made_trainable(tmp_path):
    source, backbone = random_backbone(), random_backbone(seed=1)
    for block in source.blocks:
        block.attn.qkv.bias_mask.fill_(torch.nan)
    torch.save(source.state_dict(), tmp_path / "meta.pth")
    with pytest.raises(ValueError, match=r"bias mask that is not finite.*qkv_bias='trainable'"):
        load_backbone_weights(backbone, tmp_path / "meta.pth")
    load_backbone_weights(backbone, tmp_path / "meta.pth", qkv_bias="trainable")
    assert torch.equal(backbone.blocks[0].attn.qkv.bias, source.blocks[0].attn.qkv.bias)
    assert backbone(torch.randn(1, 3, 32, 32)).isfinite().all()


def test_file_without_bias_masks_loads_when_made_trainable(tmp_path):
    source, backbone = random_backbone(mask_k_bias=False), random_backbone(seed=1)
    torch.save(source.state_dict(), tmp_path / "meta.pth")
    with pytest.raises(ValueError, match=r"2 missing: blocks\.0\.attn\.qkv\.bias_mask"):
        load_backbone_weights(backbone, tmp_path / "meta.pth")
    load_backbone_weights(backbone, tmp_path / "meta.pth", qkv_bias="trainable")
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(backbone(image), source(image))


def test_rounded_periods_are_taken_or_replaced_as_asked(tmp_path):
    source, backbone = random_backbone(), random_backbone(seed=1)
    exact = source.rope_embed.periods.clone()
    source.rope_embed.periods.copy_(exact.bfloat16())
    torch.save(source.state_dict(), tmp_path / "meta.pth")
    assert load_backbone_weights(backbone, tmp_path / "meta.pth").rope_periods == "file"
    assert torch.equal(backbone.rope_embed.periods, exact.bfloat16().float())
    report = load_backbone_weights(backbone, tmp_path / "meta.pth", rope_periods="exact")
    assert report.rope_periods == "exact"
    assert report.filled_keys == ("rope_embed.periods",)
    assert torch.equal(backbone.rope_embed.periods, exact)


def test_half_precision_file_fills_a_float32_backbone(tmp_path):
    source, backbone = random_backbone(), random_backbone(seed=1)
    half = {key: tensor.bfloat16() for key, tensor in as_hugging_face(source.state_dict()).items()}
    save_file(contiguous(half), tmp_path / "model.safetensors")
    load_backbone_weights(backbone, tmp_path / "model.safetensors")
    assert backbone.norm.weight.dtype == torch.float32
    assert torch.equal(backbone.norm.weight, source.norm.weight.bfloat16().float())


def test_backbone_built_without_memory_takes_the_file(tmp_path):
    source = random_backbone()
    torch.save(source.state_dict(), tmp_path / "meta.pth")
    with torch.device("meta"):
        backbone = DinoVisionTransformer(ViTConfig(**TINY)).eval()
    load_backbone_weights(backbone, tmp_path / "meta.pth")
    assert_equal_states(backbone, source)
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(backbone(image), source(image))


def test_of_a_backbone_of_another_size_that_size_is_named_and_no_list(tmp_path):
    torch.save(create_backbone("tiny").state_dict(), tmp_path / "meta.pth")
    for other in (random_backbone(), create_backbone("small", device="meta")):
        with pytest.raises(ValueError, match=r"meta\.pth holds a backbone of size 'tiny', .*network\.size=tiny\)$"):
            load_backbone_weights(other, tmp_path / "meta.pth")


def test_a_missing_file_and_a_folder_are_told_with_what_to_give(tmp_path):
    for path in (tmp_path / "no.pth", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"^there is no weight file .*; give a DINOv3 \.pth or"):
            load_backbone_weights(random_backbone(), path)


def without(state, key):
    return {k: v for k, v in state.items() if k != key}


DAMAGE = {
    "missing": (lambda s: without(s, "norm.bias"), r"1 missing: norm\.bias"),
    "unexpected": (lambda s: s | {"head.weight": torch.zeros(2)}, r"1 unexpected: head\.weight"),
    "misshapen": (
        lambda s: s | {"blocks.1.mlp.fc1.bias": torch.zeros(7)},
        r"1 misshapen: blocks\.1\.mlp\.fc1\.bias \(7,\) instead of \(128,\)",
    ),
    "not finite": (
        lambda s: s | {"norm.bias": torch.full((32,), torch.nan)},
        r"1 not finite floating point numbers: norm\.bias",
    ),
    "whole numbers": (lambda s: s | {"norm.bias": torch.zeros(32, dtype=torch.int64)}, "1 not finite floating"),
    "deeper": (lambda s: s | {"blocks.2.ls1.gamma": torch.zeros(32)}, r"1 unexpected: blocks\.2\.ls1\.gamma"),
    "other model": (lambda s: {"pos_embed": torch.zeros(1)}, "no DINOv3 layout is known with keys such as pos_embed"),
    "nested": (lambda s: {"model": s}, r"entries that are not tensors \(model\)"),
    "a number among tensors": (lambda s: s | {"epoch": 3}, r"entries that are not tensors \(epoch\)"),
    "a list": (lambda s: list(s.values()), "holds a list, not a state dict"),
    "code": (lambda s: s | {"norm.bias": os.path.join}, "nothing of it was executed"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_file_that_does_not_fit_is_refused_and_changes_nothing(tmp_path, damage):
    change, message = DAMAGE[damage]
    backbone = random_backbone(seed=1)
    torch.save(change(dict(random_backbone().state_dict())), tmp_path / "meta.pth")
    with pytest.raises(ValueError, match=message):
        load_backbone_weights(backbone, tmp_path / "meta.pth")
    assert_equal_states(backbone, random_backbone(seed=1))


def test_incomplete_hugging_face_file_is_refused(tmp_path):
    state = as_hugging_face(random_backbone().state_dict())
    save_file(contiguous(without(state, "layer.1.attention.k_proj.weight")), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"1 missing: blocks\.1\.attn\.qkv\.weight; 2 unexpected: blocks\.1\.attn\.q"):
        load_backbone_weights(random_backbone(), tmp_path / "model.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("container", ["pth", "safetensors"])
def test_truncated_file_is_refused(tmp_path, container, share):
    path = tmp_path / f"meta.{container}"
    state = contiguous(random_backbone().state_dict())
    torch.save(state, path) if container == "pth" else save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    backbone = random_backbone(seed=1)
    with pytest.raises(ValueError, match="damaged"):
        load_backbone_weights(backbone, path)
    assert_equal_states(backbone, random_backbone(seed=1))


def test_pickle_is_not_executed(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    (tmp_path / "attack.pth").write_bytes(pickle.dumps({"storage_tokens": Attack()}, protocol=2))
    with pytest.raises(ValueError, match=r"nothing of it was executed|damaged"):
        load_backbone_weights(random_backbone(), tmp_path / "attack.pth")
    assert not (tmp_path / "executed").exists()


def test_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        load_backbone_weights(random_backbone(), tmp_path / "absent.pth")


def with_key_biases() -> DinoVisionTransformer:
    """A backbone whose keys have biases that act."""
    backbone = random_backbone()
    with torch.no_grad():
        for block in backbone.blocks:
            block.attn.qkv.bias.chunk(3)[1].fill_(0.7)
            block.attn.qkv.bias_mask.fill_(1)
    return backbone


def as_hugging_face_with_key_bias(state):
    keys = {key: tensor.chunk(3)[1] for key, tensor in state.items() if key.endswith("qkv.bias")}
    named = {f"layer.{key.split('.')[1]}.attention.k_proj.bias": tensor for key, tensor in keys.items()}
    return as_hugging_face(state) | named


def as_meta_without_masks(state):
    return {key: tensor for key, tensor in state.items() if not key.endswith("bias_mask")}


def as_timm_with_whole_bias(state):
    whole = {key: tensor for key, tensor in state.items() if key.endswith("qkv.bias")}
    return as_timm(state, bias=False) | whole


@pytest.mark.parametrize(
    ("layout", "qkv_bias"),
    [
        (dict, "as_file"),
        (dict, "trainable"),
        (as_meta_without_masks, "trainable"),
        (as_hugging_face_with_key_bias, "as_file"),
        (as_hugging_face_with_key_bias, "trainable"),
        (as_timm_with_whole_bias, "as_file"),
        (as_timm_with_whole_bias, "trainable"),
    ],
)
def test_biases_of_keys_act_as_in_the_file(tmp_path, layout, qkv_bias):
    source, backbone = with_key_biases(), random_backbone(seed=1)
    save_file(contiguous(layout(source.state_dict())), tmp_path / "weights.safetensors")
    image = torch.randn(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for block in source.blocks:
            block.attn.qkv.reset_bias_mask()
        assert not torch.allclose(source(image), with_key_biases()(image)), "test invalid: the biases do not matter"
        report = load_backbone_weights(backbone, tmp_path / "weights.safetensors", qkv_bias=qkv_bias)
        torch.testing.assert_close(backbone(image), with_key_biases()(image))
    assert report.key_bias


def test_a_mask_of_ones_over_keys_without_biases_becomes_the_usual_one(tmp_path):
    source, backbone = random_backbone(), random_backbone(seed=1)
    with torch.no_grad():
        for block in source.blocks:
            block.attn.qkv.bias_mask.fill_(1)
    torch.save(source.state_dict(), tmp_path / "meta.pth")
    report = load_backbone_weights(backbone, tmp_path / "meta.pth", qkv_bias="trainable")
    assert not report.key_bias
    assert not backbone.blocks[0].attn.qkv.bias_mask.chunk(3)[1].any()


def test_five_stains_become_grey_only_when_asked_for(tmp_path):
    source, backbone = random_backbone(in_channels=5), random_backbone(seed=1, in_channels=1)
    torch.save(source.state_dict(), tmp_path / "stains.pth")
    before = backbone.patch_embed.proj.weight.clone()
    with pytest.raises(ValueError, match=r"stains.pth has 5 channels and the backbone 1.*pretrained_channels=fold"):
        load_backbone_weights(backbone, tmp_path / "stains.pth")
    assert torch.equal(backbone.patch_embed.proj.weight, before)
    report = load_backbone_weights(backbone, tmp_path / "stains.pth", channels="fold")
    assert report.channel_conversion == "fold 5 -> 1"
    assert report.facts()["file"] == "stains.pth"
    torch.testing.assert_close(backbone.patch_embed.proj.weight[:, 0], source.patch_embed.proj.weight.sum(1))


def test_weights_that_were_changed_in_a_zip_are_refused(tmp_path):
    path = tmp_path / "meta.pth"
    torch.save(random_backbone().state_dict(), path)
    content = bytearray(path.read_bytes())
    place = content.find(random_backbone().state_dict()["blocks.0.attn.proj.weight"].numpy().tobytes())
    assert place > 0, "test invalid: the weights are not in the file as they are"
    content[place + 2] ^= 1  # another finite number
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"meta.pth is damaged .* does not match its checksum"):
        load_backbone_weights(random_backbone(seed=1), path)
