import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinocell_io.stream.order import Partition, permutation, random_keys, random_shares


def plain_splitmix64(number: int, state: int) -> int:
    value = (number * 0x9E3779B97F4A7C15 + state) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def test_without_words_the_keys_are_the_published_splitmix64():
    # the first outputs of the reference generator for seed 0 (Vigna): state grows by the golden ratio
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert random_keys(np.arange(1, 4)).tolist() == expected == [plain_splitmix64(n, 0) for n in (1, 2, 3)]


def test_orders_stay_the_same_for_ever():
    # these numbers are a promise to states written earlier; NumPy's generators do not give it
    assert permutation(10, 0).tolist() == [6, 8, 0, 9, 3, 1, 4, 2, 7, 5]
    assert permutation(10, 7, 3).tolist() == [8, 3, 5, 4, 9, 2, 6, 7, 1, 0]


def test_each_sequence_of_words_has_its_own_order():
    orders = {tuple(permutation(50, *words).tolist()) for words in [(), (0,), (0, 0), (1,), (1, 2), (2, 1), (-1,)]}
    assert len(orders) == 7
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_shares_fill_the_interval_evenly():
    shares = random_shares(np.arange(20000), 5)
    assert shares.min() >= 0
    assert shares.max() < 1
    counts = np.histogram(shares, 20, (0, 1))[0]
    assert abs(counts - 1000).max() < 150  # five standard deviations


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 9), st.booleans())
def test_a_node_keeps_its_rows_in_all_epochs_and_all_rows_are_read(count, nodes, ranks, workers, seed, shuffled):
    given_seed = seed if shuffled else None
    by_node: dict[int, list[list[int]]] = {}
    for epoch in (0, 1):
        read: list[int] = []
        for rank in range(nodes * ranks):
            for worker in range(workers):
                part = Partition(rank, nodes * ranks, ranks, worker, workers)
                rows = part.epoch_rows(part.node_rows(count, given_seed), given_seed, epoch)
                assert len(rows) == part.share_size(count)
                read += rows.tolist()
                by_node.setdefault(rank // ranks, [[], []])[epoch] += rows.tolist()
        assert set(read) == set(range(count))
        assert len(read) == -(-count // part.num_shares) * part.num_shares
    for epochs in by_node.values():
        assert sorted(epochs[0]) == sorted(epochs[1])


def test_the_ranks_of_a_node_exchange_rows_between_epochs():
    part = Partition(rank=0, world_size=2, ranks_per_node=2)
    rows = part.node_rows(200, 0)
    assert set(part.epoch_rows(rows, 0, 0).tolist()) != set(part.epoch_rows(rows, 0, 1).tolist())


@pytest.mark.parametrize("arguments", [{"rank": 1}, {"rank": -1}, {"worker": 1}, {"world_size": 0}])
def test_numbers_beyond_their_counts_are_refused(arguments):
    with pytest.raises(ValueError, match="expected numbers from 0 to below their counts"):
        Partition(**arguments)
