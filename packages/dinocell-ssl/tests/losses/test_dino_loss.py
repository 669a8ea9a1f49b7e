"""The DINO loss and its chunked cross-entropy against printed numbers and plain loops."""

import math
from inspect import unwrap

import pytest
import torch

from dinocell_ssl.losses.dino_loss import crop_shares, dino_loss
from dinocell_ssl.losses.sinkhorn import sinkhorn
from dinocell_ssl.losses.soft_cross_entropy import soft_cross_entropy


def plain_dino_loss(student, teacher, temperature, ignore_same_crop):
    losses = []
    for s, student_crop in enumerate(student):
        for t, teacher_crop in enumerate(teacher):
            if not (ignore_same_crop and s == t):
                losses.extend(-(teacher_crop * (student_crop / temperature).log_softmax(dim=-1)).sum(dim=-1))
    return torch.stack(losses).mean()


def golden():
    student = torch.cos(0.21 * torch.arange(30, dtype=torch.float64)).reshape(3, 2, 5)
    logits = torch.sin(0.37 * torch.arange(20, dtype=torch.float64)).reshape(4, 5)
    return student, sinkhorn(logits, 0.07).reshape(2, 2, 5)


def random_crops(num_crops, seed, num_samples=3, num_prototypes=6):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_crops, num_samples, num_prototypes, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("ignore_same_crop", "published"), [(False, 3.0856874), (True, 3.8423505)])
def test_loss_has_the_published_numbers(ignore_same_crop, published, dtype):
    student, teacher = golden()
    loss = dino_loss(student.to(dtype), teacher.to(dtype), ignore_same_crop=ignore_same_crop)
    assert loss.dtype == dtype
    assert float(loss) == pytest.approx(published, rel=3e-7)


@pytest.mark.parametrize("num_prototypes", [8192, 65_536])
def test_zero_logits_cost_the_logarithm_of_the_prototypes(num_prototypes):
    targets = torch.rand(1, 2, num_prototypes).softmax(dim=-1)
    loss = dino_loss(torch.zeros(2, 2, num_prototypes), targets)
    assert float(loss) == pytest.approx(math.log(num_prototypes), rel=1e-6)


@pytest.mark.parametrize("ignore_same_crop", [False, True])
@pytest.mark.parametrize(("num_students", "num_teachers"), [(2, 2), (8, 2), (3, 3), (2, 4), (2, 1)])
def test_loss_and_gradient_are_those_of_the_plain_loops(num_students, num_teachers, ignore_same_crop):
    student = random_crops(num_students, 0).requires_grad_()
    teacher = random_crops(num_teachers, 1).softmax(dim=-1)
    plain = plain_dino_loss(student, teacher, 0.1, ignore_same_crop)
    loss = dino_loss(student, teacher, ignore_same_crop=ignore_same_crop, chunk_elements=7)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(torch.autograd.grad(loss, student), torch.autograd.grad(plain, student))


def test_teacher_gets_no_gradient():
    teacher = random_crops(2, 1).requires_grad_()
    dino_loss(random_crops(2, 0).requires_grad_(), teacher.softmax(dim=-1)).backward()
    assert teacher.grad is None


def test_pair_shares_of_two_global_and_eight_local_crops():
    assert crop_shares(2, 8) == (2 / 18, 16 / 18)


def test_crops_without_any_pair_are_refused():
    with pytest.raises(ValueError, match="1 global and 0 local crops make no pair; give 2 global crops"):
        crop_shares(1, 0)
    with pytest.raises(ValueError, match="1 student and 1 teacher crops leave no pair with ignore_same_crop=True"):
        dino_loss(random_crops(1, 0), random_crops(1, 1), ignore_same_crop=True)


def test_different_batches_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3, 6\) but teacher_probabilities \(2, 1, 6\); samples and prototypes"):
        unwrap(dino_loss)(random_crops(2, 0), random_crops(2, 1)[:, :1])


@pytest.mark.parametrize("chunk_elements", [1, 7, 12, 1000])
def test_chunks_do_not_change_the_cross_entropy(chunk_elements):
    student, targets = random_crops(1, 0, num_samples=5)[0], random_crops(1, 1, num_samples=5)[0].softmax(dim=-1)
    losses = soft_cross_entropy(student, targets, temperature=0.1, chunk_elements=chunk_elements)
    torch.testing.assert_close(losses, -(targets * (student / 0.1).log_softmax(dim=-1)).sum(dim=-1))


def test_gradient_of_the_cross_entropy_is_that_of_finite_differences():
    student = random_crops(1, 0)[0].requires_grad_()
    targets = 2 * random_crops(1, 1)[0].softmax(dim=-1)  # two teachers in one
    assert torch.autograd.gradcheck(
        lambda logits: soft_cross_entropy(logits, targets, temperature=0.5, chunk_elements=6), student
    )


def test_half_precision_logits_are_summed_in_float32():
    student = random_crops(1, 0, num_prototypes=500)[0].bfloat16().requires_grad_()
    targets = random_crops(1, 1, num_prototypes=500)[0].softmax(dim=-1).float()
    losses = soft_cross_entropy(student, targets, temperature=0.1)
    expected = -(targets * (student.detach().float() / 0.1).log_softmax(dim=-1)).sum(dim=-1)
    torch.testing.assert_close(losses, expected)
    losses.sum().backward()
    assert student.grad.dtype == torch.bfloat16


def test_huge_logits_keep_the_cross_entropy_exact():
    student = torch.tensor([[1e5, 1e5 + 0.5]])
    losses = soft_cross_entropy(student, torch.tensor([[0.5, 0.5]]), temperature=0.1)
    assert float(losses[0]) == pytest.approx(2.5 + math.log1p(math.exp(-5)), rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; give a positive one"),
        ({"temperature": 0.1, "chunk_elements": 0}, "chunk_elements is 0; give the numbers of one chunk"),
    ],
)
def test_senseless_settings_of_the_cross_entropy_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        soft_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 3), **arguments)


def test_targets_of_other_samples_are_refused():
    with pytest.raises(ValueError, match=r"student_logits are \(4, 5\) but targets \(3, 5\); give one target per"):
        unwrap(soft_cross_entropy)(torch.zeros(4, 5), torch.zeros(3, 5), temperature=0.1)
