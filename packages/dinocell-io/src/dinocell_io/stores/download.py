"""One object's bytes from a server that may break off: resumed where it broke, checked when whole."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hashlib import md5

from dinocell_io.stores.retry import Deadline, RetryPolicy, Transient, with_retries
from dinocell_io.stores.retry_budget import RetryBudget
from dinocell_io.stores.store import Corrupt, StoreError

_MD5_ETAG = re.compile(r'"?([0-9a-f]{32})"?')


class StartAgain(Exception):
    """What was received so far cannot be continued."""


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `stop` - 1 of an object; stop None is its end."""

    start: int = 0
    stop: int | None = None

    def __str__(self) -> str:
        return f"bytes {self.start} to {'the end' if self.stop is None else self.stop - 1}"


@dataclass(frozen=True)
class Body:
    """An answer whose body is still to come.

    `start` is its first byte's place in the object and `size` the object's length. `etag` is None where the server
    gives none, `is_md5` whether the etag may be the MD5 of the content (it is not for encrypted objects).
    """

    start: int
    size: int
    etag: str | None
    is_md5: bool
    chunks: Iterator[bytes]


# Requests a span of an object; with an etag, only if the object is unchanged (If-Match).
# Raises Transient, StartAgain if the span cannot be continued, or a StoreError, which is final.
OpenBody = Callable[[Span, str | None, Deadline], AbstractContextManager[Body]]


@dataclass
class _Received:
    """What has been received so far of one version of the object."""

    chunks: list[bytes] = field(default_factory=list)
    length: int = 0
    size: int | None = None
    etag: str | None = None
    is_md5: bool = False

    def add(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self.length += len(chunk)


def download(
    open_body: OpenBody,
    key: str,
    span: Span,
    *,
    policy: RetryPolicy,
    budget: RetryBudget,
    check_md5: bool,
    note: Callable[[int], None] = lambda attempts: None,
) -> bytes:
    """The bytes of the span, all of them and of one version of the object.

    A body that breaks off is continued from where it broke, provided that the object is still the same. With
    `check_md5`, a complete object is compared with its etag if that is an MD5: after a mismatch it is fetched once
    more, and a second mismatch is Corrupt. `note` is called with the number of attempts, also if the download fails.
    """
    received = _Received()
    mismatches = 0

    def attempt(deadline: Deadline) -> bytes:
        nonlocal received, mismatches
        try:
            _receive(received, open_body, span, deadline)
        except StartAgain as reason:
            received = _Received()
            raise Transient(str(reason)) from None
        data = received.chunks[0] if len(received.chunks) == 1 else b"".join(received.chunks)
        expected = _md5_of_etag(received) if check_md5 and span == Span() else None
        if expected is not None and md5(data, usedforsecurity=False).hexdigest() != expected:
            mismatches += 1
            received = _Received()
            if mismatches == 2:
                advice = 'if its etags are not MD5 sums, open the store with verify="length"'
                raise Corrupt(key, f"the bytes differ from the server's MD5 {expected}; {advice}", mismatches)
            raise Transient(f"the bytes differ from the server's MD5 {expected}")
        return data

    try:
        data, attempts = with_retries(attempt, key=key, policy=policy, budget=budget)
    except StoreError as failure:
        note(failure.attempts)
        raise
    note(attempts)
    return data


def _receive(received: _Received, open_body: OpenBody, span: Span, deadline: Deadline) -> None:
    """Add the rest of the span to `received`; raises Transient when the body breaks off again."""
    rest = Span(span.start + received.length, span.stop)
    if received.size is not None and rest.start == _end(span, received.size):
        return  # it broke off after its last byte
    with open_body(rest, received.etag, deadline) as body:
        if body.start != rest.start:
            raise StartAgain(f"{rest} requested, but bytes from {body.start} received: the server ignores ranges")
        if received.size is not None and (body.size, body.etag) != (received.size, received.etag):
            raise StartAgain("the object changed while it was read")
        received.size, received.etag, received.is_md5 = body.size, body.etag, body.is_md5
        end = _end(span, body.size)
        deadline.allow_bytes(end - span.start)
        for chunk in body.chunks:
            received.add(chunk)
    if received.length > end - span.start:
        raise StartAgain(f"received {received.length} bytes instead of {end - span.start}")
    if received.length < end - span.start:
        raise Transient(f"received {received.length} of {end - span.start} bytes")


def _end(span: Span, size: int) -> int:
    return size if span.stop is None else span.stop


def _md5_of_etag(received: _Received) -> str | None:
    match = _MD5_ETAG.fullmatch(received.etag or "") if received.is_md5 else None
    return match[1] if match else None
