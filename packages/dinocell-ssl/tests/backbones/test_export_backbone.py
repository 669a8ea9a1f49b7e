"""Exported backbones give the same features in transformers, and come back unchanged from every layout."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from dinocell_core import DinoVisionTransformer, ViTConfig, create_backbone, load_backbone_weights
from dinocell_ssl.backbones.export_backbone import as_rgb, export_backbone
from dinocell_ssl.backbones.export_layouts import hugging_face_weights, timm_weights

SMALL = ViTConfig(embed_dim=64, num_blocks=3, num_heads=2, in_channels=1, patch_size=8, layerscale_init=0.5)
CASES = {
    "grey_patch_8": SMALL,
    "rgb_swiglu": replace(SMALL, ffn="swiglu", ffn_ratio=6.0, in_channels=3, patch_size=16),
    "no_qkv_bias": replace(SMALL, qkv_bias=False, ffn="swiglu", ffn_ratio=3.0, swiglu_align=64),
    "bias_of_keys": replace(SMALL, mask_k_bias=False),
}


def trained(config):
    """A backbone none of whose parameters has its initial value."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = DinoVisionTransformer(config).eval()
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape))
    return backbone


def images_for(backbone, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, backbone.in_channels, 64, 96, generator=generator)


@pytest.mark.parametrize("case", CASES)
def test_transformers_loads_the_folder_and_gives_the_same_features(tmp_path, case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the other library's imports
        transformers = pytest.importorskip("transformers")
        backbone = trained(CASES[case])
        export_backbone(backbone, tmp_path / "hf", layout="hugging_face", facts={"licence": "CC0"})
        theirs, loading = transformers.AutoModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert type(theirs).__name__ == "DINOv3ViTModel"
    assert not any(loading.values()), loading  # nothing missing, unexpected or mismatched
    assert theirs.config.dinocell == {"licence": "CC0"}
    images = images_for(backbone)
    masks = torch.rand(2, 64 * 96 // CASES[case].patch_size ** 2, generator=torch.Generator().manual_seed(2)) < 0.2
    for mask in (None, masks):
        with torch.inference_mode():
            expected = backbone.forward_features(images, mask)
            found = theirs.eval()(images, bool_masked_pos=mask)
        torch.testing.assert_close(found.pooler_output, expected["x_norm_clstoken"], rtol=0, atol=1e-5)
        torch.testing.assert_close(
            found.last_hidden_state[:, 1:],
            torch.cat([expected["x_storage_tokens"], expected["x_norm_patchtokens"]], dim=1),
            rtol=0,
            atol=1e-5,
        )


@pytest.mark.parametrize("layout", ["meta", "hugging_face", "timm"])
@pytest.mark.parametrize("case", ["grey_patch_8", "rgb_swiglu", "no_qkv_bias"])
def test_every_layout_is_told_by_its_keys_and_comes_back_unchanged(tmp_path, case, layout):
    backbone = trained(CASES[case])
    path = tmp_path / ("model.pth" if layout == "meta" else "model.safetensors")
    export_backbone(backbone, tmp_path / "hf" if layout == "hugging_face" else path, layout=layout)
    if layout == "hugging_face":
        path = tmp_path / "hf" / "model.safetensors"
    again = DinoVisionTransformer(CASES[case]).eval()
    report = load_backbone_weights(again, path)
    assert report.layout == layout
    images = images_for(backbone)
    with torch.inference_mode():
        expected, found = backbone.forward_features(images), again.forward_features(images)
    torch.testing.assert_close(found["x_prenorm"], expected["x_prenorm"], rtol=0, atol=2e-6)
    if layout == "meta":
        torch.testing.assert_close(again.state_dict(), backbone.state_dict(), rtol=0, atol=0)


def test_the_published_numbers_of_parameters_are_exported(tmp_path):
    backbone = create_backbone("small", device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for tensor in backbone.state_dict().values():
            tensor.zero_()
    assert sum(tensor.numel() for tensor in hugging_face_weights(backbone).values()) == 21_596_544
    assert sum(tensor.numel() for tensor in timm_weights(backbone).values()) == 21_596_160
    assert len(hugging_face_weights(backbone)) == 211
    report = export_backbone(backbone, tmp_path / "small.pth", layout="meta")
    assert report.num_parameters == 21_601_152


def test_a_bias_that_its_mask_switches_off_is_exported_as_zero():
    backbone = trained(SMALL)
    attention = backbone.blocks[1].attn
    assert attention.qkv.bias.abs().min() > 0, "test invalid"
    attention.qkv.bias_mask.zero_()  # as in the released files
    weights = hugging_face_weights(backbone)
    assert not weights["layer.1.attention.q_proj.bias"].any()
    assert weights["layer.0.attention.q_proj.bias"].any()
    assert "layer.0.attention.k_proj.bias" not in weights


def test_an_rgb_copy_gives_the_features_of_the_grey_image(tmp_path):
    backbone = trained(SMALL)
    grey = images_for(backbone)
    with torch.inference_mode():
        expected, found = backbone(grey), as_rgb(backbone)(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="the backbone takes 3 channels; only a backbone of 1"):
        as_rgb(as_rgb(backbone))


def test_rounded_rope_periods_are_noted(tmp_path):
    backbone = trained(SMALL)
    assert export_backbone(backbone, tmp_path / "exact", layout="hugging_face").notes == ()
    backbone.rope_embed.periods.copy_(backbone.rope_embed.periods.bfloat16())
    (note,) = export_backbone(backbone, tmp_path / "rounded", layout="hugging_face").notes
    assert "RoPE periods are exact there" in note
    assert export_backbone(backbone, tmp_path / "rounded.pth", layout="meta").notes == ()


def test_the_norm_of_local_crops_is_noted_and_left_out(tmp_path):
    backbone = trained(replace(SMALL, untie_global_and_local_cls_norm=True))
    report = export_backbone(backbone, tmp_path / "timm.safetensors", layout="timm")
    assert report.notes == ("local_cls_norm is left out: only training on local crops uses it",)
    assert not any("local" in key for key in load_file(tmp_path / "timm.safetensors"))


def test_biases_of_keys_are_refused_where_they_have_no_place(tmp_path):
    backbone = trained(CASES["bias_of_keys"])
    with pytest.raises(ValueError, match="timm's DINOv3 has no biases of keys, and this backbone has"):
        export_backbone(backbone, tmp_path / "timm.safetensors", layout="timm")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"untie_cls_and_patch_norms": True}, "has no separate norms of class and patch tokens; export to 'meta'"),
        ({"rope_coordinates": "max"}, "has no RoPE coordinates 'max'"),
        ({"rope_base": None, "rope_min_period": 1.0, "rope_max_period": 9.0}, "has no RoPE periods by smallest"),
    ],
)
def test_what_the_other_program_does_not_have_is_refused(tmp_path, changes, message):
    backbone = trained(replace(SMALL, **changes))
    with pytest.raises(ValueError, match=message):
        export_backbone(backbone, tmp_path / "hf", layout="hugging_face")
    assert not (tmp_path / "hf").exists()
    export_backbone(backbone, tmp_path / "model.pth", layout="meta")


def test_an_unknown_layout_is_refused_and_a_folder_that_exists_is_kept(tmp_path):
    backbone = trained(SMALL)
    with pytest.raises(Exception, match="layout"):
        export_backbone(backbone, tmp_path / "x", layout="onnx")
    export_backbone(backbone, tmp_path / "hf", layout="hugging_face")
    with pytest.raises(FileExistsError, match="choose another one"):
        export_backbone(backbone, tmp_path / "hf", layout="hugging_face")
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["num_channels"] == 1
