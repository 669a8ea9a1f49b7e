"""A stream over a server that fails: right pixels or a told failure, never a wrong pixel, a hang or a lost field."""

import io
import itertools
import multiprocessing
import socket
from dataclasses import dataclass

import numpy as np
import pytest
import tifffile

from dinocell_io import FieldFiles, FieldStream, StreamError, StreamLimits
from dinocell_io.stores.retry import RetryPolicy
from dinocell_io.stores.retry_budget import RetryBudget
from dinocell_io.stores.s3_store import S3Store
from dinocell_io.testing import Fault, ObjectServer

COUNT = 8
QUICK = RetryPolicy(first_wait_seconds=0.01, connect_seconds=2.0, read_seconds=0.4, deadline_seconds=3.0)
LIMITS = StreamLimits(num_requests=4, fields_ahead=3, stall_seconds=20)
PLANES = np.random.default_rng(0).integers(0, 60000, (COUNT, 2, 40, 40)).astype(np.uint16)
DAMAGE_WITHOUT_END = {
    Fault.TRUNCATED: "network",
    Fault.RESET: "network",
    Fault.CLOSED: "network",
    Fault.STALLED: "network",
    Fault.STALLED_WITHIN: "network",
    Fault.THROTTLED: "network",
    Fault.INTERNAL_ERROR: "network",
    Fault.DENIED: "denied",
    Fault.MISSING: "missing",
    Fault.FLIPPED: "corrupt",
    Fault.ZEROED: "corrupt",
    Fault.SHORT: "corrupt",
}


@dataclass(frozen=True)
class Fields:
    store_uri: str = "s3://bucket"
    fingerprint: str = "eight"

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, row: int) -> FieldFiles:
        return FieldFiles(str(row), {"DNA": f"plate 1/{row} w0.tif", "ER": f"plate 1/{row} w1.tif"})


def objects() -> dict[str, bytes]:
    found = {}
    for row in range(COUNT):
        for channel in range(2):
            file = io.BytesIO()
            tifffile.imwrite(file, PLANES[row, channel], metadata=None)
            found[f"plate 1/{row} w{channel}.tif"] = file.getvalue()
    return found


def stream_from(server: ObjectServer, store: S3Store | None = None, **options) -> FieldStream:
    if store is None:
        store = S3Store("bucket", endpoint=server.endpoint, unsigned=True, policy=QUICK, budget=RetryBudget())
    return FieldStream(Fields(), store=store, seed=None, limits=LIMITS, **options)


def check_pixels(one) -> None:
    np.testing.assert_array_equal(np.stack([one.channels["DNA"], one.channels["ER"]]), PLANES[int(one.key)])


@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_that_passes_costs_at_most_its_own_field(fault):
    with ObjectServer(objects()) as server:
        server.fail("plate 1/3 w1.tif", fault)
        stream = stream_from(server)
        got = list(stream)
    for one in got:
        check_pixels(one)
    # what the server denies is not asked for again, and a body that drips uses up the time of its object
    lost = fault in (Fault.DENIED, Fault.MISSING, Fault.DRIP)
    assert [one.key for one in got] == ["0", "1", "2", "4" if lost else "3", "4", "5", "6", "7"]
    report = stream.report()
    assert report.num_quarantined == lost
    has_effect = fault != Fault.RANGE_IGNORED  # no range is asked for
    assert report.num_store_retries + report.num_retries + lost >= has_effect


@pytest.mark.parametrize("fault", list(DAMAGE_WITHOUT_END))
def test_a_fault_that_stays_is_told_and_the_field_replaced(fault, tmp_path):
    with ObjectServer(objects()) as server:
        server.always_fail("plate 1/3 w1.tif", fault)
        stream = stream_from(server, quarantine=tmp_path / "bad.jsonl")
        got = list(stream)
    for one in got:
        check_pixels(one)
    assert [one.key for one in got] == ["0", "1", "2", "4", "4", "5", "6", "7"]
    (kind,) = {kind for kind, _ in stream.report().failures}
    assert kind == DAMAGE_WITHOUT_END[fault] or (fault == Fault.SHORT and kind == "damaged")
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("lookups_that_fail", [2, 10**9])
def test_a_name_that_is_not_found_costs_retries_or_is_told(monkeypatch, lookups_that_fail):
    resolved, lookups = socket.getaddrinfo, itertools.count()

    def lookup(host, port, *arguments, **options):
        if host != "s3.elsewhere.invalid":
            return resolved(host, port, *arguments, **options)
        if next(lookups) < lookups_that_fail:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolved("127.0.0.1", port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with ObjectServer(objects()) as server:
        endpoint = server.endpoint.replace("127.0.0.1", "s3.elsewhere.invalid")
        store = S3Store("bucket", endpoint=endpoint, unsigned=True, policy=QUICK, budget=RetryBudget())
        stream = FieldStream(Fields(), store=store, seed=None, limits=LIMITS)
        if lookups_that_fail == 2:
            got = list(stream)
            for one in got:
                check_pixels(one)
            assert [one.key for one in got] == [str(row) for row in range(COUNT)]
            assert stream.report().num_store_retries >= 1
        else:
            with pytest.raises(StreamError, match=r"Name or service not known|NameResolutionError"):
                list(stream)
            assert {kind for kind, _ in stream.report().failures} == {"network"}


def read_keys(stream: FieldStream, answers) -> None:
    got = []
    for one in stream:
        check_pixels(one)
        got.append(one.key)
    answers.put(got)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_that_are_forked_or_spawned_read_their_parts_of_one_store(method):
    context = multiprocessing.get_context(method)
    with ObjectServer(objects()) as server:
        first = stream_from(server, num_workers=2)
        iteration = iter(first)
        next(iteration)  # the parent has threads and connections when it forks
        answers = context.Queue()
        workers = []
        for worker in range(2):
            stream = stream_from(server, num_workers=2, worker=worker, store=first.plan.store)
            workers.append(context.Process(target=read_keys, args=(stream, answers)))
        for process in workers:
            process.start()
        got = [answers.get(timeout=60) for _ in workers]
        for process in workers:
            process.join()
        iteration.close()
    assert sorted(map(sorted, got)) == [["0", "2", "4", "6"], ["1", "3", "5", "7"]]
