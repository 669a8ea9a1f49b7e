"""The embedded model's network on a CPU: bfloat16 against this machine's own rate of matrix products.

Timed: one forward pass of the tiles that `segment` sends at once (4 of 256 px, 1 of 512 px), best CPU time
(`process_time`) of a few, one thread. Floating-point operations are those torch counts in products and convolutions.
Not timed: normalisation, tiling, watershed, imports.
Against: the same weights in float32; with PyTorch's fused attention instead of ours; and the rate of a 2048 x 2048
matrix product in bfloat16. `pytest benchmarks/bench_network.py` prints the shares and the operators that take longest.
"""

import time
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

import dinocell_core.attention
from dinocell_seg import DINOCellPipeline
from dinocell_seg.precision import with_precision

SHAPES = [(4, 256), (1, 512)]
ROUNDS = 8
OPERATORS = 8


def best_seconds(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Best CPU time of each function; they take turns, so that a busy machine slows all of them alike."""
    best = dict.fromkeys(functions, float("inf"))
    for turn in range(1 + ROUNDS):
        for name, function in functions.items():
            begin = time.process_time()
            function()
            if turn:
                best[name] = min(best[name], time.process_time() - begin)
    return best


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]} x {shape[1]} px")
def test_network_against_the_rate_of_matrix_products(shape, one_thread, monkeypatch, capsys):
    count, side = shape
    model = DINOCellPipeline("default", device="cpu").model
    tiles = torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(0))
    in_bf16, in_fp32 = (with_precision(model, name, torch.device("cpu")) for name in ("bf16", "fp32"))
    matrix = torch.randn(2048, 2048, dtype=torch.bfloat16)

    def with_fused_attention():
        with monkeypatch.context() as patch:
            patch.setattr(dinocell_core.attention, "attend", functional.scaled_dot_product_attention)
            return in_bf16(tiles)

    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            output = in_bf16(tiles)
        assert (output - in_fp32(tiles)).abs().max() < 0.1
        best = best_seconds(
            {
                "ours": lambda: in_bf16(tiles),
                "float32": lambda: in_fp32(tiles),
                "fused attention": with_fused_attention,
                "matrix": lambda: matrix @ matrix,
            }
        )
        with profile() as profiled:
            in_bf16(tiles)
    operations = counter.get_total_flops()
    rate, peak = operations / best["ours"], 2 * 2048**3 / best["matrix"]
    averages = profiled.key_averages()
    total = sum(event.self_cpu_time_total for event in averages)
    longest = sorted(averages, key=lambda event: -event.self_cpu_time_total)[:OPERATORS]
    with capsys.disabled():
        print(f"\n{count} x {side} px: {1e3 * best['ours']:.0f} ms, {operations / 1e9:.0f} GFLOP, ", end="")
        print(f"{rate / 1e9:.0f} GFLOP/s, {rate / peak:.0%} of a bfloat16 matrix product's {peak / 1e9:.0f}; ", end="")
        print(f"float32 takes {best['float32'] / best['ours']:.2f}x, ", end="")
        print(f"PyTorch's attention {best['fused attention'] / best['ours']:.2f}x")
        for event in longest:
            print(f"  {event.self_cpu_time_total / total:6.1%}  {event.key} ({event.count} calls)")
