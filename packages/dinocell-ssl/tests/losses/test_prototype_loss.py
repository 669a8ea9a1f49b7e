import pytest
import torch

from dinocell_ssl import ibot_loss, masked_token_weights
from dinocell_ssl.losses.prototype_loss import prototype_cross_entropy


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(4, 6, dtype=torch.bool)
    masks[0, :2] = masks[1, 3] = masks[3, 1:5] = True
    vectors = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    prototypes = torch.randn(11, 5, generator=generator, dtype=torch.float64)
    targets = torch.randn(7, 11, generator=generator, dtype=torch.float64).softmax(dim=1) * 1.3
    return vectors, prototypes, targets, masks


def plain(vectors, prototypes, targets, masks):
    """The published form: all logits, log-softmax, autograd."""
    losses = -(targets * (vectors @ prototypes.T / 0.1).log_softmax(dim=1)).sum(dim=1)
    return (losses * masked_token_weights(masks)).sum() / len(masks)


@pytest.mark.parametrize("chunk_elements", [1, 11, 30, 1000])
def test_value_and_gradients_are_those_of_all_logits_at_once(case, chunk_elements):
    vectors, prototypes, targets, masks = case
    slow = [vectors.clone().requires_grad_(), prototypes.clone().requires_grad_()]
    fast = [vectors.clone().requires_grad_(), prototypes.clone().requires_grad_()]
    expected = plain(*slow, targets, masks)
    found = prototype_cross_entropy(
        *fast,
        targets,
        weights=masked_token_weights(masks) / len(masks),
        temperature=0.1,
        chunk_elements=chunk_elements,
    )
    # The weights are float32: their rounding is all that differs.
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    (3 * expected).backward()
    (3 * found).backward()
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-8)


def test_it_is_the_ibot_loss_of_the_logits(case):
    vectors, prototypes, targets, masks = (tensor.float() if tensor.is_floating_point() else tensor for tensor in case)
    found = prototype_cross_entropy(
        vectors, prototypes, targets, weights=masked_token_weights(masks) / len(masks), temperature=0.1
    )
    torch.testing.assert_close(found, ibot_loss(vectors @ prototypes.T, targets, masks=masks))


def test_without_tokens_the_loss_is_0_and_the_prototypes_have_no_gradient():
    prototypes = torch.ones(3, 2, requires_grad=True)
    loss = prototype_cross_entropy(
        torch.zeros(0, 2), prototypes, torch.zeros(0, 3), weights=torch.zeros(0), temperature=0.1
    )
    loss.backward()
    assert loss == 0
    assert prototypes.grad.count_nonzero() == 0


def test_under_autocast_products_are_bfloat16_and_the_loss_stays_float32(case):
    vectors, prototypes, targets, masks = (tensor.float() if tensor.is_floating_point() else tensor for tensor in case)
    vectors.requires_grad_()
    weights = masked_token_weights(masks) / len(masks)
    exact = prototype_cross_entropy(vectors.detach(), prototypes, targets, weights=weights, temperature=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = prototype_cross_entropy(vectors, prototypes, targets, weights=weights, temperature=0.1)
    loss.backward()
    assert loss.dtype == vectors.grad.dtype == torch.float32
    assert loss != exact, "test invalid"
    torch.testing.assert_close(loss, exact, rtol=0.02, atol=0)


def test_logits_of_any_size_give_a_finite_loss():
    vectors = torch.tensor([[1e4, 0.0]], requires_grad=True)
    loss = prototype_cross_entropy(
        vectors, torch.eye(2), torch.tensor([[1.0, 0.0]]), weights=torch.ones(1), temperature=0.1
    )
    loss.backward()
    assert loss == 0
    assert vectors.grad.isfinite().all()


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match="got 4 vectors and 3 prototypes with targets of shape \\(4, 5\\)"):
        prototype_cross_entropy(
            torch.zeros(4, 2), torch.zeros(3, 2), torch.zeros(4, 5), weights=torch.zeros(4), temperature=0.1
        )
    with pytest.raises(ValueError, match="temperature is 0"):
        prototype_cross_entropy(
            torch.zeros(1, 2), torch.zeros(3, 2), torch.zeros(1, 3), weights=torch.zeros(1), temperature=0.0
        )
