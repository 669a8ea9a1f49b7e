"""Attention of the tiny backbone (3 heads of 64 channels) in bfloat16 on a CPU.

Timed: forward under inference mode, and forward with backward; one thread; the tokens of 8 tiles of 256 pixels and of
one tile of 576 pixels at patch 16.
Not timed: projections, rotation, imports.
Against: torch.nn.functional.scaled_dot_product_attention, which computes in float32 there.
"""

import pytest
import torch
from torch.nn import functional

from dinocell_core.attention import attend

SHAPES = [(8, 261), (1, 1301)]


pytestmark = pytest.mark.usefixtures("one_thread")


def tokens(shape: tuple[int, int]) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape[0], 3, shape[1], 64).bfloat16().requires_grad_() for _ in range(3)]


def forward(function, q, k, v):
    with torch.inference_mode():
        return function(q, k, v)


def forward_backward(function, q, k, v):
    out = function(q, k, v)
    return torch.autograd.grad(out, (q, k, v), torch.ones_like(out))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("work", [forward, forward_backward])
def test_dinocell_attention(benchmark, work, shape):
    benchmark.group = f"attention {work.__name__} {shape}"
    q, k, v = tokens(shape)
    benchmark(work, attend, q, k, v)
    expected = functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    torch.testing.assert_close(attend(q, k, v).double(), expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("work", [forward, forward_backward])
def test_torch_attention(benchmark, work, shape):
    benchmark.group = f"attention {work.__name__} {shape}"
    benchmark(work, functional.scaled_dot_product_attention, *tokens(shape))
