"""What a stream reads, in which order, and where it stands: all that one iteration of it needs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dinocell_io.cache.disk_cache import DiskCache
from dinocell_io.stores.store import Store
from dinocell_io.stream.field import FieldList
from dinocell_io.stream.limits import StreamLimits
from dinocell_io.stream.order import Partition
from dinocell_io.stream.prefetch import Prepare
from dinocell_io.stream.report import StreamCounts


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """What is read and how; see `FieldStream`."""

    fields: FieldList
    store: Store | None
    cache: DiskCache | None
    partition: Partition
    seed: int | None
    num_epochs: int | None
    reuses: int
    buffer_fields: int
    ordered: bool
    prepare: tuple[Prepare, ...]
    quarantine: Path | None
    limits: StreamLimits

    def __post_init__(self) -> None:
        if len(self.fields) == 0:
            raise ValueError("the list holds no field; choose a wider selection")
        if self.reuses < 1 or self.buffer_fields < self.reuses:
            raise ValueError(
                f"got {self.reuses} uses per field and a buffer of {self.buffer_fields} fields; "
                "expected at least one use and at least as many fields as uses"
            )

    def __len__(self) -> int:
        """Fields that one epoch gives to each worker of each rank, reuses included."""
        return self.partition.share_size(len(self.fields)) * self.reuses

    def identity(self) -> dict[str, Any]:
        """What decides the order of this part."""
        return {
            "fields": self.fields.fingerprint,
            "num_fields": len(self.fields),
            "seed": self.seed,
            "reuses": self.reuses,
            "buffer_fields": self.buffer_fields if self.reuses > 1 else None,
            "partition": asdict(self.partition),
        }


@dataclass
class StreamState:
    """Where a stream stands, and what it has met so far; an iteration moves it on.

    `epoch` and `position` are those of the next field, `taken_ahead` the places (epoch, position) that an unordered
    stream has already given. `quarantined` holds the keys of fields that are not asked for again.
    """

    quarantined: set[str]
    epoch: int = 0
    position: int = 0
    taken_ahead: frozenset[tuple[int, int]] = frozenset()
    counts: StreamCounts = field(default_factory=StreamCounts)
    tiers: Mapping[str, Any] = field(default_factory=dict)
