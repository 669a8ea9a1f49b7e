"""Values per iteration of learning rate, weight decay, momentum and temperature: DINOv3's two kinds of schedule."""

import math
from typing import Literal


def cosine_v1(
    iteration: int, *, num_iterations: int, peak: float, final: float, num_warmup: int = 0, start: float = 0.0
) -> float:
    """Schedule of DINOv3's ViT-L recipe: linear from `start` to `peak`, cosine to `final`.

    The last warm-up iteration already has `peak`, and so has the one after it; `final` is reached at
    `num_iterations` and held. With peak == final it is a warm-up to a constant (teacher temperature); without
    warm-up a cosine (weight decay 0.04 to 0.4, EMA momentum 0.992 to 1).
    """
    _check(iteration, num_iterations, num_warmup)
    if iteration >= num_iterations:
        return final
    if iteration < num_warmup:
        return start + (peak - start) * iteration / max(1, num_warmup - 1)
    return _cosine(peak, final, (iteration - num_warmup) / (num_iterations - num_warmup))


def cosine_v2(
    iteration: int,
    *,
    num_iterations: int,
    peak: float,
    final: float,
    num_warmup: int = 0,
    start: float = 0.0,
    num_cosine: int | None = None,
) -> float:
    """Schedule of DINOv3's 7B recipe: linear from `start` towards `peak`, cosine to `final`, then constant.

    `peak` is first met after the warm-up; the cosine takes `num_cosine` iterations (None: all that remain) and has
    `final` as its last value. With peak == final it is a warm-up to a constant.
    """
    _check(iteration, num_iterations, num_warmup)
    if iteration < num_warmup:
        return start + (peak - start) * iteration / num_warmup
    remaining = num_iterations - num_warmup
    length = remaining if num_cosine is None else num_cosine
    if not 0 <= length <= remaining:
        raise ValueError(f"num_cosine is {num_cosine}, but {remaining} iterations remain after the warm-up")
    since_peak = iteration - num_warmup
    if since_peak >= length:
        return final
    return _cosine(peak, final, since_peak / max(1, length - 1))


def scaled_learning_rate(
    base: float, global_batch: int, *, rule: Literal["sqrt_wrt_1024", "linear_wrt_256"] = "sqrt_wrt_1024"
) -> float:
    """Peak learning rate of a global batch: base · 4 · √(batch / 1024), or base · batch / 256.

    DINOv3's square-root rule leaves the base as it is at a batch of 64, and is 4 times it at 1024.
    """
    if global_batch < 1:
        raise ValueError(f"global_batch is {global_batch}; give the images per step over all ranks, 1 or more")
    match rule:
        case "sqrt_wrt_1024":
            return base * 4 * math.sqrt(global_batch / 1024)
        case "linear_wrt_256":
            return base * global_batch / 256
        case _:
            raise ValueError(f"rule is {rule!r}; give 'sqrt_wrt_1024' or 'linear_wrt_256'")


def _cosine(peak: float, final: float, progress: float) -> float:
    return final + (peak - final) * (1 + math.cos(math.pi * progress)) / 2


def _check(iteration: int, num_iterations: int, num_warmup: int) -> None:
    if iteration < 0:
        raise ValueError(f"iteration is {iteration}; the first one is 0")
    if not 0 <= num_warmup <= num_iterations:
        raise ValueError(f"num_warmup is {num_warmup}; give 0 to num_iterations ({num_iterations})")
