"""Both kinds of schedule against printed numbers."""

from inspect import unwrap

import pytest

from dinocell_ssl.run.schedules import cosine_v1, cosine_v2, scaled_learning_rate

LEARNING_RATE = {"num_iterations": 100, "num_warmup": 10, "peak": 1e-3, "final": 1e-6}


@pytest.mark.parametrize(
    ("iteration", "published"),
    [
        *((0, 0.0), (1, 1.1111e-4), (9, 1e-3), (10, 1e-3), (11, 9.996957e-4)),
        *((50, 5.872373e-4), (99, 1.304282e-6), (100, 1e-6), (500, 1e-6)),
    ],
)
def test_v1_has_the_published_numbers(iteration, published):
    assert cosine_v1(iteration, **LEARNING_RATE) == pytest.approx(published, rel=2e-5 if iteration == 1 else 3e-7)


@pytest.mark.parametrize(
    ("iteration", "published"),
    [
        *((0, 0.0), (1, 1e-4), (9, 9e-4), (10, 1e-3), (11, 9.996888e-4)),
        *((50, 5.795096e-4), (99, 1e-6), (100, 1e-6), (500, 1e-6)),
    ],
)
def test_v2_has_the_published_numbers(iteration, published):
    assert cosine_v2(iteration, **LEARNING_RATE) == pytest.approx(published, rel=3e-7)


def test_momentum_has_the_published_numbers():
    momentum = [cosine_v1(i, num_iterations=100, peak=0.992, final=1.0) for i in (0, 50, 99, 100)]
    assert momentum == pytest.approx([0.992, 0.996, 0.999998026, 1], abs=6e-10)


def test_teacher_temperature_warms_up_to_a_constant():
    temperature = [
        cosine_v1(i, num_iterations=90, num_warmup=31, start=0.04, peak=0.07, final=0.07) for i in (0, 15, 30, 31, 60)
    ]
    assert temperature == pytest.approx([0.04, 0.055, 0.07, 0.07, 0.07])


def test_v2_is_constant_after_its_cosine():
    values = [cosine_v2(i, num_iterations=100, peak=1.0, final=0.2, num_cosine=5) for i in (0, 2, 4, 5, 99)]
    assert values == pytest.approx([1, 0.6, 0.2, 0.2, 0.2])


def test_warmup_of_one_iteration_starts_low():
    assert cosine_v1(0, num_iterations=3, num_warmup=1, peak=1.0, final=0.0) == 0
    assert cosine_v2(0, num_iterations=3, num_warmup=1, peak=1.0, final=0.0) == 0


@pytest.mark.parametrize(("batch", "factor"), [(1024, 4), (4096, 8), (256, 2), (64, 1)])
def test_square_root_rule_has_the_published_factors(batch, factor):
    assert scaled_learning_rate(1e-3, batch) == pytest.approx(factor * 1e-3)


def test_linear_rule_is_one_at_256():
    assert scaled_learning_rate(1e-3, 512, rule="linear_wrt_256") == pytest.approx(2e-3)


@pytest.mark.parametrize("schedule", [cosine_v1, cosine_v2])
def test_senseless_iterations_are_refused(schedule):
    with pytest.raises(ValueError, match="iteration is -1; the first one is 0"):
        schedule(-1, **LEARNING_RATE)
    with pytest.raises(ValueError, match=r"num_warmup is 200; give 0 to num_iterations \(100\)"):
        schedule(0, **{**LEARNING_RATE, "num_warmup": 200})


def test_senseless_settings_are_refused():
    with pytest.raises(ValueError, match="num_cosine is 95, but 90 iterations remain after the warm-up"):
        cosine_v2(50, **LEARNING_RATE, num_cosine=95)
    with pytest.raises(ValueError, match="global_batch is 0; give the images per step"):
        scaled_learning_rate(1e-3, 0)
    with pytest.raises(ValueError, match="rule is 'cubic'; give 'sqrt_wrt_1024' or 'linear_wrt_256'"):
        unwrap(scaled_learning_rate)(1e-3, 64, rule="cubic")
