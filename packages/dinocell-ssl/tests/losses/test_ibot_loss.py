"""The iBOT loss against a printed number and a plain loop over images."""

import math

import pytest
import torch

from dinocell_ssl.losses.ibot_loss import ibot_loss, masked_token_weights
from dinocell_ssl.losses.sinkhorn import sinkhorn

MASKS = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)


def plain_ibot_loss(student, teacher, masks, temperature):
    token, total = 0, 0.0
    for image_mask in masks:
        count = int(image_mask.sum())
        for _ in range(count):
            total = total - (teacher[token] * (student[token] / temperature).log_softmax(dim=-1)).sum() / count
            token += 1
    return total / len(masks)


def golden():
    logits = torch.sin(0.37 * torch.arange(20, dtype=torch.float64)).reshape(4, 5)
    return torch.cos(0.11 * torch.arange(20, dtype=torch.float64)).reshape(4, 5), sinkhorn(logits, 0.07)


def test_loss_has_the_published_number():
    assert float(ibot_loss(*golden(), masks=MASKS)) == pytest.approx(1.7464359, rel=3e-7)


def test_tokens_of_an_image_share_its_weight():
    assert masked_token_weights(MASKS).tolist() == [0.5, 0.5, 1, 1]


def test_loss_and_gradient_are_those_of_the_plain_loop():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(5, 9, generator=generator) < 0.4
    student, teacher = torch.randn(2, int(masks.sum()), 7, generator=generator, dtype=torch.float64)
    student, teacher = student.requires_grad_(), teacher.softmax(dim=-1)
    plain = plain_ibot_loss(student, teacher, masks, 0.1)
    loss = ibot_loss(student, teacher, masks=masks, chunk_elements=20)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(torch.autograd.grad(loss, student), torch.autograd.grad(plain, student))


def test_untrained_head_costs_the_share_of_masked_images():
    teacher = torch.rand(4, 100).softmax(dim=-1)
    assert float(ibot_loss(torch.zeros(4, 100), teacher, masks=MASKS)) == pytest.approx(0.75 * math.log(100), rel=1e-6)


def test_batch_without_masked_tokens_costs_nothing_and_can_be_differentiated():
    student = torch.zeros(0, 5, requires_grad=True)
    loss = ibot_loss(student, torch.zeros(0, 5), masks=torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert student.grad.shape == (0, 5)


def test_masks_of_other_tokens_are_refused():
    with pytest.raises(ValueError, match=r"hold 4 tokens but masks mark 3; run the head on patch_tokens\[masks\]"):
        ibot_loss(*golden(), masks=MASKS[1:3].repeat(2, 1)[:3])
