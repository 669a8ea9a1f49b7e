"""How fast a run goes: images per second, the share of time spent waiting for data, peak memory."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dinocell_io import StreamReads, peak_rss_bytes


class Pace:
    """A clock of the training loop: wait for the batch within `waiting`, then count its images.

    >>> pace = Pace()
    >>> with pace.waiting():
    ...     batch = [1, 2, 3]  # next(batches)
    >>> pace.count(len(batch))
    >>> sorted(pace.read())
    ['data_wait', 'images_per_second', 'peak_memory_gb']
    """

    def __init__(self, *, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self.restart()

    def restart(self) -> None:
        """Start counting again, for example after a probe or a picture, which are not steps."""
        self._started = time.perf_counter()
        self._waited = 0.0
        self._num_images = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time inside the block counts as time without work for the device."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - started

    def count(self, num_images: int) -> None:
        """`num_images` fields were trained on by all ranks."""
        self._num_images += num_images

    def read(self) -> dict[str, float]:
        """Rates since the last reading, as `images_per_second`, `data_wait` of [0, 1] and `peak_memory_gb`.

        On a GPU the rates are true over several steps only: a step is started, not awaited. Memory is the peak of
        what the device's tensors took, or on a CPU of the process since its start, in 10^9 bytes.
        """
        elapsed = max(time.perf_counter() - self._started, 1e-9)
        values = {
            "images_per_second": self._num_images / elapsed,
            "data_wait": min(self._waited / elapsed, 1.0),
            "peak_memory_gb": peak_memory_bytes(self._device) / 1e9,
        }
        self.restart()
        return values


class Reads:
    """Objects of a stream that the workers of this rank read, by where they came from.

    >>> reads = Reads()
    >>> reads.note(0, StreamReads(kept=1, fetched=3, fetched_bytes=3 * 10**9))
    >>> reads.note(0, StreamReads(kept=4, fetched=4, fetched_bytes=4 * 10**9))
    >>> reads.read()
    {'cache_hits': 0.5, 'bucket_gb': 4.0, 'cache_gb': 0.0}
    """

    def __init__(self) -> None:
        self._by_worker: dict[int, StreamReads] = {}
        self._last = StreamReads()

    def note(self, worker: int, reads: StreamReads | None) -> None:
        """What a worker has read so far; None where it reads folders."""
        if reads is not None:
            self._by_worker[worker] = reads

    def read(self) -> dict[str, float]:
        """`cache_hits`, the share of the objects read since the last reading that this machine's cache held, and the
        10^9 bytes that came from the bucket and from the cache since the start; nothing of folders.
        """
        if not self._by_worker:
            return {}
        total = sum(self._by_worker.values(), start=StreamReads())
        share = (total - self._last).kept_share
        self._last = total
        values = {"bucket_gb": total.fetched_bytes / 1e9, "cache_gb": total.kept_bytes / 1e9}
        return values if share is None else {"cache_hits": share, **values}


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory of the device's tensors, or of this process on a CPU (0 if the system does not say)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_rss_bytes() or 0
