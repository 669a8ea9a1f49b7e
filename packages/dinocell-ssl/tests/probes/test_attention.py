"""Attention weights are those the backbone computed with, and their entropy has its extremes."""

import pytest
import torch

from dinocell_core import DinoVisionTransformer, ViTConfig
from dinocell_ssl.probes.attention import attention_and_patches, attention_entropy, attention_weights


@pytest.fixture
def backbone():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ViTConfig(embed_dim=32, num_blocks=3, num_heads=2, patch_size=4, in_channels=1, layerscale_init=0.5)
        backbone = DinoVisionTransformer(config).eval()
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return backbone


@pytest.fixture
def images():
    return torch.randn(2, 1, 12, 20, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("block", [0, 1, -1])
def test_weights_times_values_are_the_output_of_the_block(backbone, images, block):
    attention = backbone.blocks[block].attn
    seen = []
    hook = attention.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    weights = attention_weights(backbone, images, block=block)
    hook.remove()
    tokens, output = seen[0]
    values = attention.qkv(tokens).unflatten(-1, (3, 2, -1))[:, :, 2].transpose(1, 2)
    torch.testing.assert_close(attention.proj((weights @ values).transpose(1, 2).flatten(2)), output)
    assert weights.shape == (2, 2, 1 + 4 + 15, 20)
    assert len(seen) == 1, "later hooks would see the block twice"


def test_the_class_token_alone_is_the_first_query(backbone, images):
    every = attention_weights(backbone, images)
    torch.testing.assert_close(attention_weights(backbone, images, num_queries=1), every[:, :, :1])
    torch.testing.assert_close(every.sum(dim=-1), torch.ones(2, 2, 20))


def test_patches_of_the_same_pass_are_those_of_the_backbone(backbone, images):
    weights, patches = attention_and_patches(backbone, images, num_queries=1)
    torch.testing.assert_close(weights, attention_weights(backbone, images, num_queries=1))
    expected = backbone.forward_features(images)["x_norm_patchtokens"]
    torch.testing.assert_close(patches, expected.unflatten(1, (3, 5)))


def test_an_unknown_block_is_refused(backbone, images):
    with pytest.raises(ValueError, match="block is 3; the backbone has 3 blocks"):
        attention_weights(backbone, images, block=3)


def test_entropy_is_one_for_equal_weights_and_zero_for_one_token():
    uniform, single = torch.full((2, 1, 3, 8), 1 / 8), torch.eye(8)[:3].expand(2, 1, 3, 8)
    half = torch.tensor([0.25] * 4 + [0.0] * 4).expand(2, 1, 3, 8)
    entropy = attention_entropy(torch.cat([uniform, single, half], dim=1))
    torch.testing.assert_close(entropy, torch.tensor([1.0, 0.0, 2 / 3]))


def test_one_token_has_no_entropy():
    with pytest.raises(ValueError, match="attention over 1 token has no entropy"):
        attention_entropy(torch.ones(1, 1, 1, 1))
