import pytest

from dinocell_core import create_backbone
from dinocell_core.layer_decay import layers_above


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("norm.weight", 0),
        ("blocks.11.mlp.fc1.weight", 1),
        ("blocks.11.norm1.bias", 1),
        ("blocks.0.attn.qkv.weight", 12),
        ("patch_embed.proj.weight", 13),
        ("cls_token", 13),
        ("storage_tokens", 13),
        ("mask_token", 13),
    ],
)
def test_layers_are_counted_from_the_last_block(name: str, layers: int) -> None:
    assert name in dict(create_backbone("tiny").named_parameters()), "test invalid"
    assert layers_above(name, 12) == layers
