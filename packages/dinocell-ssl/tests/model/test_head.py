"""The projection head, and the first loss of an untrained objective."""

import math

import pytest
import torch

from dinocell_ssl import PrototypeHead, crop_shares, dino_loss, ibot_loss, image_masks, koleo_loss, sinkhorn


@pytest.mark.parametrize(
    ("in_features", "num_prototypes", "num_parameters"),
    [(384, 65_536, 22_286_592), (384, 8_192, 7_606_528), (768, 65_536, 23_073_024)],
)
def test_head_has_the_published_number_of_parameters(in_features, num_prototypes, num_parameters):
    with torch.device("meta"):
        head = PrototypeHead(in_features, num_prototypes=num_prototypes)
    assert sum(parameter.numel() for parameter in head.parameters()) == num_parameters


def test_parameters_have_the_published_names():
    names = [f"mlp.{layer}.{kind}" for layer in (0, 2, 4) for kind in ("weight", "bias")]
    assert [name for name, _ in small_head().named_parameters()] == [*names, "last_layer.weight"]


def small_head(num_prototypes=16, hidden_features=32):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PrototypeHead(12, num_prototypes=num_prototypes, hidden_features=hidden_features, bottleneck_features=8)


def test_logits_are_dot_products_of_unit_vectors_with_the_prototypes():
    head, features = small_head(), torch.randn(2, 3, 12)
    unit = head.bottleneck(features)
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(2, 3))
    torch.testing.assert_close(head(features), unit @ head.last_layer.weight.T)


def test_weights_start_with_a_deviation_of_002_and_biases_at_zero():
    head = small_head(num_prototypes=4096)
    assert float(head.last_layer.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert float(head.mlp[2].weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert not head.mlp[0].bias.any()


def test_unit_prototypes_start_with_length_1_and_nothing_else_changes():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = PrototypeHead(12, num_prototypes=16, hidden_features=32, bottleneck_features=8, prototype_init="unit")
    published = small_head()
    torch.testing.assert_close(head.last_layer.weight.norm(dim=-1), torch.ones(16))
    torch.testing.assert_close(
        head.last_layer.weight, torch.nn.functional.normalize(published.last_layer.weight, dim=-1)
    )
    torch.testing.assert_close(head.mlp.state_dict(), published.mlp.state_dict(), rtol=0, atol=0)


def test_zero_projection_in_float16_gives_zero_logits():
    head = small_head().half()
    assert not head(torch.zeros(1, 12, dtype=torch.float16)).any()


def test_first_loss_of_a_fresh_objective_is_known():
    """1.5 ln K + 0.1 · KoLeo of both global crops: DINO costs ln K, iBOT ln K for the masked half of the images."""
    num_images, num_prototypes, width = 16, 1024, 48
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dino_head, ibot_head = (
            PrototypeHead(width, num_prototypes=num_prototypes, hidden_features=64, bottleneck_features=32)
            for _ in range(2)
        )
    masks = image_masks(2 * num_images, (6, 6), generator=generator).flatten(1)
    student, local, teacher = (
        torch.randn(num_crops, num_images, width, generator=generator) for num_crops in (2, 8, 2)
    )
    student_tokens, teacher_tokens = (torch.randn(int(masks.sum()), width, generator=generator) for _ in range(2))
    with torch.no_grad():
        targets = sinkhorn(dino_head(teacher).flatten(0, 1), 0.04).unflatten(0, (2, num_images))
        shares = crop_shares(2, 8)
        dino = shares.global_crops * dino_loss(dino_head(student), targets, ignore_same_crop=True)
        dino += shares.local_crops * dino_loss(dino_head(local), targets)
        ibot = ibot_loss(ibot_head(student_tokens), sinkhorn(ibot_head(teacher_tokens), 0.04), masks=masks)
        koleo = koleo_loss(student[0]) + koleo_loss(student[1])
    assert float(dino) == pytest.approx(math.log(num_prototypes), rel=0.01)
    assert float(ibot) == pytest.approx(0.5 * math.log(num_prototypes), rel=0.01)
    expected = 1.5 * math.log(num_prototypes) + 0.1 * float(koleo)
    assert float(dino + ibot + 0.1 * koleo) == pytest.approx(expected, rel=0.01)
