"""The order in which fields are visited, and by which reader: seeded, equal for all, and stable across versions.

The orders come from a hash of our own (splitmix64) and not from a generator of NumPy, whose streams may change
between versions: a run resumed with another version continues where it stopped.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Integer, UInt32, UInt64

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_NODES = 0x6E6F6465  # distinguishes the split over nodes from the orders of epochs


def random_keys(numbers: Integer[np.ndarray, "n"], *words: int) -> UInt64[np.ndarray, "n"]:
    """One 64-bit hash for each number, different for each sequence of `words` (seed, epoch, ...)."""
    state = 0
    for word in words:
        # a word is mixed before and after: (1, 2) and (2, 1) are different, and so are (0,) and (0, 0)
        state = _mixed_int((state ^ _mixed_int(word & _MASK)) + _GOLDEN)
    keys = numbers.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(state)
    keys ^= keys >> np.uint64(30)
    keys *= np.uint64(0xBF58476D1CE4E5B9)
    keys ^= keys >> np.uint64(27)
    keys *= np.uint64(0x94D049BB133111EB)
    keys ^= keys >> np.uint64(31)
    return keys


def random_shares(numbers: Integer[np.ndarray, "n"], *words: int) -> Float64[np.ndarray, "n"]:
    """The hashes as numbers from 0 to below 1."""
    return (random_keys(numbers, *words) >> np.uint64(11)) * 2.0**-53


def permutation(length: int, *words: int) -> Int64[np.ndarray, "length"]:
    """0 to length - 1 in an order that depends on `words` alone; 8 million take a second or two and 200 MB."""
    return np.argsort(random_keys(np.arange(length, dtype=np.int64), *words), kind="stable")


@dataclass(frozen=True)
class Partition:
    """Which share of the fields one worker of one rank reads.

    A node (`ranks_per_node` ranks that share a disk cache) keeps its fields for the whole run, so that what it has
    cached stays useful; which of its ranks and workers reads a field is drawn again in each epoch. All workers read
    equally many: where the fields do not divide, up to num_shares - 1 of them are read twice per epoch.
    """

    rank: int = 0
    world_size: int = 1
    ranks_per_node: int = 1
    worker: int = 0
    num_workers: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.world_size and 0 <= self.worker < self.num_workers):
            raise ValueError(
                f"got rank {self.rank} of {self.world_size} and worker {self.worker} of {self.num_workers}; "
                "expected numbers from 0 to below their counts"
            )
        if self.ranks_per_node < 1 or self.world_size % self.ranks_per_node:
            raise ValueError(
                f"got {self.ranks_per_node} ranks per node of {self.world_size}, expected a divisor; "
                "pass 1 if nodes have different numbers of ranks"
            )

    @property
    def num_shares(self) -> int:
        return self.world_size * self.num_workers

    def share_size(self, num_fields: int) -> int:
        """How many fields each worker reads per epoch."""
        return -(-num_fields // self.num_shares)

    def node_rows(self, num_fields: int, seed: int | None) -> UInt32[np.ndarray, "row"]:
        """The rows that this node reads in every epoch; in their own order if there is no seed."""
        num_nodes = self.world_size // self.ranks_per_node
        rows = np.arange(num_fields) if seed is None else permutation(num_fields, seed, _NODES)
        padded = np.resize(rows, self.share_size(num_fields) * self.num_shares)
        # half the bytes: every worker holds its node's rows
        return padded.reshape(num_nodes, -1)[self.rank // self.ranks_per_node].astype(np.uint32)

    def epoch_rows(
        self, node_rows: UInt32[np.ndarray, "row"], seed: int | None, epoch: int
    ) -> UInt32[np.ndarray, "share"]:
        """The rows that this worker reads in an epoch, in order."""
        node, local_rank = divmod(self.rank, self.ranks_per_node)
        lanes = slice(local_rank * self.num_workers + self.worker, None, self.ranks_per_node * self.num_workers)
        if seed is None:
            return node_rows[lanes]
        return node_rows[permutation(len(node_rows), seed, epoch, node)[lanes]]


def _mixed_int(value: int) -> int:
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
