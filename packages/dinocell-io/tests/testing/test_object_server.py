"""The server that the store tests trust: what it serves, and that its faults are the ones they are named after."""

import subprocess
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest

from dinocell_io.testing import Fault, ObjectServer, Request

DATA = bytes(range(256)) * 40
STATUS = {Fault.INTERNAL_ERROR: 500, Fault.THROTTLED: 503, Fault.DENIED: 403, Fault.MISSING: 404}
BROKEN = [Fault.CLOSED, Fault.STALLED, Fault.TRUNCATED, Fault.LONG, Fault.RESET, Fault.STALLED_WITHIN]


def fetched(server: ObjectServer, **headers: str) -> bytes:
    asked = urllib.request.Request(f"{server.endpoint}/bucket/a%20b", headers=headers)
    with urllib.request.urlopen(asked, timeout=0.3) as answer:
        return bytes(answer.read())


def test_it_serves_objects_and_ranges_and_notes_the_requests() -> None:
    with ObjectServer({"a b": DATA}) as server:
        assert fetched(server) == DATA
        assert fetched(server, Range="bytes=5-9") == DATA[5:10]
        assert server.requests == [Request("GET", "a b"), Request("GET", "a b", "bytes=5-9")]


def test_faults_are_met_one_by_one_and_then_none() -> None:
    with ObjectServer({"a b": DATA}) as server:
        server.fail("a b", Fault.FLIPPED, Fault.ZEROED, Fault.SHORT, Fault.RANGE_IGNORED)
        flipped = fetched(server)
        assert sum(left != right for left, right in zip(flipped, DATA, strict=True)) == 1
        assert fetched(server) == bytes(len(DATA))
        short = fetched(server)
        assert len(short) < len(DATA)
        assert DATA.startswith(short)
        assert fetched(server, Range="bytes=5-9") == DATA
        assert fetched(server) == DATA


@pytest.mark.parametrize("fault", STATUS)
def test_a_status_is_answered(fault: Fault) -> None:
    with ObjectServer({"a b": DATA}) as server:
        server.always_fail("a b", fault)
        for _ in range(2):
            with pytest.raises(HTTPError) as answer:
                fetched(server)
            assert answer.value.code == STATUS[fault]
            answer.value.close()


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_answer_breaks(fault: Fault) -> None:
    with ObjectServer({"a b": DATA}) as server:
        server.fail("a b", fault)
        with pytest.raises((HTTPException, URLError, OSError)):
            fetched(server)
        assert fetched(server) == DATA


def test_a_folder_is_served_by_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "plate").mkdir()
    (tmp_path / "plate" / "a.tif").write_bytes(DATA)
    command = [sys.executable, "-m", "dinocell_io.testing", str(tmp_path), "--latency-ms", "1", "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        with urllib.request.urlopen(f"{server.stdout.readline().strip()}/bucket/plate/a.tif") as answer:
            assert answer.read() == DATA
        server.stdin.close()
        assert float(server.stdout.read()) >= 0.0
