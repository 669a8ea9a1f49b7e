"""Fields for a training, in an order that is known before the first is read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dinocell_io.cache.disk_cache import DiskCache
from dinocell_io.stores.store import Store
from dinocell_io.stream.errors import StreamError
from dinocell_io.stream.field import FieldList, FieldPixels
from dinocell_io.stream.limits import StreamLimits
from dinocell_io.stream.order import Partition
from dinocell_io.stream.plan import StreamPlan, StreamState
from dinocell_io.stream.prefetch import Prepare
from dinocell_io.stream.quarantine import lasting_keys, read_quarantine
from dinocell_io.stream.report import StreamCounts, StreamReads, StreamReport
from dinocell_io.stream.run import StreamRun
from dinocell_io.system.atomic import atomic_path

_STATE_VERSION = 1


class FieldStream:
    """Iterate over the fields of a list, fetched ahead by threads; every worker of every rank reads its own part.

    store: opened from the list's address if None, in the process that iterates. With a store of your own (a cached
        one) the keys are those of the list.
    cache: a folder of this machine that keeps the objects, so that they are fetched once; shared by all readers.
    rank, world_size, ranks_per_node, worker, num_workers: whose part is read; see `Partition`. All parts have
        `len(stream)` uses per epoch.
    seed: of the order, which is new in each epoch; None reads in the list's order.
    num_epochs: iteration ends when this many epochs are read, counted from the first; None never ends. Fetching
        continues across the border of two epochs.
    reuses, buffer_fields: each fetched field is given `reuses` times, from a buffer of that many fields; see
        `ReuseSchedule`. 512 fields of five 1080 x 1080 channels are 6 GB; a stream without reuse has no buffer.
    ordered: give the fields in the known order. False gives whichever of the next ones is there first: an object
        that comes late delays nothing, but two runs see different orders.
    prepare: steps applied to each field in the decoding threads (`IlluminationCorrection`, `ResampleTo`, or functions
        of (FieldFiles, FieldPixels) that return FieldPixels and may raise BadObject).
    quarantine: a file that gets a line for each field that failed. Fields that it names with a lasting cause
        (missing, damaged ...) are not requested again, in this run and those that pass the same file.
    limits: how much is under way, and how many failures are too many.

    A field that cannot be read is replaced by the next one in the order, so every part keeps its length.
    `state_dict` after any field says where to continue; `load_state_dict` in a new process continues with the same
    fields, as far as the same ones can be read. A stream can be pickled and forked before it is iterated; threads
    exist only while it is.

    Raises TooManyFailures and StreamStalled by `limits`, StreamError if no field of the part can be read.
    """

    def __init__(
        self,
        fields: FieldList,
        *,
        store: Store | None = None,
        cache: DiskCache | None = None,
        rank: int = 0,
        world_size: int = 1,
        ranks_per_node: int = 1,
        worker: int = 0,
        num_workers: int = 1,
        seed: int | None = 0,
        num_epochs: int | None = 1,
        reuses: int = 1,
        buffer_fields: int = 512,
        ordered: bool = True,
        prepare: Prepare | Sequence[Prepare] = (),
        quarantine: str | Path | None = None,
        limits: StreamLimits | None = None,
    ) -> None:
        self._plan = StreamPlan(
            fields=fields,
            store=store,
            cache=cache,
            partition=Partition(rank, world_size, ranks_per_node, worker, num_workers),
            seed=seed,
            num_epochs=num_epochs,
            reuses=reuses,
            buffer_fields=buffer_fields,
            ordered=ordered,
            prepare=(prepare,) if callable(prepare) else tuple(prepare),
            quarantine=None if quarantine is None else Path(quarantine),
            limits=limits or StreamLimits(),
        )
        in_file = () if quarantine is None else read_quarantine(quarantine)
        self._state = StreamState(quarantined=set(lasting_keys(in_file)))
        self._num_iterations = 0
        self._run: StreamRun | None = None

    def __len__(self) -> int:
        """Fields that one epoch gives to each worker of each rank, reuses included."""
        return len(self._plan)

    @property
    def plan(self) -> StreamPlan:
        """What is read and how; fixed."""
        return self._plan

    @property
    def epoch(self) -> int:
        """Of the next field."""
        return self._state.epoch

    @property
    def position(self) -> int:
        """Of the next field in its epoch."""
        return self._state.position

    @property
    def counts(self) -> StreamCounts:
        """What was counted in this process; `report` says it in a table."""
        return self._state.counts

    def __iter__(self) -> Iterator[FieldPixels]:
        """Fields from the present state on. Only one iteration at a time: a new one ends the old one."""
        self._num_iterations += 1
        iteration = self._num_iterations
        run = self._run = StreamRun(self._plan, self._state)
        try:
            while True:
                if iteration != self._num_iterations:
                    raise StreamError("another iteration of this stream has begun; use one stream per reader")
                pixels = run.next_field()
                if pixels is None:
                    return
                yield pixels
        finally:
            run.close()
            if self._run is run:
                self._run = None

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is, as plain values (JSON keeps them): all that `load_state_dict` needs.

        `epoch` and `position` are those of the next field; to continue from another place, such as the last batch that
        was trained on, set these two. `taken_ahead` lists positions that an unordered stream has already given.
        """
        return {
            "version": _STATE_VERSION,
            **self._plan.identity(),
            "epoch": self._state.epoch,
            "position": self._state.position,
            "taken_ahead": sorted(list(place) for place in self._state.taken_ahead),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a stream of the same fields, part and order stood.

        Raises ValueError naming what differs: another list, seed, number of ranks or reuse has another order.
        """
        wanted = {"version": _STATE_VERSION, **self._plan.identity()}
        different = [
            f"{name} {state.get(name)!r} instead of {value!r}"
            for name, value in wanted.items()
            if state.get(name) != value
        ]
        if different:
            raise ValueError(
                f"the state is of another stream ({'; '.join(different)}); make the stream as it was, or start again"
            )
        epoch, position = int(state["epoch"]), int(state["position"])
        if epoch < 0 or not 0 <= position <= len(self):
            raise ValueError(f"the state is at epoch {epoch}, position {position}; an epoch has {len(self)} positions")
        if position == len(self):
            epoch, position = epoch + 1, 0
        self._state.epoch, self._state.position = epoch, position
        self._state.taken_ahead = frozenset((int(epoch), int(at)) for epoch, at in state["taken_ahead"])
        self._num_iterations += 1  # an iteration that is under way is of the old state

    def reads(self) -> StreamReads:
        """The objects read so far in this process, by where they came from; cheaper than a report."""
        if self._run is not None:
            self._run.note_store()
        if not self._state.tiers:
            return StreamReads(fetched=self._state.counts.num_objects, fetched_bytes=self._state.counts.num_bytes)
        kept = [self._state.tiers[tier] for tier in ("ram", "disk", "joined")]
        return StreamReads(
            kept=sum(tier["reads"] for tier in kept),
            fetched=self._state.tiers["origin"]["reads"],
            kept_bytes=sum(tier["bytes"] for tier in kept),
            fetched_bytes=self._state.tiers["origin"]["bytes"],
        )

    def report(self) -> StreamReport:
        """What the stream did since it was made, in this process; `str` of it is a table."""
        if self._run is not None:
            self._run.note_store()
        return self._state.counts.report(self._state.tiers)

    def write_report(self, path: str | Path) -> None:
        """Write the report as JSON."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self.report().to_json(), indent=2) + "\n", encoding="utf-8")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_run": None}
