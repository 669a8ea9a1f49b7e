"""Fields fetched and decoded ahead of their use: a fixed number of requests in flight, a few decoding threads."""

import queue
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dinocell_io.cache.cached_store import CachedStore
from dinocell_io.images.image import Image
from dinocell_io.stores.store import Store, StoreError
from dinocell_io.stream.decode import BadObject, decode_image, decode_plane, is_constant
from dinocell_io.stream.field import WHOLE_IMAGE, FieldFiles, FieldPixels

Prepare = Callable[[FieldFiles, FieldPixels], FieldPixels]
_DECODE_ATTEMPTS = 2  # a damaged object is fetched once more: the damage may be of the transfer
_JOIN_SECONDS = 1.0


@dataclass(frozen=True)
class FailedField:
    """Why a field could not be had; plain values that pass between processes and into the quarantine file.

    `kind`: missing, denied, network, ... of the store's failures, or damaged, format, dtype, constant, shape.
    """

    key: str
    channel: str
    object_key: str
    kind: str
    attempts: int
    cause: str


@dataclass(eq=False)
class FieldJob:
    """One field on its way; `pixels` or `failure` is set when it is done.

    `ticket` is the caller's own name for it; the numbers are for the report.
    """

    ticket: tuple[int, int]
    files: FieldFiles
    pixels: FieldPixels | None = None
    failure: FailedField | None = None
    num_requested: int = 0
    num_objects: int = 0
    num_retries: int = 0
    num_bytes: int = 0
    seconds: list[float] = field(default_factory=list)
    decoded: dict[str, Any] = field(default_factory=dict)
    num_left: int = 0


@dataclass(frozen=True)
class _Request:
    job: FieldJob
    channel: str
    object_key: str
    attempt: int = 1


class Prefetcher:
    """Threads that fetch (`num_requests` at once) and decode (`num_decoders`); made where it is used, closed after.

    Back-pressure is the caller's: submit only as many fields as may be in memory. Threads are daemons, so a request
    that never returns does not keep the program from ending. An error other than StoreError and BadObject is a
    mistake in the program: it is raised again in `wait`.
    """

    def __init__(
        self, store: Store, *, num_requests: int, num_decoders: int, prepare: Sequence[Prepare] = (), prefix: str = ""
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._prepare = prepare
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._fetched: queue.SimpleQueue[tuple[_Request, bytes] | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._done: deque[FieldJob] = deque()
        self._error: BaseException | None = None
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, args=(step,), name=f"dinocell-{name}-{number}", daemon=True)
            for name, step, count in (("fetch", self._fetch, num_requests), ("decode", self._decode, num_decoders))
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, ticket: tuple[int, int], files: FieldFiles) -> None:
        """Start on a field; its job comes out of `finished` when it is done."""
        job = FieldJob(ticket, files, num_left=len(files.objects))
        for channel, object_key in files.objects.items():
            self._requests.put(_Request(job, channel, object_key))

    def finished(self) -> list[FieldJob]:
        """The jobs that were done since the last call."""
        with self._changed:
            jobs = list(self._done)
            self._done.clear()
        return jobs

    def wait(self, seconds: float) -> bool:
        """Sleep until a job is done, at most so long; False if none is. Raises what a thread raised."""
        with self._changed:
            if not self._done and self._error is None:
                self._changed.wait(seconds)
            if self._error is not None:
                raise self._error
            return bool(self._done)

    def stacks(self) -> str:
        """Where each fetching and decoding thread is, threads of one place together."""
        frames = sys._current_frames()
        places: dict[str, list[str]] = {}
        for thread in self._threads:
            frame = frames.get(thread.ident or -1)
            place = "ended\n" if frame is None else "".join(traceback.format_stack(frame)[-4:])
            places.setdefault(place, []).append(thread.name)
        return "\n".join(f"{', '.join(names)}:\n{place}" for place, names in places.items())

    def close(self) -> None:
        """Let the threads end; requests that are under way are not waited for longer than a second."""
        self._closed = True
        for thread in self._threads:
            (self._requests if "fetch" in thread.name else self._fetched).put(None)
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, step: Callable[[], bool]) -> None:
        try:
            while step() and not self._closed:
                pass
        except BaseException as error:  # noqa: BLE001 - raised again by `wait`, in the thread of the caller
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _fetch(self) -> bool:
        request = self._requests.get()
        if request is None:
            return False
        job = request.job
        if job.failure is not None or self._closed:  # another channel failed: the field is lost
            return True
        with self._changed:
            job.num_requested += 1
        start = time.perf_counter()
        try:
            data = self._store.get(self._prefix + request.object_key)
        except StoreError as error:
            self._fail(request, error.kind, error.attempts, error.cause)
            return True
        with self._changed:
            job.seconds.append(time.perf_counter() - start)
            job.num_objects += 1
            job.num_bytes += len(data)
        self._fetched.put((request, data))
        return True

    def _decode(self) -> bool:
        item = self._fetched.get()
        if item is None:
            return False
        request, data = item
        job = request.job
        if job.failure is not None or self._closed:
            return True
        try:
            decoded = _decoded(request.channel, request.object_key, data)
        except BadObject as error:
            if error.kind == "damaged" and request.attempt < _DECODE_ATTEMPTS:
                if isinstance(self._store, CachedStore):  # which would give the same bytes again
                    self._store.forget(self._prefix + request.object_key)
                with self._changed:
                    job.num_retries += 1
                self._requests.put(_Request(job, request.channel, request.object_key, request.attempt + 1))
            else:
                self._fail(request, error.kind, request.attempt, str(error))
            return True
        with self._changed:
            job.decoded[request.channel] = decoded
            job.num_left -= 1
            is_last = job.num_left == 0
        if is_last:
            # Errors of a complete field are reported for its last channel, so reports do not depend on arrival order.
            channel, object_key = list(job.files.objects.items())[-1]
            self._complete(replace(request, channel=channel, object_key=object_key))
        return True

    def _complete(self, request: _Request) -> None:
        job = request.job
        try:
            pixels = _assembled(job)
            for step in self._prepare:
                pixels = step(job.files, pixels)
        except BadObject as error:
            self._fail(request, error.kind, request.attempt, str(error))
            return
        except StoreError as error:  # of an illumination function
            self._fail(request, error.kind, error.attempts, f"{error.key}: {error.cause}")
            return
        except ValueError as error:  # of a step that does not know BadObject
            self._fail(request, "prepare", request.attempt, str(error))
            return
        with self._changed:
            job.pixels = pixels
            job.decoded.clear()
            self._finish(job)

    def _fail(self, request: _Request, kind: str, attempts: int, cause: str) -> None:
        job = request.job
        with self._changed:
            if job.failure is None:
                job.decoded.clear()
                job.failure = FailedField(job.files.key, request.channel, request.object_key, kind, attempts, cause)
                self._finish(job)

    def _finish(self, job: FieldJob) -> None:
        self._done.append(job)
        self._changed.notify_all()


def _decoded(channel: str, object_key: str, data: bytes) -> Any:
    if channel != WHOLE_IMAGE:
        return decode_plane(data)
    try:
        return decode_image(data, object_key)
    except ValueError as error:
        raise BadObject("damaged", str(error)) from error


def _assembled(job: FieldJob) -> FieldPixels:
    files = job.files
    decoded = job.decoded
    if WHOLE_IMAGE in decoded:
        image: Image = decoded[WHOLE_IMAGE]
        if all(map(is_constant, image.pixels)):
            raise BadObject("constant", "all of its pixels have one value")
        planes = dict(zip(_distinct(image.channels), image.pixels, strict=True))
        return FieldPixels(files.key, planes, image.pixel_size_um)
    planes = {name: decoded[name] for name in files.objects}
    shapes = {name: plane.shape for name, plane in planes.items()}
    if len(set(shapes.values())) != 1:
        raise BadObject(
            "shape", "its channels have different shapes: " + ", ".join(f"{n} {s}" for n, s in shapes.items())
        )
    return FieldPixels(files.key, planes, files.pixel_size_um)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, those that occurred before with a number that makes them new: "Cam1", "Cam1 2" ..."""
    found: list[str] = []
    for name in names:
        number, new = 1, name
        while new in found or (number > 1 and new in names):
            number += 1
            new = f"{name} {number}"
        found.append(new)
    return tuple(found)
