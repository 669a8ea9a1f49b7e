"""One iteration of a stream: what is requested, what has arrived, what is given next."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dinocell_io.cache.cached_store import CachedStore
from dinocell_io.plural import counted
from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.s3_store import S3Store
from dinocell_io.stores.store import Store
from dinocell_io.stream.errors import StreamError, StreamStalled, TooManyFailures
from dinocell_io.stream.field import FieldFiles, FieldPixels
from dinocell_io.stream.plan import StreamPlan, StreamState
from dinocell_io.stream.prefetch import FailedField, Prefetcher
from dinocell_io.stream.quarantine import LASTING_KINDS, append_quarantine
from dinocell_io.stream.report import failure_lines
from dinocell_io.stream.reuse_buffer import ReuseSchedule

_WAIT_SECONDS = 0.5  # how often a waiting reader looks whether it has stalled


@dataclass(frozen=True, slots=True)
class _Use:
    """One position of the schedule: the ticket is (epoch, number of the field in the epoch's order)."""

    position: int
    ticket: tuple[int, int]
    is_last: bool


class StreamRun:
    """Keeps the window of the next uses filled and gives them one by one; used by one thread only."""

    def __init__(self, plan: StreamPlan, state: StreamState) -> None:
        self._plan, self._state = plan, state
        self._limits = plan.limits
        store, prefix = plan.store, ""
        if store is None:
            uri = plan.fields.store_uri
            store, prefix = open_store(uri if uri.endswith("/") else f"{uri}/")
        if plan.cache is not None and not isinstance(store, CachedStore):
            store = CachedStore(store, disk=plan.cache)
        self._store = store
        self._retries_noted = _num_retries(store)
        self._node_rows = plan.partition.node_rows(len(plan.fields), plan.seed)
        self._rows: dict[int, np.ndarray] = {}
        self._schedule = self._uses(state.epoch, state.position, state.taken_ahead)
        self._window: deque[_Use] = deque()
        self._fields: dict[tuple[int, int], FieldPixels] = {}
        self._steps: dict[tuple[int, int], int] = {}  # how far along the order each ticket's field was looked for
        self._unused: set[tuple[int, int]] = set()
        self._shapes: dict[str, tuple[int, int]] = {}
        self._recent: deque[bool] = deque(maxlen=self._limits.failure_window)
        self._last_given: float | None = None
        self._last_failure: FailedField | None = None
        self._prefetcher = Prefetcher(
            store,
            num_requests=self._limits.num_requests,
            num_decoders=self._limits.num_decoders,
            prepare=plan.prepare,
            prefix=prefix,
        )

    def next_field(self) -> FieldPixels | None:
        """The next field, waited for; None after the last one."""
        begin = time.perf_counter()
        waited = 0.0
        while True:
            self._collect()
            self._fill()
            if not self._window:
                return None
            use = self._ready()
            if use is not None:
                return self._given(use, begin, waited)
            if waited > self._limits.stall_seconds:
                raise StreamStalled(
                    f"no field arrived for {waited:.0f} s; {len(self._unused)} are under way. Check the network and "
                    f"the store, or raise stall_seconds. The threads are at:\n{self._prefetcher.stacks()}"
                )
            self._prefetcher.wait(min(_WAIT_SECONDS, float(self._limits.stall_seconds)))
            waited = time.perf_counter() - begin

    def close(self) -> None:
        self._prefetcher.close()
        self.note_store()

    def note_store(self) -> None:
        """Take over what the store counts itself: its retries, and which tier answered."""
        store = self._store
        if isinstance(store, CachedStore):
            self._state.tiers = {
                tier: {
                    "reads": getattr(store.hits, tier),
                    "rate": store.hits.rate(tier),
                    "bytes": getattr(store.hits, f"{tier}_bytes", 0),
                }
                for tier in ("ram", "disk", "origin", "joined")
            }
        retries = _num_retries(store)
        self._state.counts.num_store_retries += retries - self._retries_noted
        self._retries_noted = retries

    def _uses(self, epoch: int, position: int, taken: frozenset[tuple[int, int]]) -> Iterator[_Use]:
        while self._plan.num_epochs is None or epoch < self._plan.num_epochs:
            self._rows[epoch] = self._plan.partition.epoch_rows(self._node_rows, self._plan.seed, epoch)
            schedule = ReuseSchedule(
                len(self._rows[epoch]), self._plan.buffer_fields, self._plan.reuses, self._plan.seed or 0, epoch
            )
            for at, number in schedule.uses(position):
                if (epoch, at) not in taken:
                    yield _Use(at, (epoch, number), schedule.is_last_use(at, number))
            epoch, position = epoch + 1, 0

    def _fill(self) -> None:
        """Look ahead in the schedule and ask for the fields that are not there."""
        max_uses = 2 * self._limits.fields_ahead * self._plan.reuses
        while len(self._unused) < self._limits.fields_ahead and len(self._window) < max_uses:
            use = next(self._schedule, None)
            if use is None:
                return
            self._window.append(use)
            if use.ticket not in self._steps:
                self._unused.add(use.ticket)
                self._steps[use.ticket] = 0
                self._ask(use.ticket)

    def _ask(self, ticket: tuple[int, int]) -> None:
        """Ask for the ticket's field, or the next one in the order that is not in quarantine."""
        epoch, number = ticket
        rows = self._rows[epoch]
        while self._steps[ticket] < len(rows):
            files = self._plan.fields[int(rows[(number + self._steps[ticket]) % len(rows)])]
            if files.key not in self._state.quarantined:
                self._prefetcher.submit(ticket, files)
                return
            self._replace(ticket)
        last = self._last_failure
        why = (
            f"the quarantine file {self._plan.quarantine} names them all; look at their causes there, or pass another"
            if last is None
            else f"the last that failed is {last.object_key}: {last.cause}"
        )
        raise StreamError(f"none of the {counted(len(rows), 'field')} of this part can be read; {why}")

    def _replace(self, ticket: tuple[int, int]) -> None:
        if self._steps[ticket] == 0:
            self._state.counts.num_replaced += 1
        self._steps[ticket] += 1

    def _collect(self) -> None:
        """Count what has come since the last look; ask for another field where one failed."""
        for job in self._prefetcher.finished():
            if job.pixels is not None and job.files.plate:
                job.failure = self._wrong_shape(job.files, job.pixels)
            self._state.counts.add_job(job)
            if job.failure is not None:
                self._note_failure(job.failure, job.files)
                self._replace(job.ticket)
                self._ask(job.ticket)
            elif job.pixels is not None:
                self._recent.append(False)
                self._fields[job.ticket] = job.pixels

    def _wrong_shape(self, files: FieldFiles, pixels: FieldPixels) -> FailedField | None:
        """The first field of a plate sets the shape of the others."""
        expected = self._shapes.setdefault(files.plate, pixels.shape)
        if pixels.shape == expected:
            return None
        channel, object_key = next(iter(files.objects.items()))
        cause = f"its shape is {pixels.shape}, that of its plate {expected}"
        return FailedField(files.key, channel, object_key, "shape", 1, cause)

    def _note_failure(self, failure: FailedField, files: FieldFiles) -> None:
        self._last_failure = failure
        if failure.key in self._state.quarantined:  # requested twice, as itself and in place of another: reported once
            return
        is_expected = files.may_be_missing and failure.kind == "missing"
        self._state.counts.add_failure(failure, files.plate, is_expected=is_expected)
        if failure.kind in LASTING_KINDS:
            self._state.quarantined.add(failure.key)
        if self._plan.quarantine is not None:
            append_quarantine(self._plan.quarantine, failure)
        if is_expected:
            return
        self._recent.append(True)
        num_failed = sum(self._recent)
        if num_failed > self._limits.max_failed_share * self._limits.failure_window:
            table = "\n".join(failure_lines(self._state.counts.failures)[:20])
            raise TooManyFailures(
                f"{num_failed} of the last {len(self._recent)} fields could not be read, more than "
                f"{self._limits.max_failed_share:.1%} of {self._limits.failure_window}; the last is "
                f"{failure.object_key}: {failure.cause}. Exclude what fails, or raise max_failed_share.\n{table}"
            )

    def _ready(self) -> _Use | None:
        """The next use whose field is there: the first of the window, or any of it if order does not matter."""
        for use in self._window:
            if use.ticket in self._fields:
                return use
            if self._plan.ordered:
                return None
        return None

    def _given(self, use: _Use, begin: float, waited: float) -> FieldPixels:
        pixels = self._fields[use.ticket]
        self._unused.discard(use.ticket)
        self._window.remove(use)
        self._advance(use)
        if use.is_last:
            del self._fields[use.ticket]
            del self._steps[use.ticket]
        counts = self._state.counts
        now = time.perf_counter()
        counts.num_used += 1
        if self._last_given is None:
            counts.first_field_seconds = counts.first_field_seconds or now - begin
        else:
            counts.elapsed_seconds += now - self._last_given
            counts.wait_seconds += waited
        self._last_given = now
        return pixels

    def _advance(self, use: _Use) -> None:
        """Move the stream's state behind this use."""
        state = self._state
        taken = {*state.taken_ahead, (use.ticket[0], use.position)}
        epoch, position = state.epoch, state.position
        while (epoch, position) in taken:
            taken.remove((epoch, position))
            position += 1
            if position == len(self._plan):
                self._rows.pop(epoch, None)
                epoch, position = epoch + 1, 0
        state.epoch, state.position, state.taken_ahead = epoch, position, frozenset(taken)


def _num_retries(store: Store) -> int:
    origin = store.store if isinstance(store, CachedStore) else store
    return origin.counts.retries if isinstance(origin, S3Store) else 0
