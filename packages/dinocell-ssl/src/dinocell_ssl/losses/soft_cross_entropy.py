"""Cross-entropy with soft targets over very many classes, in chunks of samples."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def soft_cross_entropy(
    student_logits: Float[Tensor, "sample prototype"],
    targets: Float[Tensor, "sample prototype"],
    *,
    temperature: float,
    chunk_elements: int = 2**24,
) -> Float[Tensor, " sample"]:
    """Per sample -Σ targets · log_softmax(student_logits / temperature), in float32 (float64 stays).

    Targets need not sum to 1: the sum of several teachers' targets gives the sum of their losses. No gradient
    flows to them.

    Beside the two arguments, which are kept for the backward pass, memory holds one chunk of `chunk_elements`
    numbers in float32 a few times over (64 MB each by default; at least one sample), and the gradient in the
    dtype of the logits. A log_softmax kept by autograd would take 4 bytes x samples x prototypes more.
    """
    if student_logits.shape != targets.shape:
        raise ValueError(
            f"student_logits are {tuple(student_logits.shape)} but targets {tuple(targets.shape)}; "
            "give one target per student sample, over the same prototypes"
        )
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; give a positive one, DINOv3 uses 0.1 for the student")
    if chunk_elements < 1:
        raise ValueError(f"chunk_elements is {chunk_elements}; give the numbers of one chunk, 1 or more")
    chunk = max(1, chunk_elements // max(1, student_logits.shape[1]))
    return _SoftCrossEntropy.apply(student_logits, targets.detach(), temperature, chunk)


class _SoftCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, temperature: float, chunk: int) -> Tensor:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        loss, log_normalizer, target_sum = (logits.new_empty(len(logits), dtype=dtype) for _ in range(3))
        for start in range(0, len(logits), chunk):
            rows = slice(start, start + chunk)
            scaled = logits[rows].to(dtype, copy=True).div_(temperature)
            target = targets[rows].to(dtype)
            # Relative to the sample's maximum the two terms of the loss are small, and their difference exact.
            highest = scaled.amax(dim=1)
            scaled -= highest[:, None]
            target_sum[rows] = target.sum(dim=1)
            loss[rows] = -(target * scaled).sum(dim=1)
            log_sum = scaled.exp_().sum(dim=1).log()
            loss[rows] += log_sum * target_sum[rows]
            log_normalizer[rows] = log_sum + highest
        ctx.save_for_backward(logits, targets, log_normalizer, target_sum)
        ctx.temperature, ctx.chunk = temperature, chunk
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        logits, targets, log_normalizer, target_sum = ctx.saved_tensors
        logits_grad = torch.empty_like(logits)
        for start in range(0, len(logits), ctx.chunk):
            rows = slice(start, start + ctx.chunk)
            softmax = logits[rows].to(log_normalizer.dtype, copy=True).div_(ctx.temperature)
            softmax.sub_(log_normalizer[rows, None]).exp_()
            difference = softmax.mul_(target_sum[rows, None]).sub_(targets[rows])
            logits_grad[rows] = difference.mul_(grad[rows, None] / ctx.temperature)
        return logits_grad, None, None, None
