from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinocell_io.stream.reuse_buffer import ReuseSchedule


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 30), st.integers(0, 3), st.data())
def test_every_field_is_used_equally_often_from_a_bounded_buffer(num_fields, reuses, extra, epoch, data):
    buffer_fields = reuses + extra
    schedule = ReuseSchedule(num_fields, buffer_fields, reuses, seed=1, epoch=epoch)
    uses = list(schedule.uses())
    assert [position for position, _ in uses] == list(range(len(schedule)))
    assert Counter(field for _, field in uses) == dict.fromkeys(range(num_fields), reuses)
    held, most = set(), 0
    for position, field in uses:
        held.add(field)
        most = max(most, len(held))
        later = [other for _, other in uses[position + 1 :]]
        assert schedule.is_last_use(position, field) == (field not in later)
        if schedule.is_last_use(position, field):
            held.discard(field)
    assert most <= buffer_fields
    assert not held
    start = data.draw(st.integers(0, len(schedule)))
    assert list(schedule.uses(start)) == uses[start:]


def test_two_uses_are_about_half_a_buffer_apart_or_more():
    schedule = ReuseSchedule(4000, 512, 4)
    positions: dict[int, list[int]] = {}
    for position, field in schedule.uses():
        positions.setdefault(field, []).append(position)
    gaps = np.concatenate([np.diff(positions[field]) for field in range(512, 3000)])
    assert gaps.min() > 0.4 * 512
    assert gaps.max() < 1.6 * 512
    assert abs(np.median(gaps) - 512) < 40


def test_the_neighbours_of_a_field_change_from_use_to_use():
    rounds = {}
    for position, field in ReuseSchedule(512 * 8, 512, 4).uses():
        rounds.setdefault(field, []).append(position // 64)
    together = sum(len({rounds[a][use] - rounds[b][use] for use in range(4)}) == 1 for a, b in pairs(rounds))
    assert together / 2000 < 0.3  # of fields that shared a batch of 64, few share the next three as well


def pairs(rounds: dict[int, list[int]]) -> list[tuple[int, int]]:
    rng = np.random.default_rng(0)
    batches: dict[int, list[int]] = {}
    for field, batch in rounds.items():
        batches.setdefault(batch[0], []).append(field)
    full = [members for members in batches.values() if len(members) > 1]
    chosen = []
    for index in rng.integers(0, len(full), 2000):
        first, second = rng.choice(full[index], 2, replace=False)
        chosen.append((int(first), int(second)))
    return chosen


def test_new_fields_are_asked_for_at_an_even_rate():
    seen, firsts = set(), []
    for position, field in ReuseSchedule(4096, 512, 4).uses():
        if field not in seen:
            seen.add(field)
            firsts.append(position)
    # the first rounds have 128, 256 and 384 uses, all others 512
    per_round = np.histogram(firsts, bins=np.arange(768, 16384 - 768, 512))[0]
    assert set(per_round.tolist()) == {128}


def test_one_use_each_keeps_the_order():
    assert [field for _, field in ReuseSchedule(7, 512, 1).uses()] == list(range(7))


def test_the_order_differs_between_epochs_and_seeds():
    orders = {
        tuple(field for _, field in ReuseSchedule(30, 12, 3, seed, epoch).uses())
        for seed, epoch in [(0, 0), (0, 1), (1, 0)]
    }
    assert len(orders) == 3


def test_a_buffer_smaller_than_the_uses_is_refused():
    with pytest.raises(ValueError, match="3 uses per field and a buffer of 2 fields"):
        ReuseSchedule(10, 2, 3)
