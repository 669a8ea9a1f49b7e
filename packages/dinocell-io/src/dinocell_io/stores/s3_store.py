"""A bucket of S3, or of any server that speaks it, as a store."""

import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import md5
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

from dinocell_io.stores.download import Body, Span, StartAgain, download
from dinocell_io.stores.overdue import OVERDUE
from dinocell_io.stores.retry import Deadline, RetryPolicy, Transient, with_retries
from dinocell_io.stores.retry_budget import RetryBudget, process_budget
from dinocell_io.stores.s3_client import S3Client, S3Place, connected_client, failure_of_status, translated
from dinocell_io.stores.store import ObjectInfo, Refused, StoreError
from dinocell_io.stores.store_counts import StoreCounts
from dinocell_io.system.fork_safe import renew_after_fork

VERIFY = ("auto", "etag", "length")
Result = TypeVar("Result")

# At most this much is fetched again after a reset. Planes of screens (2 to 3 MB) are read in one piece: joining them
# from several pieces takes a tenth of the processor time of fetching them.
CHUNK_BYTES = 4 << 20
PART_BYTES = 64 << 20  # of what is put in parts, of which there may be 10,000


class S3Store:
    """The objects of `bucket`, read with retries of our own around the whole body.

    A body that breaks off is continued with a Range request; a body that stalls or drips ends at the deadline of
    `policy`; all stores of a process share one `budget` of retries, unless another is given. `verify` says
    what a whole object is compared with: "length"; "etag", its length and its MD5 where the etag is one; "auto",
    the MD5 only over plain HTTP (TLS protects what it carries). A range is compared by length alone.

    The connection is made at the first request of each process, so a store may be pickled and forked.
    Raises ValueError for a `verify` that it does not know.
    """

    def __init__(
        self,
        bucket: str,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        unsigned: bool | None = None,
        profile: str | None = None,
        ca_file: str | None = None,
        verify: str = "auto",
        policy: RetryPolicy | None = None,
        budget: RetryBudget | None = None,
        connections: int = 64,
    ) -> None:
        if verify not in VERIFY:
            raise ValueError(f"verify {verify!r} is unknown; choose auto, etag or length")
        self.place = S3Place(bucket, endpoint, region, unsigned, profile, ca_file)
        self.verify = verify
        self.policy = policy or RetryPolicy()
        self.budget = budget or process_budget()
        self.connections = connections
        self.counts = StoreCounts()
        self._region: str | None = None
        self._connected: S3Client | None = None
        self._lock = threading.Lock()
        renew_after_fork(self)

    @property
    def uri(self) -> str:
        return f"s3://{self.place.bucket}" + (f"?endpoint={self.place.endpoint}" if self.place.endpoint else "")

    def __repr__(self) -> str:
        return f"S3Store({self.uri})"

    def get(self, key: str) -> bytes:
        return self._download(key, Span())

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        if not 0 <= start < stop:
            raise Refused(self.place.address(key), f"bytes {start} to {stop} were asked; expected 0 <= start < stop")
        return self._download(key, Span(start, stop))

    def size(self, key: str) -> int:
        self.place.object_address(key)
        answer = self._tried(key, lambda boto: boto.head_object(Bucket=self.place.bucket, Key=key))
        return int(answer["ContentLength"])

    def list(self, prefix: str, *, delimiter: str | None = None) -> Iterator[ObjectInfo]:
        asked = {"Bucket": self.place.bucket, "Prefix": prefix} | ({"Delimiter": delimiter} if delimiter else {})
        while True:
            page = self._tried(prefix, lambda boto: boto.list_objects_v2(**asked))
            found = [ObjectInfo(line["Key"], line["Size"], line.get("ETag")) for line in page.get("Contents", ())]
            found += [ObjectInfo(line["Prefix"], 0, None) for line in page.get("CommonPrefixes", ())]
            yield from sorted(found, key=lambda info: info.key.encode())
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def put(self, key: str, data: bytes) -> None:
        self.place.object_address(key)
        asked = {"Bucket": self.place.bucket, "Key": key, "Body": data, "ContentMD5": _checksum(data)}
        self._tried(key, lambda boto: boto.put_object(**asked))

    def put_file(self, key: str, path: Path) -> None:
        """Write a file as `put` writes bytes, holding one part of it at a time; S3 takes no body above 5 GB."""
        if path.stat().st_size <= PART_BYTES:
            self.put(key, path.read_bytes())
            return
        self.place.object_address(key)
        upload = {"Bucket": self.place.bucket, "Key": key}
        upload["UploadId"] = self._tried(key, lambda boto: boto.create_multipart_upload(**upload))["UploadId"]
        parts: list[dict[str, Any]] = []
        try:
            with path.open("rb") as file:
                for number, part in enumerate(iter(lambda: file.read(PART_BYTES), b""), 1):
                    asked = {"PartNumber": number, "Body": part, "ContentMD5": _checksum(part), **upload}
                    answer = self._tried(key, partial(_put_part, asked))
                    parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            whole = {"MultipartUpload": {"Parts": parts}, **upload}
            self._tried(key, lambda boto: boto.complete_multipart_upload(**whole))
        except BaseException:
            with suppress(StoreError):  # the first error is the one to report
                self._tried(key, lambda boto: boto.abort_multipart_upload(**upload))
            raise

    def _tried(self, key: str, call: Callable[[Any], Result]) -> Result:
        """The answer of one short request of boto3, with our retries."""
        address = self.place.address(key)

        def attempt(deadline: Deadline) -> Result:
            client = self._client()
            with translated(address, unsigned=client.unsigned):
                return call(client.boto)

        try:
            answer, attempts = with_retries(attempt, key=address, policy=self.policy, budget=self.budget)
        except StoreError as failure:
            self.counts.note(failure.attempts)
            raise
        self.counts.note(attempts)
        return answer

    def _download(self, key: str, span: Span) -> bytes:
        address = self.place.object_address(key)
        client = self._client()
        check_md5 = self.verify == "etag" or (self.verify == "auto" and client.boto.meta.endpoint_url[:5] == "http:")
        return download(
            partial(self._opened, key),
            address,
            span,
            policy=self.policy,
            budget=self.budget,
            check_md5=check_md5,
            note=self.counts.note,
        )

    @contextmanager
    def _opened(self, key: str, span: Span, etag: str | None, deadline: Deadline) -> Iterator[Body]:
        import urllib3

        client = self._client()
        address = self.place.address(key)
        headers = {} if etag is None else {"If-Match": etag}
        if span != Span():
            headers["Range"] = f"bytes={span.start}-" + ("" if span.stop is None else str(span.stop - 1))
        read_seconds = max(0.001, min(self.policy.read_seconds, deadline.left()))
        with translated(address, unsigned=client.unsigned):
            response = client.pool.request(
                "GET",
                client.url(key),
                headers=headers,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=self.policy.connect_seconds, read=read_seconds),
            )
            whole = False
            try:
                with OVERDUE.watch(response, deadline):
                    if response.status not in (200, 206):
                        self._raise(address, response, resumed=etag is not None, client=client)
                    yield _body(address, response, span)
                    whole = response.length_remaining in (0, None)
            finally:
                if whole:
                    response.release_conn()
                else:
                    response.close()  # a connection in the middle of a body serves nobody

    def _raise(self, address: str, response: Any, *, resumed: bool, client: S3Client) -> None:
        code = _error_code(response.read(4096))
        if response.status in (412, 416) and resumed:
            raise StartAgain(f"{response.status} {code}: the object is not what it was")
        region = response.headers.get("x-amz-bucket-region")
        if region and region != client.region:
            with self._lock:  # the next attempt connects to the bucket's own region
                self._region, self._connected = region, None
            raise Transient(f"the bucket is in {region}, not in {client.region}")
        raise failure_of_status(address, response.status, code, unsigned=client.unsigned)

    def _client(self) -> S3Client:
        with self._lock:
            if self._connected is None:
                with translated(self.place.address("")):
                    self._connected = connected_client(
                        self.place, policy=self.policy, connections=self.connections, region=self._region
                    )
            return self._connected

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._connected = None

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_connected")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.after_fork()
        renew_after_fork(self)


def _put_part(asked: Mapping[str, Any], boto: Any) -> Any:
    return boto.upload_part(**asked)


def _checksum(data: bytes) -> str:
    """With it the server refuses a body that arrives as another one."""
    return b64encode(md5(data, usedforsecurity=False).digest()).decode()


def _body(address: str, response: Any, span: Span) -> Body:
    length = response.headers.get("Content-Length")
    if length is None:
        raise Refused(address, "the answer has no Content-Length, so a body that was cut could not be recognised")
    start, size = 0, int(length)
    if response.status == 206:
        start, size = _content_range(address, response.headers.get("Content-Range", ""))
    if span.stop is not None and span.stop > size:
        raise Refused(address, f"{span} requested of {size} bytes; expected a range inside the object")
    encrypted = response.headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    customer_key = "x-amz-server-side-encryption-customer-algorithm" in response.headers
    return Body(
        start=start,
        size=size,
        etag=response.headers.get("ETag"),
        is_md5=not encrypted and not customer_key,
        chunks=iter(lambda: response.read(CHUNK_BYTES), b""),
    )


def _content_range(address: str, header: str) -> tuple[int, int]:
    """First byte and size of "bytes 5-9/20"."""
    span, _, size = header.removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    if not (first.isdigit() and size.isdigit()):
        raise Refused(address, f"the answer's Content-Range is {header!r}; expected bytes FIRST-LAST/SIZE")
    return int(first), int(size)


def _error_code(body: bytes) -> str:
    try:
        return ElementTree.fromstring(body).findtext("Code") or ""
    except ElementTree.ParseError:  # not S3's words: a proxy's page
        return ""
