"""A start from DINOv2: where positions do not differ it computes what transformers computes."""

import re
import warnings

import pytest
import torch
from safetensors.torch import load_file

from dinocell_core.patch_embed import fold_to_grey, resize_kernel
from dinocell_ssl.backbones.dinov2_start import is_dinov2, load_dinov2
from dinocell_ssl.model.network import Head, Network, create_network

HEADS = {name: Head(prototypes=8, hidden=8, bottleneck=4) for name in ("dino_head", "ibot_head")}

META_NAMES = {
    "encoder.layer.": "blocks.",
    "layernorm.": "norm.",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.": "",
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A random DINOv2 of the shape of `tiny`, with transformers' classes; all patches have one position."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, patch_size=14, image_size=56, layer_norm_eps=1e-5
    )
    torch.manual_seed(0)
    model = transformers.Dinov2WithRegistersModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.3 if "bias" in name or "lambda" in name else 0.02))
        model.embeddings.position_embeddings[:, 1:] = torch.randn(192)
    folder = tmp_path_factory.mktemp("hugging_face")
    model.save_pretrained(folder)  # under the published names, which are not those of its modules
    return model, folder / "model.safetensors"


def meta_names(state):
    """The same weights under the names of Meta's files."""
    renamed = {}
    for name, tensor in state.items():
        if match := re.fullmatch(r"encoder.layer.(\d+).attention.attention.(query|key|value).(\w+)", name):
            block, _, kind = match.groups()
            parts = [f"encoder.layer.{block}.attention.attention.{part}.{kind}" for part in ("query", "key", "value")]
            renamed[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat([state[part] for part in parts])
            continue
        for theirs, metas in META_NAMES.items():
            name = name.replace(theirs, metas)
        renamed[name] = tensor
    return renamed


def without_rotation(backbone):
    backbone.rope_embed.periods.fill_(torch.inf)
    return backbone.eval()


@pytest.mark.parametrize("layout", ["hugging_face", "meta"])
def test_without_rotation_the_features_are_those_of_transformers(theirs, tmp_path, layout):
    model, path = theirs
    if layout == "meta":
        state, path = meta_names(load_file(path)), tmp_path / "dinov2_vits14_reg4_pretrain.pth"
        torch.save(state, path)
    assert is_dinov2(path)
    network, start = create_network(Network(size="tiny", patch=14, in_channels=3, start_from=path), **HEADS)
    images = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = without_rotation(network.backbone).forward_features(images)
        expected = model(images).last_hidden_state
    torch.testing.assert_close(found["x_norm_clstoken"], expected[:, 0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found["x_norm_patchtokens"], expected[:, 5:], rtol=1e-3, atol=1e-4)
    assert not start.has_heads
    assert (start.facts["layout"], start.facts["storage_tokens"], start.facts["heads"]) == ("dinov2", "file", "random")


def test_patch_and_channels_are_converted_and_told(theirs, tmp_path):
    path = tmp_path / "dinov2.pth"
    state = meta_names(load_file(theirs[1]))
    del state["register_tokens"]
    torch.save(state, path)
    network, start = create_network(Network(size="tiny", patch=8, in_channels=1, start_from=path), **HEADS)
    kernel = network.backbone.patch_embed.proj.weight
    assert kernel.shape == (192, 1, 8, 8)
    torch.testing.assert_close(kernel, resize_kernel(fold_to_grey(state["patch_embed.proj.weight"]), 8))
    facts = start.facts
    assert (facts["patch_conversion"], facts["channel_conversion"]) == ("flexivit 14 -> 8", "3 -> 1")
    assert facts["storage_tokens"] == "random"
    assert facts["licence"].startswith("not stated")


def test_a_file_of_another_size_is_refused_and_changes_nothing(theirs, tmp_path):
    path = tmp_path / "dinov2.pth"
    state = meta_names(load_file(theirs[1]))
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("blocks.11.")}, path)
    network, _ = create_network(Network(size="tiny"), **HEADS)
    before = network.backbone.cls_token.clone()
    with pytest.raises(ValueError, match=r"DINOv2 file that does not fit .* set network.size to small for its ViT-S"):
        load_dinov2(network.backbone, path)
    assert torch.equal(network.backbone.cls_token, before)


def test_other_files_are_not_taken_for_dinov2(tmp_path):
    network, _ = create_network(Network(size="tiny"), **HEADS)
    torch.save(network.backbone.state_dict(), tmp_path / "dinov3.pth")
    (tmp_path / "damaged.pth").write_bytes(b"nothing")
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    assert [is_dinov2(path) for path in sorted(tmp_path.iterdir())] == [False] * 3
