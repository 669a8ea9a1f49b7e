"""The iBOT loss: the student predicts the teacher's assignment of each patch it was not shown."""

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from dinocell_ssl.losses.soft_cross_entropy import soft_cross_entropy


def masked_token_weights(masks: Bool[Tensor, "image patch"]) -> Float32[Tensor, " token"]:
    """1 / (masked patches of its image) for each masked patch, in the order of `masks.nonzero()`.

    They sum to the number of images with a masked patch. Masks on a GPU make the host wait for it.
    """
    counts = masks.sum(dim=1, keepdim=True).clamp_min(1)
    return (1 / counts.float()).expand(masks.shape)[masks]


def ibot_loss(
    student_logits: Float[Tensor, "token prototype"],
    teacher_probabilities: Float[Tensor, "token prototype"],
    *,
    masks: Bool[Tensor, "image patch"],
    temperature: float = 0.1,
    chunk_elements: int = 2**24,
) -> Float[Tensor, ""]:
    """Cross-entropy of the masked tokens, averaged within each image and summed over images / all images, in float32.

    Tokens are the masked ones only, image after image, row-major: `patch_tokens[masks]`. `masks` holds **all**
    global crops, also those without any masked patch: they count in the divisor, so that the loss of an untrained
    head is (share of masked images) · ln(prototypes). Keep `masks` on the CPU to spare the GPU a stop.

    Memory: one chunk beside the arguments (see `soft_cross_entropy`), and the gradient of the logits. With 2,496
    tokens and 65,536 prototypes the arguments take 655 MB each in float32, the student's half that in bfloat16.
    No masked token at all gives 0. Raises ValueError when masks and tokens disagree.
    """
    weights = masked_token_weights(masks)
    if len(student_logits) != len(weights):
        raise ValueError(
            f"student_logits hold {len(student_logits)} tokens but masks mark {len(weights)}; "
            "run the head on patch_tokens[masks] and give the masks of all global crops"
        )
    losses = soft_cross_entropy(
        student_logits, teacher_probabilities, temperature=temperature, chunk_elements=chunk_elements
    )
    return torch.sum(losses * weights.to(losses.device)) / len(masks)
