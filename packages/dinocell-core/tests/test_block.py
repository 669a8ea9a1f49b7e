"""Residual branches: drop path keeps a subset of the batch, LayerScale scales."""

import pytest
import torch

from dinocell_core.block import Block, drop_path
from dinocell_core.ffn import MLP, SwiGLU, swiglu_hidden_dim


def test_drop_path_computes_a_subset_and_scales_it():
    x = torch.zeros(10, 3, 4)
    seen = []

    def branch(tokens):
        seen.append(len(tokens))
        return torch.ones_like(tokens)

    out = drop_path(x, branch, rate=0.35)
    assert seen == [6]  # int(10 * 0.65)
    per_sample = out[:, 0, 0]
    assert (out == per_sample[:, None, None]).all()
    torch.testing.assert_close(per_sample.sort().values, torch.tensor([0.0] * 4 + [10 / 6] * 6))


def test_drop_path_keeps_at_least_one_sample():
    assert drop_path(torch.zeros(2, 1, 1), torch.ones_like, rate=0.9).sum() == 2


def test_drop_path_draws_attention_and_ffn_apart_and_in_training_only():
    torch.manual_seed(0)
    block = Block(8, 2, MLP(8, 16), layerscale_init=1.0, drop_path=0.5)
    x = torch.randn(8, 3, 8)
    whole = block.eval()([x], [None])[0]
    assert torch.equal(block([x], [None])[0], whole)
    unchanged = (block.train()([x], [None])[0] == x).all(dim=(1, 2))
    assert unchanged.any()  # dropped by both draws
    assert unchanged.sum() < 4  # which would be the count if both draws were one


def test_drop_path_of_one_is_refused():
    with pytest.raises(ValueError, match="drop_path is 1"):
        Block(8, 2, MLP(8, 16), drop_path=1.0)


@pytest.mark.parametrize(
    ("dim", "ratio", "align", "hidden_dim"),
    [(384, 6.0, 8, 1536), (1024, 6.0, 8, 4096), (1280, 6.0, 8, 5120), (4096, 3.0, 64, 8192), (1152, 3.777778, 8, 2904)],
)
def test_hidden_size_of_swiglu(dim, ratio, align, hidden_dim):
    assert swiglu_hidden_dim(dim, ratio, align=align) == hidden_dim


def test_swiglu_gates_with_w1():
    ffn = SwiGLU(1, 1)
    with torch.no_grad():
        for linear, weight in ((ffn.w1, 1.0), (ffn.w2, 3.0), (ffn.w3, 5.0)):
            linear.weight.fill_(weight)
            linear.bias.zero_()
    x = torch.tensor([[2.0]])
    torch.testing.assert_close(ffn(x), x * x.sigmoid() * (3 * x) * 5)
