"""The Gram loss of DINOv3: patch similarities stay those of an earlier, denser teacher."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def gram_loss(
    student_tokens: Float[Tensor, "*image token feature"],
    teacher_tokens: Float[Tensor, "*image token teacher_feature"],
    *,
    clamp_negatives: bool = False,
) -> Float[Tensor, ""]:
    """Mean squared difference of the cosine similarities between tokens, in float32 (float64 stays).

    Tokens are compared within their image; [token feature] without an image axis compares all of them, which is
    the published loss at batch level and takes any selection of tokens. Only similarities are compared, so that
    rotated features cost nothing and the teacher may have another width. `clamp_negatives` counts dissimilar and
    opposite tokens as one. No gradient flows to the teacher. Memory: tokens² numbers per image, a few times over.
    """
    if student_tokens.shape[:-1] != teacher_tokens.shape[:-1]:
        raise ValueError(
            f"student_tokens are {tuple(student_tokens.shape)} but teacher_tokens {tuple(teacher_tokens.shape)}; "
            "resample the teacher's map to the student's grid first"
        )
    with torch.autocast(device_type=student_tokens.device.type, enabled=False):
        student, teacher = similarities(student_tokens), similarities(teacher_tokens.detach())
        if clamp_negatives:
            student, teacher = student.clamp_min(0), teacher.clamp_min(0)
        return F.mse_loss(student, teacher)


def similarities(tokens: Float[Tensor, "*image token feature"]) -> Float[Tensor, "*image token token"]:
    """Cosine of every pair of tokens; tokens of length 0 are similar to none."""
    unit = F.normalize(tokens.to(torch.promote_types(tokens.dtype, torch.float32)), dim=-1)
    return unit @ unit.mT
