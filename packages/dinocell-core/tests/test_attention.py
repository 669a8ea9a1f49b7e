"""Self-attention against a plain computation, and the mask on the key bias."""

import pytest
import torch
from torch import nn

from dinocell_core.attention import KMaskedLinear, SelfAttention
from dinocell_core.rope import RotaryPositionEmbedding


def plain_attention(attention: SelfAttention, x, table):
    batch, tokens, dim = x.shape
    hd = dim // attention.num_heads
    q, k, v = (
        part.view(batch, tokens, attention.num_heads, hd).transpose(1, 2) for part in attention.qkv(x).chunk(3, dim=-1)
    )

    def turned(y):
        half = torch.cat([-y[..., hd // 2 :], y[..., : hd // 2]], dim=-1)
        return y * table.cos + half * table.sin

    scores = turned(q) @ turned(k).transpose(-1, -2) / hd**0.5
    return attention.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, dim))


def test_attention_equals_a_plain_computation():
    attention = SelfAttention(24, 3).double()
    nn.init.normal_(attention.qkv.bias)
    table = RotaryPositionEmbedding(8, num_prefix_tokens=2).double()(3, 2)
    x = torch.randn(2, 8, 24, dtype=torch.float64)
    torch.testing.assert_close(attention(x, table), plain_attention(attention, x, table))


def test_gradient_of_the_key_bias_is_exactly_zero():
    linear = KMaskedLinear(4, 12)
    linear(torch.randn(5, 4)).square().sum().backward()
    q, k, v = linear.bias.grad.chunk(3)
    assert q.all()
    assert not k.any()
    assert v.all()


def test_a_key_bias_does_not_change_attention():
    attention = SelfAttention(8, 2, mask_k_bias=False).double()
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    before = attention(x, None)
    with torch.no_grad():
        attention.qkv.bias.view(3, 8)[1].normal_()
    torch.testing.assert_close(attention(x, None), before)


def test_without_qkv_bias_there_is_neither_bias_nor_mask():
    assert list(SelfAttention(8, 2, qkv_bias=False).qkv.state_dict()) == ["weight"]


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="dim 10 does not divide into 4 heads"):
        SelfAttention(10, 4)
