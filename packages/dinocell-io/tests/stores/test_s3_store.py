"""The S3 store against a server that fails on request: right bytes or a typed failure, soon."""

import multiprocessing
import pickle
import shutil
import socket
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.retry import RetryPolicy
from dinocell_io.stores.retry_budget import RetryBudget
from dinocell_io.stores.s3_store import S3Store
from dinocell_io.stores.store import AccessDenied, Corrupt, Exhausted, NotFound, ObjectInfo, Refused, Store
from dinocell_io.testing import Fault, ObjectServer

Bucket = Callable[..., S3Store]

CHUNK_BYTES = 1 << 20  # smaller than the stores' own, see the fixture
FIELD = "plate 1/images/r01c01f01p01-ch1 #1.tiff"
# more than two chunks, so that a body cut at its half has one to keep
PIXELS = np.random.default_rng(0).integers(0, 256, int(2.6 * CHUNK_BYTES), dtype=np.uint8).tobytes()
# a machine that is busy answers late: no limit is so short that it is met by accident
QUICK = RetryPolicy(
    first_wait_seconds=0.001, longest_wait_seconds=0.002, connect_seconds=5.0, read_seconds=1.0, deadline_seconds=30.0
)

PASSING = [  # faults after which another attempt gets the bytes
    Fault.CLOSED,
    Fault.STALLED,
    Fault.TRUNCATED,
    Fault.LONG,
    Fault.RESET,
    Fault.STALLED_WITHIN,
    Fault.SHORT,
    Fault.FLIPPED,
    Fault.ZEROED,
    Fault.INTERNAL_ERROR,
    Fault.THROTTLED,
]
LASTING = {  # what a fault becomes that never ends
    Fault.CLOSED: Exhausted,
    Fault.STALLED: Exhausted,
    Fault.TRUNCATED: Exhausted,
    Fault.LONG: Exhausted,
    Fault.RESET: Exhausted,
    Fault.STALLED_WITHIN: Exhausted,
    Fault.DRIP: Exhausted,
    Fault.SHORT: Corrupt,
    Fault.FLIPPED: Corrupt,
    Fault.ZEROED: Corrupt,
    Fault.INTERNAL_ERROR: Exhausted,
    Fault.THROTTLED: Exhausted,
    Fault.DENIED: AccessDenied,
    Fault.MISSING: NotFound,
}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinocell_io.stores.s3_store.CHUNK_BYTES", CHUNK_BYTES)


@pytest.fixture(scope="module", autouse=True)
def _no_credentials_of_this_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "HTTP_PROXY", "http_proxy"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_CONFIG_FILE", "/nonexistent")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_ACCESS_KEY_ID", "of-the-tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-tests")
        yield


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with ObjectServer({FIELD: PIXELS, "empty": b""}) as server:
        yield server


@pytest.fixture
def open_bucket(server: ObjectServer) -> Callable[..., S3Store]:
    def opened(**options: Any) -> S3Store:
        given = {"endpoint": server.endpoint, "policy": QUICK, "budget": RetryBudget()} | options
        store, _ = open_store("s3://bucket", **given)
        assert isinstance(store, S3Store)
        return store

    return opened


def test_it_is_a_store(server: ObjectServer, open_bucket: Bucket) -> None:
    assert isinstance(open_bucket(), Store)


@pytest.mark.parametrize("unsigned", [True, False])
def test_an_object_is_read_whole_in_part_and_measured(
    server: ObjectServer, open_bucket: Bucket, unsigned: bool
) -> None:
    store = open_bucket(unsigned=unsigned)
    assert store.get(FIELD) == PIXELS
    assert store.get("empty") == b""
    assert store.get_range(FIELD, 5, 20) == PIXELS[5:20]
    assert store.get_range(FIELD, len(PIXELS) - 3, len(PIXELS)) == PIXELS[-3:]
    assert store.size(FIELD) == len(PIXELS)


def test_an_object_is_written(server: ObjectServer, open_bucket: Bucket) -> None:
    open_bucket().put("new/a b.tif", b"pixels")
    assert server.objects["new/a b.tif"] == b"pixels"
    assert open_bucket().get("new/a b.tif") == b"pixels"


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_costs_an_attempt_and_no_byte(
    server: ObjectServer, open_bucket: Bucket, fault: Fault
) -> None:
    server.fail(FIELD, fault)
    store = open_bucket()
    assert store.get(FIELD) == PIXELS
    assert 1 <= store.counts.retries <= 2
    assert store.counts.requests == 1


@pytest.mark.parametrize("fault", LASTING)
def test_a_fault_that_lasts_is_a_typed_failure_in_time(server: ObjectServer, open_bucket: Bucket, fault: Fault) -> None:
    server.always_fail(FIELD, fault)
    policy = RetryPolicy(
        attempts=3, first_wait_seconds=0.001, connect_seconds=5.0, read_seconds=0.6, deadline_seconds=2.0,
        slowest_bytes_per_second=1 << 30,
    )  # fmt: skip
    started = time.monotonic()
    with pytest.raises(LASTING[fault]) as failure:
        open_bucket(policy=policy).get(FIELD)
    assert time.monotonic() - started < 30.0  # not a speed: a hang
    assert failure.value.key == f"s3://bucket/{FIELD}"
    assert pickle.loads(pickle.dumps(failure.value)).cause == failure.value.cause


@pytest.mark.parametrize("fault", [Fault.TRUNCATED, Fault.STALLED_WITHIN])
def test_a_body_that_breaks_is_continued_where_it_broke(
    server: ObjectServer, open_bucket: Bucket, fault: Fault
) -> None:
    server.fail(FIELD, fault)
    assert open_bucket().get(FIELD) == PIXELS
    first, second = (request.range for request in server.requests)
    assert first is None
    assert second is not None
    assert CHUNK_BYTES <= int(second.removeprefix("bytes=").removesuffix("-")) <= len(PIXELS) // 2


def test_a_plane_that_is_reset_starts_again_in_one_piece(
    server: ObjectServer, open_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinocell_io.stores.s3_store.CHUNK_BYTES", 4 << 20)
    server.fail(FIELD, Fault.RESET)
    assert open_bucket().get(FIELD) == PIXELS
    assert [request.range for request in server.requests] == [None, None]


def test_a_body_that_breaks_twice_is_continued_twice(server: ObjectServer, open_bucket: Bucket) -> None:
    server.fail(FIELD, Fault.TRUNCATED, Fault.THROTTLED, Fault.RESET)
    store = open_bucket()
    assert store.get(FIELD) == PIXELS
    assert store.counts.retries == 3


def test_an_object_that_changes_while_it_is_read_is_read_again(server: ObjectServer, open_bucket: Bucket) -> None:
    server.fail(FIELD, Fault.TRUNCATED)
    changed = bytes(len(PIXELS))
    answer = server._get

    def changing(key: str, headers: Any, fault: Fault | None) -> Any:
        if "range" in headers:
            server.objects[FIELD] = changed
        return answer(key, headers, fault)

    server._get = changing  # type: ignore[method-assign]
    assert open_bucket().get(FIELD) == changed


@pytest.mark.parametrize("fault", [fault for fault in PASSING if fault not in (Fault.FLIPPED, Fault.ZEROED)])
def test_a_range_survives_what_a_whole_object_survives(server: ObjectServer, open_bucket: Bucket, fault: Fault) -> None:
    server.fail(FIELD, fault)
    assert open_bucket().get_range(FIELD, 10, 10 + 2 * CHUNK_BYTES) == PIXELS[10 : 10 + 2 * CHUNK_BYTES]


def test_a_range_that_is_answered_by_the_whole_object_is_never_taken_for_the_range(
    server: ObjectServer, open_bucket: Bucket
) -> None:
    server.fail(FIELD, Fault.RANGE_IGNORED)
    assert open_bucket().get_range(FIELD, 10, 20) == PIXELS[10:20]
    server.always_fail(FIELD, Fault.RANGE_IGNORED)
    with pytest.raises(Exhausted, match="the server ignores ranges"):
        open_bucket().get_range(FIELD, 10, 20)


@pytest.mark.parametrize("fault", [Fault.FLIPPED, Fault.ZEROED])
def test_wrong_bytes_of_the_right_length_pass_only_when_the_user_says_so(
    server: ObjectServer, open_bucket: Bucket, fault: Fault
) -> None:
    server.always_fail(FIELD, fault)
    with pytest.raises(Corrupt, match="differ from the server's MD5"):
        open_bucket(verify="etag").get(FIELD)
    assert open_bucket(verify="length").get(FIELD) != PIXELS


def test_an_etag_that_is_no_md5_is_not_compared(server: ObjectServer, open_bucket: Bucket) -> None:
    server._etag = lambda key: '"0123456789abcdef0123456789abcdef-3"'  # type: ignore[method-assign]
    assert open_bucket().get(FIELD) == PIXELS


@pytest.mark.parametrize("fault", [Fault.DENIED, Fault.MISSING])
def test_what_cannot_pass_is_asked_once(server: ObjectServer, open_bucket: Bucket, fault: Fault) -> None:
    server.always_fail(FIELD, fault)
    with pytest.raises((AccessDenied, NotFound)):
        open_bucket().get(FIELD)
    with pytest.raises((AccessDenied, NotFound)):
        open_bucket().size(FIELD)
    assert len(server.requests) == 2


def test_a_denial_says_whether_credentials_were_used(server: ObjectServer, open_bucket: Bucket) -> None:
    server.always_fail(FIELD, Fault.DENIED)
    with pytest.raises(AccessDenied, match=r"403 AccessDenied; it was asked without credentials.*AWS_PROFILE"):
        open_bucket(unsigned=True).get(FIELD)
    with pytest.raises(AccessDenied, match="with the credentials that were found"):
        open_bucket().get(FIELD)


def test_without_credentials_a_bucket_is_asked_unsigned(
    server: ObjectServer, open_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = open_bucket()
    assert store.get(FIELD) == PIXELS
    assert store._client().unsigned
    with pytest.raises(AccessDenied, match="Unable to locate credentials"):
        open_bucket(unsigned=False).get(FIELD)


def test_a_missing_bucket_and_key_are_not_found(server: ObjectServer, open_bucket: Bucket) -> None:
    with pytest.raises(NotFound, match=r"s3://bucket/none: 404 NoSuchKey: there is no such object; check the key"):
        open_bucket().get("none")
    with pytest.raises(NotFound, match="404 NoSuchBucket: there is no such bucket; check its name, and the endpoint"):
        S3Store("other", endpoint=server.endpoint, policy=QUICK, budget=RetryBudget()).get(FIELD)


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 3), (4, 2), (0, len(PIXELS) + 1), (len(PIXELS) + 5, 10**9)])
def test_a_range_outside_the_object_is_refused(
    server: ObjectServer, open_bucket: Bucket, start: int, stop: int
) -> None:
    with pytest.raises(Refused, match=r"expected 0 <= start < stop|inside the object"):
        open_bucket().get_range(FIELD, start, stop)


@pytest.mark.parametrize("fault", [Fault.CLOSED, Fault.THROTTLED, Fault.INTERNAL_ERROR, Fault.STALLED])
def test_sizes_and_listings_are_tried_again_too(server: ObjectServer, open_bucket: Bucket, fault: Fault) -> None:
    server.fail(FIELD, fault)
    assert open_bucket().size(FIELD) == len(PIXELS)


@pytest.mark.parametrize("fault", [Fault.CLOSED, Fault.TRUNCATED, Fault.RESET])
def test_a_listing_that_breaks_is_tried_again(server: ObjectServer, open_bucket: Bucket, fault: Fault) -> None:
    server.fail("", fault)
    store = open_bucket()
    assert [info.key for info in store.list("")] == ["empty", FIELD]
    assert store.counts.retries == 1


def test_a_listing_of_many_pages_has_every_key_once_in_order(server: ObjectServer, open_bucket: Bucket) -> None:
    server.page_size = 3
    keys = sorted((f"p/{letter} {n}&.tif" for letter in "ab" for n in range(7)), key=str.encode)
    server.objects = dict.fromkeys(reversed(keys), b"12")
    store = open_bucket()
    assert [info.key for info in store.list("p/")] == keys
    assert [info.key for info in store.list("p/b")] == keys[7:]
    assert next(iter(store.list("p/"))).size == 2
    assert list(store.list("nothing/")) == []


def test_a_delimiter_gives_each_folder_once(server: ObjectServer, open_bucket: Bucket) -> None:
    server.objects = dict.fromkeys(("p/1/a.tif", "p/1/b.tif", "p/2/a.tif", "p/index.xml"), b"x")
    found = list(open_bucket().list("p/", delimiter="/"))
    assert [info.key for info in found] == ["p/1/", "p/2/", "p/index.xml"]
    assert found[0] == ObjectInfo("p/1/", 0, None)


def test_an_unknown_host_is_a_typed_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    store = S3Store("bucket", endpoint="http://s3.nowhere.invalid", policy=QUICK, budget=RetryBudget())
    with pytest.raises(
        Exhausted, match=r"after 4 attempts: NameResolutionError.*; check the endpoint, and this machine's network"
    ):
        store.get(FIELD)
    with pytest.raises(Exhausted, match="after 4 attempts"):
        store.size(FIELD)


def test_a_server_that_is_not_there_is_a_typed_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    store = S3Store("bucket", endpoint=f"http://127.0.0.1:{port}", policy=QUICK, budget=RetryBudget())
    with pytest.raises(Exhausted, match="refused"):
        store.get(FIELD)


def test_in_an_outage_a_spent_budget_ends_the_retries(server: ObjectServer, open_bucket: Bucket) -> None:
    server.always_fail(FIELD, Fault.THROTTLED)
    store = open_bucket(budget=RetryBudget(share=0.0, reserve=5, refill_seconds=1e9))
    for _ in range(10):
        with pytest.raises(Exhausted):
            store.get(FIELD)
    assert len(server.requests) == 10 + 5
    with pytest.raises(Exhausted, match="503 SlowDown; no more retries, as too many requests of this process fail"):
        store.get(FIELD)


def test_many_threads_share_a_store_under_faults(server: ObjectServer, open_bucket: Bucket) -> None:
    server.objects = {f"{n}.tif": PIXELS[n : n + 50_000] for n in range(60)}
    for n in range(0, 60, 3):
        server.fail(f"{n}.tif", PASSING[n % len(PASSING)])
    store = open_bucket(policy=QUICK)
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda n: store.get(f"{n}.tif"), range(60)))
    assert found == [PIXELS[n : n + 50_000] for n in range(60)]


def test_a_store_passes_to_another_process_and_survives_a_fork(server: ObjectServer) -> None:
    store = S3Store("bucket", endpoint=server.endpoint, policy=QUICK, budget=RetryBudget())
    assert store.get(FIELD) == PIXELS  # its connection is open
    assert pickle.loads(pickle.dumps(store)).get(FIELD) == PIXELS
    with store._lock:  # as if another thread held it
        assert in_a_forked_child(lambda: store.get(FIELD) == PIXELS)


def in_a_forked_child(call: Callable[[], Any]) -> Any:
    reader, writer = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=lambda: writer.send(call()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of what is tested: threads and a fork
        child.start()
    assert reader.poll(60), "the child gave no answer"
    child.join()
    return reader.recv()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    names = ["-subj", "/CN=loopback"]
    for extension in ("subjectAltName=IP:127.0.0.1", "basicConstraints=critical,CA:FALSE"):
        names += ["-addext", extension]
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", chain]
    subprocess.run(["openssl", "req", "-x509", "-days", "2", *made, *names], check=True, capture_output=True)
    return chain, key


def test_a_server_of_ones_own_authority_is_trusted_when_named(certificate: tuple[Path, Path]) -> None:
    with ObjectServer({FIELD: PIXELS}, certificate=certificate) as server:
        asked: dict[str, Any] = {"endpoint": server.endpoint, "policy": QUICK, "budget": RetryBudget()}
        server.fail(FIELD, Fault.RESET, Fault.TRUNCATED)
        trusting, _ = open_store("s3://bucket", ca_file=str(certificate[0]), **asked)
        assert trusting.get(FIELD) == PIXELS
        wary, _ = open_store("s3://bucket", **asked)
        for ask in (wary.get, wary.size):
            with pytest.raises(Refused, match=r"not trusted.*ca_file or AWS_CA_BUNDLE"):
                ask(FIELD)


def test_a_bucket_of_another_region_is_asked_there(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = server._get

    def elsewhere(key: str, headers: Any, fault: Fault | None) -> Any:
        if len(server.requests) > 1:
            return answer(key, headers, fault)
        moved = server._put("unused", b"", {})
        return replace(moved, status=301, headers={"x-amz-bucket-region": "eu-west-1"})

    monkeypatch.setattr(server, "_get", elsewhere)
    store = S3Store("bucket", endpoint=server.endpoint, region="us-east-1", policy=QUICK, budget=RetryBudget())
    assert store.get(FIELD) == PIXELS
    assert store._client().region == "eu-west-1"


def test_stores_that_are_alike_share_their_connections_until_the_login_changes(
    server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (S3Store("bucket", endpoint=server.endpoint) for _ in range(2))
    assert first._client() is second._client()
    assert S3Store("other", endpoint=server.endpoint)._client() is not first._client()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    assert S3Store("bucket", endpoint=server.endpoint)._client() is not first._client()


def test_an_address_opens_the_bucket_that_holds_it(server: ObjectServer) -> None:
    store, key = open_store(f"s3://bucket/{FIELD}", endpoint=server.endpoint, unsigned=True)
    assert store.get(key) == PIXELS


def test_an_unknown_profile_is_a_typed_failure(server: ObjectServer, open_bucket: Bucket) -> None:
    store = open_bucket(profile="nobody")
    for ask in (store.get, store.size):
        with pytest.raises(Refused, match=r"s3://bucket/: The config profile \(nobody\) could not be found"):
            ask(FIELD)
    assert server.requests == []


def test_failed_requests_are_counted_too(server: ObjectServer) -> None:
    server.always_fail(FIELD, Fault.THROTTLED)
    store = S3Store("bucket", endpoint=server.endpoint, policy=QUICK, budget=RetryBudget())
    for ask in (store.get, store.size):
        with pytest.raises(Exhausted):
            ask(FIELD)
    assert (store.counts.requests, store.counts.retries) == (2, 6)


def test_no_key_is_refused_before_a_server_answers_with_a_listing(server: ObjectServer, open_bucket: Bucket) -> None:
    store = open_bucket()
    asks: list[Any] = [store.get, store.size, lambda key: store.get_range(key, 0, 4), lambda key: store.put(key, b"x")]
    for ask in asks:
        with pytest.raises(Refused, match=r"s3://bucket/: no key was given; expected s3://bucket/key"):
            ask("")
    assert server.requests == []


def test_names_that_no_server_knows_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"'my bucket' is not a name of a bucket; expected letters, digits"):
        open_store("s3://my bucket/a.tif")
    S3Store("arn:aws:s3:eu-west-1:123456789012:accesspoint/mine")
    for endpoint in ("localhost:9000", "//host", "ftp://host", "http://"):
        with pytest.raises(ValueError, match=rf"endpoint '{endpoint}' is not an address; expected http://host:port"):
            open_store("s3://bucket/a.tif", endpoint=endpoint)


def test_unknown_ways_to_verify_are_refused() -> None:
    with pytest.raises(ValueError, match=r"verify 'md5' is unknown; choose auto, etag or length"):
        S3Store("bucket", verify="md5")


def test_a_file_is_put_in_parts_that_are_tried_again(
    open_bucket: Bucket, server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinocell_io.stores.s3_store.PART_BYTES", 1 << 20)
    (tmp_path / "large").write_bytes(PIXELS)
    server.fail("large", Fault.INTERNAL_ERROR)
    open_bucket().put_file("large", tmp_path / "large")
    assert server.objects["large"] == PIXELS
    assert not server.uploads.begun


def test_a_file_whose_parts_cannot_be_put_leaves_nothing(
    open_bucket: Bucket, server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinocell_io.stores.s3_store.PART_BYTES", 1 << 20)
    (tmp_path / "large").write_bytes(PIXELS)
    fine = server.uploads.put
    monkeypatch.setattr(
        server.uploads, "put", lambda query, *rest: None if query["partNumber"] == ["3"] else fine(query, *rest)
    )
    with pytest.raises(NotFound, match="NoSuchUpload"):
        open_bucket().put_file("large", tmp_path / "large")
    assert "large" not in server.objects
    assert not server.uploads.begun
