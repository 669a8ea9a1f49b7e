"""Self-attention against a plain computation, and the mask on the key bias."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dinocell_core.attention import KMaskedLinear, SelfAttention, attend
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


def test_a_key_bias_acts_on_rotated_keys_only():
    attention = SelfAttention(24, 3, mask_k_bias=False).double()
    table = RotaryPositionEmbedding(8, num_prefix_tokens=2).double()(3, 2)
    x = torch.randn(2, 8, 24, dtype=torch.float64)
    without = {name: attention(x, rotation) for name, rotation in (("rotated", table), ("plain", None))}
    with torch.no_grad():
        attention.qkv.bias.chunk(3)[1].add_(1.0)
    torch.testing.assert_close(attention(x, None), without["plain"])
    assert (attention(x, table) - without["rotated"]).abs().max() > 1e-3


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


@pytest.mark.parametrize("tokens", [1, 7, 261])
def test_products_in_bfloat16_agree_with_attention_in_double_precision(tokens: int) -> None:
    torch.manual_seed(tokens)
    q, k, v = (torch.randn(2, 3, tokens, 64).bfloat16().requires_grad_() for _ in range(3))
    exact = [t.detach().double().requires_grad_() for t in (q, k, v)]
    expected = F.scaled_dot_product_attention(*exact)
    upstream = torch.randn_like(expected)
    expected.backward(upstream)
    out = attend(q, k, v)
    out.backward(upstream.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), expected, atol=0.02, rtol=0.02)
    for ours, exactly in zip((q, k, v), exact, strict=True):
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad.double(), exactly.grad, atol=0.04, rtol=0.04)


def test_scores_that_do_not_fit_go_through_the_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    q = torch.randn(1, 1, 5, 8).bfloat16()
    calls = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *given: calls.append(given) or fused(*given))
    attend(q, q, q)
    assert calls == []
    monkeypatch.setattr("dinocell_core.attention.MAX_SCORES", 24)
    attend(q, q, q)
    assert len(calls) == 1
