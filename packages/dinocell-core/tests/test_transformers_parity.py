"""Our backbone, filled from a file that transformers wrote, gives the outputs of transformers' own DINOv3."""

import warnings
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from dinocell_core.backbones import BACKBONES
from dinocell_core.checkpoints import load_backbone_weights
from dinocell_core.vit import DinoVisionTransformer, ViTConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the other library's imports
    transformers = pytest.importorskip("transformers")
    DINOv3ViTConfig, DINOv3ViTModel = transformers.DINOv3ViTConfig, transformers.DINOv3ViTModel

CASES = {
    "small": (replace(BACKBONES["small"], num_blocks=4), 1536),
    "small_plus": (replace(BACKBONES["small_plus"], num_blocks=4), 1536),
    "no-bias": (
        ViTConfig(
            embed_dim=64, num_blocks=3, num_heads=2, ffn="swiglu", ffn_ratio=3.0, swiglu_align=64, qkv_bias=False
        ),
        128,
    ),
}


def their_model(config: ViTConfig, hidden_dim: int):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = DINOv3ViTModel(
            DINOv3ViTConfig(
                patch_size=config.patch_size,
                hidden_size=config.embed_dim,
                intermediate_size=hidden_dim,
                num_hidden_layers=config.num_blocks,
                num_attention_heads=config.num_heads,
                num_register_tokens=config.num_storage_tokens,
                hidden_act="silu" if config.ffn == "swiglu" else "gelu",
                use_gated_mlp=config.ffn == "swiglu",
                query_bias=config.qkv_bias,
                key_bias=False,
                value_bias=config.qkv_bias,
                layer_norm_eps=config.norm_eps,
                rope_theta=100.0,
            )
        ).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = 1.0 if "token" in name else 0.05
            parameter.copy_(noise * scale + (0.5 if "lambda1" in name or "norm" in name else 0.0))
    return model


@pytest.mark.parametrize("case", CASES)
def test_outputs_equal_those_of_transformers(tmp_path, case):
    config, hidden_dim = CASES[case]
    theirs, ours = their_model(config, hidden_dim), DinoVisionTransformer(config).eval()
    state = {key: tensor.contiguous() for key, tensor in theirs.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    report = load_backbone_weights(ours, tmp_path / "model.safetensors")
    assert report.layout == "hugging_face"
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 64, 112, generator=generator)
    masks = torch.rand(2, 28, generator=generator) < 0.2
    for mask in (None, masks):
        with torch.inference_mode():
            expected = theirs(images, bool_masked_pos=mask)
            features = ours.forward_features(images, mask)
        actual = torch.cat([features[key] for key in ("x_storage_tokens", "x_norm_patchtokens")], dim=1)
        torch.testing.assert_close(features["x_norm_clstoken"], expected.pooler_output, rtol=0, atol=1e-5)
        torch.testing.assert_close(actual, expected.last_hidden_state[:, 1:], rtol=0, atol=1e-5)
