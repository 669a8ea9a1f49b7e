"""What two threads gain over one: wall time of each kernel on 2048 x 2048 pixels, taking turns, best of 12.

python benchmarks/measure_threads.py

The first lines are the machine's own limit: what two threads gain where they only copy or only read memory. On a
machine that computes anything else the second core is not free, and all gains are lower bounds.
"""

import os
import threading
import time
from collections.abc import Callable

import numpy as np

import dinocell_kernels as kernels
from dinocell_io import simulate_field

SIDE, TILE = 2048, 256


def seconds_of_threads(work: Callable[[int], object], num_threads: int) -> float:
    """From the first start to the last end of `work(i)` in so many Python threads."""
    ready = threading.Barrier(num_threads + 1)
    spans: list[tuple[float, float]] = []

    def run(i: int) -> None:
        ready.wait()
        started = time.perf_counter()
        work(i)
        spans.append((started, time.perf_counter()))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(num_threads)]
    for thread in threads:
        thread.start()
    ready.wait()
    for thread in threads:
        thread.join()
    return max(end for _, end in spans) - min(begin for begin, _ in spans)


def memory_gains(megabytes: int, *, passes: int = 20) -> dict[str, tuple[float, float]]:
    """GB/s of one and of two threads that copy, or read, an array of this size several times."""
    source = np.ones(megabytes << 20, np.uint8)
    target = np.ones_like(source)
    rates = {}
    for name, moved, work in (
        ("copy", 2, lambda to, of: np.copyto(to, of)),
        ("read", 1, lambda _, of: of.view(np.uint64).max()),
    ):
        best = []
        for num_threads in (1, 2):
            share = len(source) // num_threads
            parts = [slice(i * share, (i + 1) * share) for i in range(num_threads)]

            def several(i: int, parts: list[slice] = parts, work: Callable = work) -> None:
                for _ in range(passes):
                    work(target[parts[i]], source[parts[i]])

            seconds = min(seconds_of_threads(several, num_threads) for _ in range(5))
            best.append(1e-9 * moved * passes * len(source) / seconds)
        rates[name] = (best[0], best[1])
    return rates


def cases() -> dict[str, Callable[[int], object]]:
    """Each kernel as a function of its number of threads."""
    field = simulate_field((SIDE, SIDE), num_cells=3000, channels=("DNA",), diameter_px=32.0, seed=0)
    labels = field.labels.astype(np.int32)
    shifted, heights = np.roll(labels, 2, axis=0), kernels.distance_map(labels)
    image = np.random.default_rng(0).integers(0, 60_000, (1, SIDE, SIDE)).astype(np.uint16)
    starts = np.arange(0, SIDE - TILE + 1, 192)
    end = int(starts[-1]) + TILE
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    tiles = kernels.gather_tiles(image, starts, starts, tile=TILE, scale=one, offset=zero, low=-4, high=1e9)[:, :, 0]
    tiles = np.ascontiguousarray(tiles)
    return {
        "gather_tiles": lambda n: kernels.gather_tiles(
            image, starts, starts, tile=TILE, scale=one, offset=zero, low=-4, high=1e9, num_threads=n
        ),
        "blend_tiles": lambda n: kernels.blend_tiles(
            tiles, starts, starts, overlap=64, rows=(0, end), width=end, num_threads=n
        ),
        "connected_components": lambda n: kernels.connected_components(labels, num_threads=n),
        "distance_map": lambda n: kernels.distance_map(labels, num_threads=n),
        "watershed": lambda n: kernels.watershed(heights, peak=0.47, fill=0.09, num_threads=n),
        "marker_watershed": lambda n: kernels.marker_watershed(
            -heights, labels * (heights > 0.8), mask=heights > 0.09, num_threads=n
        ),
        "relabel": lambda n: kernels.relabel(labels, num_threads=n),
        "remove_small": lambda n: kernels.remove_small(labels, min_size=20, num_threads=n),
        "label_overlap": lambda n: kernels.label_overlap(labels, shifted, num_threads=n),
    }


def main() -> None:
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    for megabytes in (4, 16, 64, 256):
        for name, (one, two) in memory_gains(megabytes).items():
            print(f"{name} {megabytes} MB: {one:.1f} -> {two:.1f} GB/s, {two / one:.2f}x")
    for name, run in cases().items():
        best = {1: float("inf"), 2: float("inf")}
        for _ in range(12):
            for num_threads in best:
                started = time.perf_counter()
                run(num_threads)
                best[num_threads] = min(best[num_threads], time.perf_counter() - started)
        print(f"{name}: {1e3 * best[1]:.2f} -> {1e3 * best[2]:.2f} ms, {best[1] / best[2]:.2f}x")


if __name__ == "__main__":
    main()
