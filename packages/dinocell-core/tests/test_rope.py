"""Tables of the rotary position embedding against printed numbers and a plain rotation."""

import copy
import math
import pickle

import pytest
import torch

from dinocell_core.rope import RopeAugmentation, RotaryPositionEmbedding, RotaryTable, rope_periods, rotate

PERIODS = [
    *(1, 1.33352149, 1.77827942, 2.37137365, 3.16227770, 4.21696520, 5.62341309, 7.49894190),
    *(10, 13.3352146, 17.7827950, 23.7137375, 31.6227760, 42.1696510, 56.2341309, 74.9894180),
]


def test_periods_of_head_dim_64_run_from_1_to_75():
    torch.testing.assert_close(rope_periods(64), torch.tensor(PERIODS), rtol=2e-7, atol=0)


def test_periods_of_the_7b_model_have_32_frequencies():
    periods = rope_periods(128)
    assert len(periods) == 32
    torch.testing.assert_close(periods[[0, 1, 31]], torch.tensor([1, 1.15478194, 86.5964355]), rtol=2e-7, atol=0)


def test_periods_given_by_their_ends_are_geometric():
    periods = rope_periods(16, base=None, min_period=2.0, max_period=54.0)
    torch.testing.assert_close(periods, torch.tensor([2.0, 6.0, 18.0, 54.0]))


def test_base_together_with_period_ends_is_refused():
    with pytest.raises(ValueError, match="either base or both"):
        rope_periods(16, base=100.0, min_period=2.0, max_period=54.0)


def test_head_dim_that_is_no_multiple_of_4_is_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        rope_periods(30)


def test_table_of_a_14_by_14_grid_has_the_published_numbers():
    cos, sin = RotaryPositionEmbedding(64)(14, 14)
    assert cos.shape == sin.shape == (196, 64)

    def close(actual, *expected):
        torch.testing.assert_close(actual.flatten(), torch.tensor(expected), rtol=0, atol=5e-7)

    close(sin[0, :4], 0.43388376, 0.94367915, 0.13887350, -0.62976635)
    close(cos[0, :4], 0.90096885, -0.33086196, -0.99031013, -0.77678460)
    close(sin[1, [0, 16]], 0.43388376, 0.97492790)
    close(cos[1, 16], 0.22252104)
    close(sin[14, [0, 16]], 0.97492790, 0.43388376)
    close(sin[195, 15], 0.07772433)
    close(cos[195, 15], 0.99697489)
    assert torch.equal(sin[0, 16:20], sin[0, :4])
    assert torch.equal(cos[:, 32:], cos[:, :32])
    torch.testing.assert_close(sin.flip(0), -sin, rtol=0, atol=5e-7)
    torch.testing.assert_close(cos.flip(0), cos, rtol=0, atol=5e-7)


@pytest.mark.parametrize(("size", "total"), [(14, 8257.640), (16, 10785.312), (28, 33028.760), (32, 43139.411)])
def test_sum_of_cosines_of_square_grids(size, total):
    cos, sin = RotaryPositionEmbedding(64)(size, size)
    assert cos.double().sum().item() == pytest.approx(total, abs=2e-3)
    assert sin.double().sum().item() == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize(
    ("coordinates", "first"),
    [("separate", (0.58778530, 0.30901699)), ("max", (0.30901699, 0.30901699)), ("min", (0.58778530, 0.58778530))],
)
def test_coordinates_of_an_oblong_grid_are_scaled_as_asked(coordinates, first):
    _, sin = RotaryPositionEmbedding(64, coordinates=coordinates)(10, 20)
    torch.testing.assert_close(sin[0, [0, 16]], torch.tensor(first), rtol=0, atol=5e-7)


def test_prefix_tokens_are_returned_bit_for_bit():
    table = RotaryPositionEmbedding(8, num_prefix_tokens=3)(2, 2)
    x = torch.randn(2, 7, 4, 8)
    rotated = rotate(x, table)
    assert torch.equal(rotated[:, :3], x[:, :3])
    assert not torch.equal(rotated[:, 3:], x[:, 3:])


@pytest.mark.parametrize("heads", [(), (3,), (2, 3)])
def test_rotation_is_a_complex_product(heads):
    x = torch.randn(2, 6, *heads, 8, dtype=torch.float64)
    angles = torch.randn(6, 4, dtype=torch.float64)
    table = RotaryTable(angles.cos().repeat(1, 2), angles.sin().repeat(1, 2))
    a, b = x.chunk(2, dim=-1)
    turn = torch.polar(torch.ones_like(angles), angles).view(6, *[1] * len(heads), 4)
    product = torch.complex(a, b) * turn
    torch.testing.assert_close(rotate(x, table), torch.cat([product.real, product.imag], dim=-1))


def test_half_precision_is_rotated_in_float32():
    table = RotaryPositionEmbedding(64)(4, 4)
    x = torch.randn(1, 16, 2, 64).bfloat16()
    rotated = rotate(x, table)
    assert rotated.dtype == torch.bfloat16
    assert torch.equal(rotated, rotate(x.float(), table).bfloat16())


def test_a_grid_is_computed_once():
    rope = RotaryPositionEmbedding(8)
    assert rope(3, 4) is rope(3, 4)
    assert rope(3, 4) is not rope(4, 3)


def test_the_grids_seen_last_are_kept():
    rope = RotaryPositionEmbedding(8)
    for size in range(1, 20):
        rope(size, size)
    assert len(rope._tables) == 4
    assert rope(19, 19) is rope(19, 19)


def test_new_periods_give_a_new_table():
    rope = RotaryPositionEmbedding(8)
    before = rope(3, 4)
    rope.load_state_dict({"periods": torch.tensor([1.0, 50.0])})
    assert not torch.equal(rope(3, 4).cos, before.cos)


def test_tables_of_inference_mode_can_be_trained_with():
    rope = RotaryPositionEmbedding(8)
    with torch.inference_mode():
        table = rope(2, 2)
    x = torch.randn(1, 4, 8, requires_grad=True)
    rotate(x, table).square().sum().backward()
    # A rotation keeps lengths.
    torch.testing.assert_close(x.grad, 2 * x)


def test_tables_are_in_no_state_dict_copy_or_pickle():
    rope = RotaryPositionEmbedding(8)
    rope(2, 2)
    assert list(rope.state_dict()) == ["periods"]
    assert rope._tables
    assert not copy.deepcopy(rope)._tables
    assert not pickle.loads(pickle.dumps(rope))._tables


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_models_keep_exact_periods(dtype):
    rope = RotaryPositionEmbedding(64)
    exact = rope.periods.clone()
    rope.to(dtype)
    assert torch.equal(rope.periods, exact)
    assert "periods" in dict(rope.named_buffers())


def test_double_models_rotate_in_double():
    assert RotaryPositionEmbedding(64).double()(2, 2).cos.dtype == torch.float64


def test_table_dtype_can_be_chosen():
    assert RotaryPositionEmbedding(64, dtype=torch.bfloat16)(2, 2).cos.dtype == torch.bfloat16


def test_augmentation_acts_in_training_only():
    rope = RotaryPositionEmbedding(8, augmentation=RopeAugmentation(rescale=2.0))
    plain = RotaryPositionEmbedding(8)(3, 3)
    assert not torch.equal(rope(3, 3).cos, plain.cos)
    assert torch.equal(rope.eval()(3, 3).cos, plain.cos)


@pytest.mark.parametrize(
    "augmentation",
    [
        RopeAugmentation(rescale=2.0),
        RopeAugmentation(rescale=None, jitter=2.0),
        RopeAugmentation(rescale=None, shift=0.5),
    ],
)
def test_augmentations_stay_in_their_range(augmentation):
    torch.manual_seed(0)
    # One frequency of a long period, in a 1 x 2 grid, so that angles are small and tell the coordinates.
    rope = RotaryPositionEmbedding(4, base=None, min_period=100.0, max_period=100.0, augmentation=augmentation)
    x = torch.cat([rope(1, 2).sin[:, 1].asin() * 100 / (2 * math.pi) for _ in range(100)]).view(-1, 2)
    y = torch.cat([rope(1, 2).sin[:1, 0].asin() * 100 / (2 * math.pi) for _ in range(100)])
    if augmentation.shift:
        torch.testing.assert_close(x[:, 1] - x[:, 0], torch.ones(100))
        shift = x.mean(dim=1)
        assert -0.5 <= shift.min() < -0.35
        assert 0.35 < shift.max() <= 0.5
        assert y.abs().max() <= 0.5
    else:
        factor = x[:, 1] / 0.5
        torch.testing.assert_close(x[:, 0], -x[:, 1])
        assert 0.499 <= factor.min() < 0.6
        assert 1.7 < factor.max() <= 2.001
        assert factor.log().mean().abs() < 0.2  # log-uniform: as often smaller as larger
        assert not y.any()


def test_augmentation_factors_below_one_are_refused():
    with pytest.raises(ValueError, match=r"jitter is 0.5"):
        RopeAugmentation(jitter=0.5)
