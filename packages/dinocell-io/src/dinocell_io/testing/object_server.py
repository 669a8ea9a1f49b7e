"""A small S3 server on loopback: objects in memory, a latency, and faults on request."""

import random
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import md5
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

from .s3_listing import error_body, listing_body
from .uploads import Uploads


class Fault(StrEnum):
    """What can go wrong with one answer."""

    CLOSED = "the connection is closed before an answer"
    STALLED = "nothing is answered"
    TRUNCATED = "the body ends at its half, and the connection"
    LONG = "the announced length is larger than the body"
    RESET = "the connection is reset at the body's half"
    STALLED_WITHIN = "the body stops at its half, the connection stays"
    DRIP = "the second half of the body comes byte by byte and never ends"
    SHORT = "length and body are both too short, in agreement"
    FLIPPED = "one bit of the body is another one"
    ZEROED = "the body is zeros"
    RANGE_IGNORED = "a range is answered by the whole object"
    INTERNAL_ERROR = "500 InternalError"
    THROTTLED = "503 SlowDown"
    DENIED = "403 AccessDenied"
    MISSING = "404 NoSuchKey"


_STATUS_FAULTS = {
    Fault.INTERNAL_ERROR: (500, "InternalError"),
    Fault.THROTTLED: (503, "SlowDown"),
    Fault.DENIED: (403, "AccessDenied"),
    Fault.MISSING: (404, "NoSuchKey"),
}
_DRIP_SECONDS = 0.05


@dataclass(frozen=True)
class Request:
    """One request as the server saw it; `range` is the header's text."""

    method: str
    key: str
    range: str | None = None


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes | memoryview
    headers: Mapping[str, str]


class ObjectServer:
    """Serves `objects` (key -> bytes) of one bucket at `endpoint` while its `with` block lasts.

    Speaks the part of S3 that stores need: GET (with Range and If-Match), HEAD, PUT (in parts too), ListObjectsV2; path
    style, a thread per connection. Signatures are not checked, so it says nothing about credentials. An answer waits
    for a latency drawn from `latency_seconds`, and a share `slow_share` of the answers for `slow_seconds` more.
    `certificate` (chain and key file) makes it speak TLS. `requests` lists what was asked, in order.
    """

    def __init__(
        self,
        objects: Mapping[str, bytes] | None = None,
        *,
        bucket: str = "bucket",
        latency_seconds: tuple[float, float] = (0.0, 0.0),
        slow_share: float = 0.0,
        slow_seconds: float = 0.4,
        certificate: tuple[str | Path, str | Path] | None = None,
        page_size: int = 1000,
        port: int = 0,
    ) -> None:
        self.objects = dict(objects or {})
        self.bucket = bucket
        self.latency_seconds = latency_seconds
        self.slow_share = slow_share
        self.slow_seconds = slow_seconds
        self.page_size = page_size
        self.requests: list[Request] = []
        self.uploads = Uploads()
        self._faults: dict[str, deque[Fault]] = {}
        self._always: dict[str, Fault] = {}
        self._etags: dict[str, tuple[bytes, str]] = {}
        self._random = random.Random(0)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._tls = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self._acceptor = threading.Thread(target=self._accept, name="object-server", daemon=True)

    @property
    def endpoint(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def fail(self, key: str, *faults: Fault) -> None:
        """Let the next requests for `key` meet these faults, one each, in this order."""
        with self._lock:
            self._faults.setdefault(key, deque()).extend(faults)

    def always_fail(self, key: str, fault: Fault) -> None:
        """Let every request for `key` meet this fault."""
        with self._lock:
            self._always[key] = fault

    def __enter__(self) -> "ObjectServer":
        self._acceptor.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._closing.set()
        # close() alone does not wake a thread that waits in accept() or recv()
        _shut(self._listener)
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _shut(connection)
        self._acceptor.join()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        channel = connection
        try:
            if self._tls is not None:
                channel = self._tls.wrap_socket(connection, server_side=True)
            with channel.makefile("rb") as lines:
                while not self._closing.is_set() and self._answer(channel, lines):
                    pass
        except OSError:  # the client is gone
            pass
        finally:
            with self._lock:
                self._connections.discard(connection)
            channel.close()

    def _answer(self, channel: socket.socket, lines: BinaryIO) -> bool:
        """Read one request and answer it; False if the connection is over."""
        line = lines.readline()
        if not line.strip():
            return False
        method, target, _ = line.decode("latin-1").split(" ", 2)
        headers = {}
        while (line := lines.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            channel.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = lines.read(int(headers.get("content-length", 0)))
        parts = urlsplit(target)
        query = parse_qs(parts.query, keep_blank_values=True)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        with self._lock:
            self.requests.append(Request(method, key, headers.get("range")))
            fault = self._always.get(key)
            if fault is None and self._faults.get(key):
                fault = self._faults[key].popleft()
            wait = self._random.uniform(*self.latency_seconds)
            wait += self.slow_seconds if self._random.random() < self.slow_share else 0.0
        time.sleep(wait)
        if bucket != self.bucket:
            answer = _error(404, "NoSuchBucket")
        elif not key and method == "GET":
            answer = self._list(query)
        elif method == "PUT" and fault in _STATUS_FAULTS:
            answer = _error(*_STATUS_FAULTS[fault])
        elif "uploads" in query or "uploadId" in query:
            answer = self._upload(method, key, query, body)
        elif method == "PUT":
            answer = self._put(key, body, headers)
        else:
            answer = self._get(key, headers, fault)
        return self._send(channel, answer, fault, with_body=method != "HEAD")

    def _list(self, query: Mapping[str, list[str]]) -> _Answer:
        body = listing_body(self.objects, query, bucket=self.bucket, page_size=self.page_size, etag=self._etag)
        return _Answer(200, body, {"Content-Type": "application/xml"})

    def _put(self, key: str, body: bytes, headers: Mapping[str, str]) -> _Answer:
        if "chunked" in headers.get("content-encoding", ""):
            return _error(501, "NotImplemented")
        self.objects[key] = body
        return _Answer(200, b"", {"ETag": self._etag(key)})

    def _upload(self, method: str, key: str, query: Mapping[str, list[str]], body: bytes) -> _Answer:
        if "uploads" in query:
            return _Answer(*self.uploads.begin())
        if method == "PUT":
            put = self.uploads.put(query, body, f'"{md5(body, usedforsecurity=False).hexdigest()}"')
            return _Answer(*put) if put else _error(404, "NoSuchUpload")
        whole = self.uploads.complete(query["uploadId"][0], body)
        if whole is None:
            return _error(404, "NoSuchUpload")
        if method == "DELETE":
            return _Answer(204, b"", {})
        self.objects[key] = whole
        return _Answer(200, b"<CompleteMultipartUploadResult></CompleteMultipartUploadResult>", {})

    def _get(self, key: str, headers: Mapping[str, str], fault: Fault | None) -> _Answer:
        if fault in _STATUS_FAULTS:
            return _error(*_STATUS_FAULTS[fault])
        if key not in self.objects:
            return _error(404, "NoSuchKey")
        data = memoryview(self.objects[key])
        found = {"ETag": self._etag(key), "Content-Type": "binary/octet-stream", "Accept-Ranges": "bytes"}
        if "if-match" in headers and headers["if-match"] != found["ETag"]:
            return _error(412, "PreconditionFailed")
        if "range" not in headers or fault is Fault.RANGE_IGNORED:
            return _Answer(200, data, found)
        first, _, last = headers["range"].removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1 if last else len(data), len(data))
        if start >= len(data):
            return _error(416, "InvalidRange")
        return _Answer(206, data[start:stop], found | {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})

    def _etag(self, key: str) -> str:
        data = self.objects[key]
        known = self._etags.get(key)
        if known is None or known[0] is not data:
            known = self._etags[key] = (data, f'"{md5(data, usedforsecurity=False).hexdigest()}"')
        return known[1]

    def _send(self, channel: socket.socket, answer: _Answer, fault: Fault | None, *, with_body: bool) -> bool:
        if fault is Fault.CLOSED:
            return False
        if fault is Fault.STALLED:
            self._closing.wait()
            return False
        body = _damaged(answer.body, fault) if answer.status < 300 else answer.body
        length = len(body) + (1000 if fault is Fault.LONG else 0)
        head = [f"HTTP/1.1 {answer.status} -", f"Content-Length: {length}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        channel.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
        if not with_body:
            return True
        half = memoryview(body)[: len(body) // 2]
        match fault:
            case Fault.TRUNCATED:
                channel.sendall(half)
                return False
            case Fault.LONG:
                channel.sendall(body)
                return False
            case Fault.RESET:
                channel.sendall(half)
                time.sleep(_DRIP_SECONDS)  # so that the half arrives: a reset discards what is under way
                channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            case Fault.STALLED_WITHIN:
                channel.sendall(half)
                self._closing.wait()
                return False
            case Fault.DRIP:
                channel.sendall(half)
                for index in range(len(half), len(body)):
                    channel.sendall(body[index : index + 1])
                    if self._closing.wait(_DRIP_SECONDS):
                        return False
            case _:
                channel.sendall(body)
        return True


def _damaged(body: bytes | memoryview, fault: Fault | None) -> bytes | memoryview:
    if fault is Fault.SHORT:
        return body[: len(body) - max(1, len(body) // 10)]
    if fault is Fault.ZEROED:
        return bytes(len(body))
    if fault is Fault.FLIPPED:
        damaged = bytearray(body)
        damaged[len(body) // 3] ^= 0x10
        return bytes(damaged)
    return body


def _error(status: int, code: str) -> _Answer:
    return _Answer(status, error_body(code), {"Content-Type": "application/xml"})


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # not connected any more
        pass
    finally:
        connection.close()
