"""When each field is used, if every fetched field is used several times.

A store that delivers too slowly is not helped by a cache under shuffled epochs; using each decoded field several
times, for different crops and channels, divides its load (data echoing). The schedule is a function of its
arguments alone, so a run resumes at any position without the history that led there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64

from dinocell_io.stream.order import random_shares


@dataclass(frozen=True)
class ReuseSchedule:
    """Every one of `num_fields` fields is used `reuses` times; at most `buffer_fields` are between first and last use.

    Fields enter in groups of buffer_fields // reuses and stay for `reuses` rounds. A round uses every field of the
    buffer once, in an order that is new in each round but moves no field by more than about half a buffer: two uses
    of a field are about buffer_fields / 2 to 3 buffer_fields / 2 uses apart (less in the first and last rounds of an
    epoch, when the buffer is not full). One use each needs no buffer and keeps the order.
    """

    num_fields: int
    buffer_fields: int
    reuses: int
    seed: int = 0
    epoch: int = 0

    def __post_init__(self) -> None:
        if self.reuses < 1 or self.buffer_fields < self.reuses:
            raise ValueError(
                f"got {self.reuses} uses per field and a buffer of {self.buffer_fields} fields; "
                "expected at least one use and at least as many fields as uses"
            )

    def __len__(self) -> int:
        return self.num_fields * self.reuses

    def uses(self, start: int = 0) -> Iterator[tuple[int, int]]:
        """(position, field) from position `start` to the end; fields are numbered in the order of entering."""
        if self.reuses == 1:
            yield from ((position, position) for position in range(start, self.num_fields))
            return
        first = int(np.searchsorted(self._round_ends, start, side="right"))
        for number in range(first, len(self._round_ends)):
            fields = self._round(number)
            begin = int(self._round_ends[number]) - len(fields)
            for at in range(max(0, start - begin), len(fields)):
                yield begin + at, int(fields[at])

    def is_last_use(self, position: int, field: int) -> bool:
        """Whether the field is not used after this position."""
        if self.reuses == 1:
            return True
        number = int(np.searchsorted(self._round_ends, position, side="right"))
        return number == field // self._group + self.reuses - 1

    @property
    def _group(self) -> int:
        return self.buffer_fields // self.reuses

    @cached_property
    def _round_ends(self) -> Int64[np.ndarray, "round"]:
        numbers = np.arange(-(-self.num_fields // self._group) + self.reuses - 1)
        sizes = np.minimum(self.num_fields, (numbers + 1) * self._group) - self._oldest(numbers)
        return np.cumsum(sizes)

    def _round(self, number: int) -> Int64[np.ndarray, "field"]:
        oldest = int(self._oldest(np.array([number]))[0])
        fields = np.arange(oldest, min(self.num_fields, (number + 1) * self._group))
        # a field's phase is its own; the jitter of each round moves it by up to half the span of the phases
        phases = random_shares(fields, self.seed, self.epoch)
        jitter = random_shares(fields, self.seed, self.epoch, number)
        return fields[np.argsort(phases + 0.5 * jitter, kind="stable")]

    def _oldest(self, numbers: Int64[np.ndarray, "round"]) -> Int64[np.ndarray, "round"]:
        return np.maximum(0, (numbers - self.reuses + 1) * self._group)
