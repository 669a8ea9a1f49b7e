"""What a stream did: counts, failures by kind, latencies and how long its reader waited."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

import numpy as np

from dinocell_io.stream.prefetch import FailedField, FieldJob

_LATENCIES_KEPT = 1 << 16


@dataclass(frozen=True)
class StreamReport:
    """The numbers of a stream since it was made. Counts are of fields unless they say objects.

    `num_used` fields were handed out, `num_read` of them fetched and decoded now (the rest are reuses);
    `num_quarantined` failed, `num_expected_missing` of them where the deny list says that keys are missing, and
    `num_replaced` places of the order were given to another field. Of `num_requested` objects `num_objects` arrived;
    `num_retries` were fetched again because they did not decode, and the store tried `num_store_retries` times again.
    `failures` counts by (kind, plate). Latencies are of whole objects, None before the first.
    `data_wait_share` is the part of the time since the first field in which the reader waited for the next one;
    `first_field_seconds` is the wait before that. For a CachedStore, `tiers` gives the reads that each tier answered,
    their share and their bytes, since the store was made in this process.
    """

    num_used: int
    num_read: int
    num_quarantined: int
    num_expected_missing: int
    num_replaced: int
    num_requested: int
    num_objects: int
    num_retries: int
    num_store_retries: int
    num_bytes: int
    failures: Mapping[tuple[str, str], int]
    p50_seconds: float | None
    p99_seconds: float | None
    first_field_seconds: float | None
    elapsed_seconds: float
    data_wait_share: float | None
    tiers: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values; failures as a list of {kind, plate, count}."""
        plain = asdict(self)
        plain["failures"] = [
            {"kind": kind, "plate": plate, "count": count} for (kind, plate), count in self.failures.items()
        ]
        return plain

    def __str__(self) -> str:
        lines = [
            f"fields   {self.num_used} used, {self.num_read} read, {self.num_quarantined} quarantined"
            f" ({self.num_expected_missing} known to be missing)",
            f"objects  {self.num_objects} of {self.num_requested} requested, {self.num_bytes / 1e6:.1f} MB;"
            f" {self.num_retries} fetched again, {self.num_store_retries} retries of the store",
        ]
        if self.p50_seconds is not None and self.p99_seconds is not None:
            lines.append(f"latency  p50 {1e3 * self.p50_seconds:.0f} ms, p99 {1e3 * self.p99_seconds:.0f} ms")
        if self.data_wait_share is not None:
            lines.append(f"waiting  {100 * self.data_wait_share:.1f} % of {self.elapsed_seconds:.1f} s")
        for name, tier in self.tiers.items():
            rate = "" if tier["rate"] is None else f", {100 * tier['rate']:.1f} %"
            lines.append(f"tier     {name}: {tier['reads']} reads{rate}")
        return "\n".join(lines + failure_lines(self.failures))


def failure_lines(failures: Mapping[tuple[str, str], int]) -> list[str]:
    """A table of failures by kind and plate, the most frequent first."""
    rows = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    return [f"failed   {count:6d}  {kind:10s} {plate or '(no plate)'}" for (kind, plate), count in rows]


@dataclass(frozen=True)
class StreamReads:
    """Objects of a stream and their bytes, by where they came from: kept by this machine, or fetched from the store."""

    kept: int = 0
    fetched: int = 0
    kept_bytes: int = 0
    fetched_bytes: int = 0

    def __add__(self, other: "StreamReads") -> "StreamReads":
        return StreamReads(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "StreamReads") -> "StreamReads":
        return StreamReads(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def kept_share(self) -> float | None:
        """The share of the objects that this machine kept; None before any was read."""
        return self.kept / (self.kept + self.fetched) if self.kept + self.fetched else None


@dataclass
class StreamCounts:
    """The running numbers behind the report; kept by the one thread that reads the stream."""

    num_used: int = 0
    num_read: int = 0
    num_quarantined: int = 0
    num_expected_missing: int = 0
    num_replaced: int = 0
    num_requested: int = 0
    num_objects: int = 0
    num_retries: int = 0
    num_store_retries: int = 0
    num_bytes: int = 0
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))
    first_field_seconds: float | None = None
    elapsed_seconds: float = 0.0
    wait_seconds: float = 0.0

    def add_job(self, job: FieldJob) -> None:
        self.num_requested += job.num_requested
        self.num_objects += job.num_objects
        self.num_retries += job.num_retries
        self.num_bytes += job.num_bytes
        self.latencies.extend(job.seconds)
        self.num_read += job.failure is None

    def add_failure(self, failure: FailedField, plate: str, *, is_expected: bool) -> None:
        self.num_quarantined += 1
        self.num_expected_missing += is_expected
        self.failures[failure.kind, plate] += 1

    def report(self, tiers: Mapping[str, Any]) -> StreamReport:
        p50, p99 = np.quantile(self.latencies, (0.5, 0.99)).tolist() if self.latencies else (None, None)
        return StreamReport(
            num_used=self.num_used,
            num_read=self.num_read,
            num_quarantined=self.num_quarantined,
            num_expected_missing=self.num_expected_missing,
            num_replaced=self.num_replaced,
            num_requested=self.num_requested,
            num_objects=self.num_objects,
            num_retries=self.num_retries,
            num_store_retries=self.num_store_retries,
            num_bytes=self.num_bytes,
            failures=dict(self.failures),
            p50_seconds=p50,
            p99_seconds=p99,
            first_field_seconds=self.first_field_seconds,
            elapsed_seconds=self.elapsed_seconds,
            data_wait_share=self.wait_seconds / self.elapsed_seconds if self.elapsed_seconds > 0 else None,
            tiers=dict(tiers),
        )
