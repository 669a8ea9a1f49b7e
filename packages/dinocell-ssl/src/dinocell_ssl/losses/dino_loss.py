"""The DINO loss: a student's crop predicts the teacher's assignment of another crop of the same image."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dinocell_ssl.losses.soft_cross_entropy import soft_cross_entropy


class CropShares(NamedTuple):
    """Shares of the DINO loss that belong to pairs of global crops and to local crops; they sum to 1."""

    global_crops: float
    local_crops: float


def crop_shares(num_global: int, num_local: int) -> CropShares:
    """Shares in proportion to the pairs of crops: 2/18 and 16/18 for 2 global and 8 local crops.

    A global crop is not paired with itself. Raises ValueError when there is no pair at all.
    """
    global_pairs, local_pairs = num_global * (num_global - 1), num_global * num_local
    if global_pairs + local_pairs == 0:
        raise ValueError(
            f"{num_global} global and {num_local} local crops make no pair; give 2 global crops, or 1 and local ones"
        )
    total = global_pairs + local_pairs
    return CropShares(global_pairs / total, local_pairs / total)


def dino_loss(
    student_logits: Float[Tensor, "student_crop sample prototype"],
    teacher_probabilities: Float[Tensor, "teacher_crop sample prototype"],
    *,
    temperature: float = 0.1,
    ignore_same_crop: bool = False,
    chunk_elements: int = 2**24,
) -> Float[Tensor, ""]:
    """Mean cross-entropy over (student crop, teacher crop, sample), in float32; no gradient to the teacher.

    With `ignore_same_crop` student crop i and teacher crop i are the same image and make no pair: the case of
    global crops. Zero student logits give ln(prototypes) whatever the targets.

    Memory: one chunk (see `soft_cross_entropy`), one [sample prototype] sum of targets for local crops, or one per
    global crop when there are more than two, and in the backward pass the gradient of the logits twice.
    Raises ValueError for different samples or prototypes, or when no pair is left.
    """
    num_students, num_teachers = len(student_logits), len(teacher_probabilities)
    if student_logits.shape[1:] != teacher_probabilities.shape[1:]:
        raise ValueError(
            f"student_logits are {tuple(student_logits.shape)} but teacher_probabilities "
            f"{tuple(teacher_probabilities.shape)}; samples and prototypes must be the same"
        )
    num_pairs = num_students * num_teachers - (min(num_students, num_teachers) if ignore_same_crop else 0)
    if num_pairs == 0:
        raise ValueError(
            f"{num_students} student and {num_teachers} teacher crops leave no pair with "
            f"ignore_same_crop={ignore_same_crop}; give at least two global crops"
        )
    targets = teacher_probabilities.detach()
    totals: dict[tuple[int, ...], Tensor] = {}
    losses = []
    # unbind, not indexing: the gradient of each index would be an array of all crops.
    for crop, logits in enumerate(student_logits.unbind()):
        partners = tuple(teacher for teacher in range(num_teachers) if not (ignore_same_crop and teacher == crop))
        if not partners:
            continue
        if partners not in totals:
            totals[partners] = targets[partners[0]] if len(partners) == 1 else targets[list(partners)].sum(dim=0)
        loss = soft_cross_entropy(logits, totals[partners], temperature=temperature, chunk_elements=chunk_elements)
        losses.append(loss.sum())
    return torch.stack(losses).sum() / (num_pairs * student_logits.shape[1])
