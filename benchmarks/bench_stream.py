"""Fields per second of a FieldStream over an S3 origin with the latency of a far bucket.

Timed: handing out fields, each used for two crops of 224 x 224 from two of its five channels, after the reuse buffer
has filled once. An origin on loopback (`python -m dinocell_io.testing`, plain HTTP) answers every request 53 to 83 ms
late, as one 2.3 MB object from a bucket near the machine takes; all fields are five 1080 x 1080 uint16 TIFFs with
camera noise. `fields/s` counts uses, `read/s` what was fetched and decoded. CPU is counted apart for the client
(fetching, decoding, cropping) and the origin: they share the cores, and a bucket's CPU is not ours.
Not timed: writing the files, connecting. Objects are compared by length, as over TLS; over plain HTTP a store would
also compute their MD5, 3.7 ms each.
`step` gives the time of one step that takes 64 fields and then sleeps 0.6 s, from the origin and from the local disk.

Run as a program: python benchmarks/bench_stream.py [--seconds 12] [--only lzw]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

from dinocell_io import FieldFiles, FieldPixels, FieldStream, LocalStore, Store, StreamLimits, open_store

CHANNELS = ("DNA", "RNA", "ER", "AGP", "Mito")
SIZE = 1080
CROP = 224
STEP_SECONDS = 0.6
BATCH = 64


@dataclass(frozen=True)
class RepeatedFields:
    """A long list over `num_files` fields, each named anew every time it comes."""

    count: int
    num_files: int
    store_uri: str = "s3://bucket"
    fingerprint: str = "benchmark"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> FieldFiles:
        folder = f"field {row % self.num_files}"
        return FieldFiles(str(row), {name: f"{folder}/{name}.tif" for name in CHANNELS}, plate="plate")


def write_fields(folder: Path, num_files: int, *, compression: str | None, size: int = SIZE) -> None:
    rng = np.random.default_rng(0)
    for number in range(num_files):
        cells = ndimage.gaussian_filter(rng.normal(size=(size // 4, size // 4)), 3).repeat(4, 0).repeat(4, 1)
        cells = np.clip(cells / cells.std(), 0, None) * 1500 + 400
        (folder / f"field {number}").mkdir(parents=True)
        for name in CHANNELS:
            noisy = cells + rng.normal(size=cells.shape) * 0.9 * np.sqrt(cells)
            path = folder / f"field {number}" / f"{name}.tif"
            tifffile.imwrite(path, np.clip(noisy, 0, 65535).astype(np.uint16), compression=compression, metadata=None)


@contextmanager
def origin(folder: Path, *, latency_ms: tuple[float, float] = (53, 83)) -> Iterator[tuple[str, int]]:
    """The address and process number of a server of the folder's files."""
    command = [sys.executable, "-m", "dinocell_io.testing", str(folder), "--latency-ms", *map(str, latency_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
        process.communicate()


def cpu_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def two_views(pixels: FieldPixels, rng: np.random.Generator) -> list[np.ndarray]:
    views = []
    for name in rng.choice(list(pixels.channels), 2, replace=False):
        plane = pixels.channels[name]
        y, x = (int(rng.integers(0, size - CROP + 1)) for size in plane.shape)
        views.append(plane[y : y + CROP, x : x + CROP].astype(np.float32))
    return views


def opened(store: Store, *, num_files: int, reuses: int, buffer_fields: int) -> FieldStream:
    limits = StreamLimits(num_requests=64, num_decoders=2, fields_ahead=32)
    return FieldStream(
        RepeatedFields(1_000_000, num_files),
        store=store,
        num_epochs=None,
        reuses=reuses,
        buffer_fields=buffer_fields,
        limits=limits,
    )


def throughput(
    store: Store, pid: int, *, num_files: int, reuses: int, buffer_fields: int, seconds: float
) -> dict[str, float]:
    stream = opened(store, num_files=num_files, reuses=reuses, buffer_fields=buffer_fields)
    rng = np.random.default_rng(0)
    fields = iter(stream)
    filling = reuses * (reuses - 1) // 2 * (buffer_fields // reuses) if reuses > 1 else 2 * BATCH
    for _ in range(filling):
        two_views(next(fields), rng)
    read, start = stream.counts.num_read, time.perf_counter()
    cpu, cpu_origin = time.process_time(), cpu_seconds(pid)
    used = 0
    while time.perf_counter() - start < seconds:
        two_views(next(fields), rng)
        used += 1
    wall = time.perf_counter() - start
    read = stream.counts.num_read - read
    result = {
        "fields/s": used / wall,
        "read/s": read / wall,
        "client CPU ms/field": 1e3 * (time.process_time() - cpu) / used,
        "client CPU ms/read": 1e3 * (time.process_time() - cpu) / max(1, read),
        "origin CPU ms/read": 1e3 * (cpu_seconds(pid) - cpu_origin) / max(1, read),
        "p50 ms": 1e3 * (stream.report().p50_seconds or 0),
    }
    fields.close()
    return result


def step_seconds(store: Store, *, num_files: int, num_steps: int) -> list[float]:
    """Wall seconds of each step after the buffer is full: 64 fields with their views, then a device at work."""
    stream = opened(store, num_files=num_files, reuses=4, buffer_fields=BATCH * 2)
    rng = np.random.default_rng(0)
    fields = iter(stream)
    times = []
    for step in range(num_steps + 4):
        start = time.perf_counter()
        for _ in range(BATCH):
            two_views(next(fields), rng)
        time.sleep(STEP_SECONDS)
        if step >= 4:
            times.append(time.perf_counter() - start)
    fields.close()
    return times


def store_at(endpoint: str) -> Store:
    store, _ = open_store("s3://bucket", endpoint=endpoint, unsigned=True, verify="length")
    return store


def shown(name: str, numbers: dict[str, float]) -> None:
    print(f"{name:34s}", "  ".join(f"{key} {value:.1f}" for key, value in numbers.items()), flush=True)


def test_a_short_stream_over_a_slow_origin_gives_fields(tmp_path):
    write_fields(tmp_path, 2, compression=None, size=256)
    with origin(tmp_path, latency_ms=(5, 8)) as (endpoint, pid):
        numbers = throughput(store_at(endpoint), pid, num_files=2, reuses=2, buffer_fields=4, seconds=0.5)
    assert numbers["fields/s"] > 0
    assert numbers["p50 ms"] >= 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--files", type=int, default=24, help="different fields that the origin holds")
    parser.add_argument("--only", choices=("plain", "lzw", "step"), help="one part")
    options = parser.parse_args()
    print("load average", os.getloadavg())
    with tempfile.TemporaryDirectory() as scratch:
        for kind, compression in (("plain", None), ("lzw", "lzw")):
            folder = Path(scratch, kind)
            if options.only not in (None, kind) and not (options.only == "step" and kind == "plain"):
                continue
            write_fields(folder, options.files, compression=compression)
            with origin(folder) as (endpoint, pid):
                store = store_at(endpoint)
                settings = {"num_files": options.files, "buffer_fields": 128, "seconds": options.seconds}
                for reuses in (1, 4) if options.only != "step" else ():
                    numbers = throughput(store, pid, reuses=reuses, **settings)
                    shown(f"{kind}, R={reuses}", numbers)
                if kind == "plain" and options.only in (None, "step"):
                    steps = int(options.seconds * 1.5 / STEP_SECONDS)
                    local = step_seconds(LocalStore(folder), num_files=options.files, num_steps=steps)
                    remote = step_seconds(store, num_files=options.files, num_steps=steps)
                    change = 100 * (np.mean(remote) / np.mean(local) - 1)
                    shown(
                        f"step of {STEP_SECONDS} s, R=4",
                        {"disk ms": 1e3 * np.mean(local), "S3 ms": 1e3 * np.mean(remote), "change %": change},
                    )
    print("load average", os.getloadavg())


if __name__ == "__main__":
    main()
