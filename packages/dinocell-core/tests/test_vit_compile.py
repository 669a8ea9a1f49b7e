"""The backbone is one graph for torch.compile and torch.export.

Both run in a process of their own, because the shape checks of the tests would be traced with the model.
"""

import subprocess
import sys

import pytest

PREAMBLE = """
import torch
from dinocell_core.vit import DinoVisionTransformer, ViTConfig
torch.manual_seed(0)
backbone = DinoVisionTransformer(ViTConfig(embed_dim=32, num_blocks=2, num_heads=2, patch_size=4, layerscale_init=1.0))
backbone = backbone.double()
images = torch.randn(3, 3, 16, 24, dtype=torch.float64)
"""

COMPILE = """
masks = torch.rand(3, 24) < 0.3
features = torch.compile(backbone.forward_features, backend="aot_eager", fullgraph=True)(images, masks)
expected = backbone.forward_features(images, masks)["x_norm_patchtokens"]
torch.testing.assert_close(features["x_norm_patchtokens"], expected)
features["x_norm_patchtokens"].square().sum().backward()
compiled_gradient = backbone.blocks[0].attn.qkv.weight.grad.clone()
backbone.zero_grad()
expected.square().sum().backward()
torch.testing.assert_close(compiled_gradient, backbone.blocks[0].attn.qkv.weight.grad)
"""

EXPORT = """
class Maps(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = backbone.eval()
    def forward(self, images):
        return self.backbone.get_intermediate_layers(images, (0, 1), reshape=True)

model = Maps()
batch = torch.export.Dim("batch", min=1, max=64)
program = torch.export.export(model, (images,), dynamic_shapes={"images": {0: batch}})
other = torch.randn(5, 3, 16, 24, dtype=torch.float64)
for actual, expected in zip(program.module()(other), model(other), strict=True):
    torch.testing.assert_close(actual, expected)
"""


@pytest.mark.parametrize("script", [COMPILE, EXPORT], ids=["compile", "export"])
def test_backbone_is_one_graph(script):
    done = subprocess.run([sys.executable, "-c", PREAMBLE + script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
