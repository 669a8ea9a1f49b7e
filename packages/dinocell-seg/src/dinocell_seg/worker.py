"""A batch whose reading, network and native code run in a process of their own, which may die without ending the batch.

This process only hands out images and hears of outcomes, so it imports neither torch nor what reads images.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

from dinocell_seg.outcomes import Outcome, recorded
from dinocell_seg.segment_request import SegmentRequest

IN_FLIGHT = 3  # images that a worker may hold at once: one is written, one segmented, one read
SECONDS_TO_STOP = 5.0


class Terminated(KeyboardInterrupt):
    """The process was asked to end by a signal, as a queue or a container does."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class WorkerBatch:
    """Images through a worker process that is started again when it dies.

    The images that a dead worker held are tried again alone, each first in its worker or after another image of its own
    kind; the one with which a worker dies again has failed, and says so. A worker that dies before it is ready, twice
    in a row, ends the batch: what kills it is not an image. `serve` is what the process runs.
    """

    def __init__(self, request: SegmentRequest, *, serve: Callable[[Connection, SegmentRequest], None] | None = None):
        self._request = request
        self._serve = serve or _serve
        self._process: Any = None
        self._connection: Connection | None = None

    def start(self) -> None:
        """Start the worker and wait until its model is loaded.

        Raises ValueError if it refuses the request, ChildProcessError if it dies.
        """
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=self._serve, args=(theirs, self._request), daemon=True)
        self._process.start()
        theirs.close()
        try:
            kind, value = self._received()
        except _WorkerDiedError as death:
            raise ChildProcessError(f"{death}, before it began with an image; 'dinocell doctor' may say why") from None
        if kind == "refused":
            self.stop()
            raise ValueError(value)

    def segment(
        self, images: Sequence[str], *, left_out: Mapping[str, str], report: Callable[[Outcome], None]
    ) -> list[Outcome]:
        """As `segment_files`."""
        waiting = list(images)
        alone: set[str] = set()
        with recorded(self._request.output, report) as done:
            for file, why in {**left_out, **self._parts(waiting)}.items():
                done(Outcome(file, "left out", message=why))
            waiting = [image for image in waiting if image not in {outcome.image for outcome in done.outcomes}]
            while waiting:
                job = waiting[:1] if waiting[0] in alone else waiting[:]
                try:
                    for outcome in self._outcomes("segment", job):
                        waiting.pop(0)
                        done(outcome)
                except _WorkerDiedError as death:
                    if len(job) == 1 and job[0] in alone:
                        done(Outcome(waiting.pop(0), "failed", message=f"{death}, twice with this image"))
                    else:
                        alone.update(waiting[:IN_FLIGHT])
                    if waiting and (reason := self._restart()):
                        for image in waiting:
                            done(Outcome(image, "failed", message=reason))
                        break
            return list(done.outcomes)

    def stop(self) -> None:
        """End the worker, whatever it does."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.terminate()
            self._process.join(SECONDS_TO_STOP)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
        self._process = self._connection = None

    def _parts(self, images: Sequence[str]) -> Mapping[str, str]:
        """Images that are part of another one. A file that kills the worker when it is looked at is none of them."""
        try:
            return next(self._outcomes("parts", images), {})
        except _WorkerDiedError:
            self.start()
        harmless = []
        for image in images:
            try:
                list(self._outcomes("parts", [image]))
                harmless.append(image)
            except _WorkerDiedError:
                self.start()
        return next(self._outcomes("parts", harmless), {})

    def _restart(self) -> str:
        """Start the worker again, twice if need be, as where memory is short for a while; why it failed, or ""."""
        for attempt in (1, 2):
            try:
                self.start()
            except ChildProcessError as error:
                if attempt == 2:
                    return str(error)
            else:
                break
        return ""

    def _outcomes(self, task: str, images: Sequence[str]) -> Iterator[Any]:
        """What the worker says of a task, until it says that it is done."""
        assert self._connection is not None
        try:
            self._connection.send((task, list(images)))
        except OSError:
            raise self._death() from None
        while (received := self._received())[0] != "idle":
            yield received[1]

    def _received(self) -> tuple[str, Any]:
        assert self._connection is not None
        wait([self._connection, self._process.sentinel])
        try:
            kind, value = self._connection.recv()
        except (EOFError, OSError):
            raise self._death() from None
        return kind, value

    def _death(self) -> "_WorkerDiedError":
        self._process.join()
        code = self._process.exitcode
        self.stop()
        return _WorkerDiedError(f"the worker process died ({_told(code)})")


class _WorkerDiedError(Exception):
    pass


def _serve(connection: Connection, request: SegmentRequest) -> None:
    from dinocell_seg.worker_process import serve

    serve(connection, request)


def _told(exit_code: int) -> str:
    """The cause of a process's end, as its exit code tells it."""
    if exit_code >= 0:
        return f"exit code {exit_code}; its error is above"
    name = (signal.strsignal(-exit_code) or "unknown").lower()
    cause = "; the system ends processes so when memory runs out" if -exit_code == 9 else ""
    return f"signal {-exit_code}: {name}{cause}"


@contextmanager
def signals_end_the_batch() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise Terminated, so that the summary is written and the worker ended."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
