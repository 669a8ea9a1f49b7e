"""Reading label files ahead in threads, with the time it takes kept apart from the time of the numbers."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from types import TracebackType
from typing import TypeVar

from dinocell_io import usable_cores

Source = TypeVar("Source")
Content = TypeVar("Content")


class ReadAhead:
    """Threads that read the next files ahead of their use.

    `read_seconds` is the total time of the threads, `waited_seconds` the time the caller waited for them, `num_read`
    the number of files. If the first is larger than the second, reading was hidden behind the computation. Decoders
    release Python's lock, so threads decode at the same time. Use it as a context manager, which ends the threads.
    """

    def __init__(self, *, num_threads: int | None = None) -> None:
        self.num_threads = num_threads or min(8, usable_cores())
        self.read_seconds = 0.0
        self.waited_seconds = 0.0
        self.num_read = 0
        self._pool = ThreadPoolExecutor(self.num_threads, thread_name_prefix="read")

    def __enter__(self) -> "ReadAhead":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def read(self, read: Callable[[Source], Content], sources: Iterable[Source]) -> Iterator[Content]:
        """`read` of each source in order; at most as many as there are threads, and one more, are held at a time."""
        waiting: deque[Future[tuple[Content, float]]] = deque()
        for source in sources:
            waiting.append(self._pool.submit(_timed, read, source))
            if len(waiting) > self.num_threads:
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _next(self, waiting: "deque[Future[tuple[Content, float]]]") -> Content:
        start = perf_counter()
        content, seconds = waiting.popleft().result()
        self.waited_seconds += perf_counter() - start
        self.read_seconds += seconds
        self.num_read += 1
        return content


def _timed(read: Callable[[Source], Content], source: Source) -> tuple[Content, float]:
    start = perf_counter()
    content = read(source)
    return content, perf_counter() - start
