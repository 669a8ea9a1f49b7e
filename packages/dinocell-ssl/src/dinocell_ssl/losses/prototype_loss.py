"""iBOT's cross-entropy from unit vectors and prototypes, without ever holding all logits of the student.

For 65,536 prototypes the logits of the masked patches are the largest array of a step: 4.0 GB in float32 for the
15,182 masked tokens of 128 crops of 224 x 224 at patch 8, and once more for their gradient. Here a chunk of tokens is
multiplied, compared and differentiated at once.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def prototype_cross_entropy(
    vectors: Float[Tensor, "token feature"],
    prototypes: Float[Tensor, "prototype feature"],
    targets: Float[Tensor, "target target_prototype"],
    *,
    weights: Float[Tensor, " weight"],
    temperature: float,
    chunk_elements: int = 2**24,
) -> Float[Tensor, ""]:
    """Σ over tokens of weight · -Σ targets · log_softmax(vectors · prototypesᵀ / temperature), in float32.

    The value and the gradients of `ibot_loss` on `vectors @ prototypes.T`, where `weights` are the loss's share of
    each token. No gradient flows to targets and weights. Under autocast the products are those of its dtype.

    Memory: `targets`, one chunk of `chunk_elements` logits a few times over (64 MB each by default), and the
    gradients of vectors and prototypes, which are made with the loss: differentiate once.
    Raises ValueError when shapes disagree or the temperature is not positive.
    """
    if targets.shape != (len(vectors), len(prototypes)) or weights.shape != targets.shape[:1]:
        raise ValueError(
            f"got {len(vectors)} vectors and {len(prototypes)} prototypes with targets of shape "
            f"{tuple(targets.shape)} and {len(weights)} weights; give one target and weight per vector"
        )
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; give a positive one, DINOv3 uses 0.1 for the student")
    device = vectors.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else vectors.dtype
    chunk = max(1, chunk_elements // max(1, len(prototypes)))
    return _PrototypeCrossEntropy.apply(
        vectors, prototypes, targets.detach(), weights.detach(), temperature, chunk, dtype
    )


class _PrototypeCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        prototypes: Tensor,
        targets: Tensor,
        weights: Tensor,
        temperature: float,
        chunk: int,
        dtype: torch.dtype,
    ) -> Tensor:
        wide = torch.promote_types(vectors.dtype, torch.float32)
        table = prototypes.to(dtype)
        loss = vectors.new_zeros((), dtype=wide)
        needs_gradient = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        vectors_grad = torch.empty_like(vectors) if needs_gradient else None
        prototypes_grad = torch.zeros_like(prototypes, dtype=wide) if needs_gradient else None
        with torch.autocast(vectors.device.type, enabled=False):
            for start in range(0, len(vectors), chunk):
                rows = slice(start, start + chunk)
                inputs = vectors[rows].to(dtype)
                scaled = (inputs @ table.T).to(wide).div_(temperature)
                target, weight = targets[rows].to(wide), weights[rows].to(wide)
                # Relative to the token's maximum the two terms of the loss are small, and their difference exact.
                scaled -= scaled.amax(dim=1, keepdim=True)
                agreement = (target * scaled).sum(dim=1)
                softmax = scaled.exp_()
                total = softmax.sum(dim=1)
                target_sum = target.sum(dim=1)
                loss += (weight * (target_sum * total.log() - agreement)).sum()
                if vectors_grad is None or prototypes_grad is None:
                    continue
                softmax.mul_((target_sum / total)[:, None]).sub_(target).mul_((weight / temperature)[:, None])
                gradient = softmax.to(dtype)
                vectors_grad[rows] = gradient @ table
                prototypes_grad += gradient.T @ inputs
        if vectors_grad is not None and prototypes_grad is not None:
            ctx.save_for_backward(vectors_grad, prototypes_grad.to(prototypes.dtype))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        vectors_grad, prototypes_grad = ctx.saved_tensors
        return vectors_grad * grad.to(vectors_grad.dtype), prototypes_grad * grad.to(prototypes_grad.dtype), *[None] * 5
