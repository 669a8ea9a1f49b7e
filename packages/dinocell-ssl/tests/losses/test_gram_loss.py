"""The Gram loss against printed numbers and a plain loop over pairs of tokens."""

from inspect import unwrap

import pytest
import torch

from dinocell_ssl.losses.gram_loss import gram_loss

ARANGE = 0.5 * torch.arange(24, dtype=torch.float64).reshape(2, 3, 4)
STUDENT, TEACHER = ARANGE.sin(), ARANGE.cos()


def plain_gram_loss(student, teacher, clamp_negatives):
    squares = []
    for student_image, teacher_image in zip(student, teacher, strict=True):
        for i in range(len(student_image)):
            for j in range(len(student_image)):
                pair = [torch.cosine_similarity(image[i], image[j], dim=0) for image in (student_image, teacher_image)]
                if clamp_negatives:
                    pair = [similarity.relu() for similarity in pair]
                squares.append((pair[0] - pair[1]) ** 2)
    return torch.stack(squares).mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_has_the_published_numbers(dtype):
    student, teacher = STUDENT.to(dtype), TEACHER.to(dtype)
    assert float(gram_loss(student, teacher)) == pytest.approx(0.2123955, rel=5e-7)
    batch_level = float(gram_loss(student.flatten(0, 1), teacher.flatten(0, 1)))
    assert batch_level == pytest.approx(0.2101970, rel=5e-6)  # as printed; float64 gives:
    assert batch_level == pytest.approx(0.21019607, rel=1e-7)


@pytest.mark.parametrize("clamp_negatives", [False, True])
def test_loss_and_gradient_are_those_of_the_plain_loop(clamp_negatives):
    student = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    teacher = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plain = plain_gram_loss(student, teacher, clamp_negatives)
    loss = gram_loss(student, teacher, clamp_negatives=clamp_negatives)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(torch.autograd.grad(loss, student), torch.autograd.grad(plain, student))


def test_gradient_is_that_of_finite_differences():
    assert torch.autograd.gradcheck(lambda tokens: gram_loss(tokens, TEACHER), STUDENT.clone().requires_grad_())


def test_clamping_counts_opposite_tokens_as_dissimilar():
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    orthogonal = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(gram_loss(opposite, orthogonal)) == 0.5, "test invalid"
    assert float(gram_loss(opposite, orthogonal, clamp_negatives=True)) == 0


def test_rotated_and_scaled_features_cost_nothing():
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert float(gram_loss(STUDENT, STUDENT)) == 0
    assert float(gram_loss(STUDENT, 3 * STUDENT @ rotation)) < 1e-28


def test_teacher_gets_no_gradient():
    teacher = TEACHER.clone().requires_grad_()
    gram_loss(STUDENT.clone().requires_grad_(), teacher).backward()
    assert teacher.grad is None


def test_half_precision_tokens_are_compared_in_float32_under_autocast():
    student, teacher = STUDENT.bfloat16(), TEACHER.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = gram_loss(student, teacher)
    assert float(loss) == float(gram_loss(student.float(), teacher.float()))


def test_maps_of_different_grids_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3, 4\) but teacher_tokens \(2, 2, 4\); resample the teacher's map"):
        unwrap(gram_loss)(STUDENT, TEACHER[:, :2])
