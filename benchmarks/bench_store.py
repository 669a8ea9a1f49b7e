"""Stores and caches: what fetching an image costs the processor, what a cache hit costs, and how often it hits.

python benchmarks/bench_store.py [clients] [tiers] [rates]

clients: 2.33 MB objects from a loopback server in a process of its own that answers after 53 to 83 ms, 32 in flight,
over HTTP and TLS. Timed: CPU of this process (all its threads, kernel included) and wall time of whole `get` calls.
Not timed: imports, connections, the first 32 objects of each round. Against: boto3's get_object and read, as people
write it. Clients take turns, round by round, because the machine may be busy with other things.
tiers: CPU of a hit and of keeping an object, per tier, for an uncompressed 16-bit TIFF of a simulated field.
rates: hits of the real caches under epochs that each draw a new order, against the formulas.
"""

import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np

IMAGE_BYTES = 2 * 1080 * 1080 + 4096
IN_FLIGHT = 32
OBJECTS = 8
IMAGES = int(os.environ.get("BENCH_IMAGES", "300"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))


def main() -> None:
    chosen = sys.argv[1:] or ["clients", "tiers", "rates"]
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            {"clients": clients, "tiers": tiers, "rates": rates}[name](Path(folder))


def clients(folder: Path) -> None:
    objects = folder / "objects"
    objects.mkdir()
    for index in range(OBJECTS):
        (objects / f"{index}.tif").write_bytes(random.Random(index).randbytes(IMAGE_BYTES))
    chain, key = certificate(folder)
    print(f"clients: {IMAGES} objects of {IMAGE_BYTES / 1e6:.2f} MB a round, {IN_FLIGHT} in flight, {ROUNDS} rounds")
    print(f"{'':28} {'CPU ms/image':>24} {'images/s':>12}")
    print(f"{'':28} {'best':>12} {'median':>11} {'best':>12}")
    for scheme, extra in (("http", []), ("tls", ["--certificate", str(chain), str(key)])):
        with origin(objects, extra) as endpoint:
            readers = readers_of(endpoint, chain)
            rounds = {name: partial(measured, read) for name, read in readers.items()}
            results: dict[str, list[tuple[float, float]]] = {name: [] for name in rounds}
            for _ in range(ROUNDS):
                for name, one_round in rounds.items():
                    results[name].append(one_round())
            for name, rows in results.items():
                cpu = [row[0] for row in rows]
                rate = max(row[1] for row in rows)
                print(f"{scheme:5} {name:22} {min(cpu):12.2f} {statistics.median(cpu):11.2f} {rate:12.0f}")


def readers_of(endpoint: str, chain: Path) -> dict[str, Callable[[str], bytes]]:
    import boto3
    import botocore
    from botocore.config import Config

    from dinocell_io import open_store

    plain = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        verify=str(chain),
        config=Config(signature_version=botocore.UNSIGNED, max_pool_connections=IN_FLIGHT),
    )

    def stored(**options: object) -> Callable[[str], bytes]:
        store, _ = open_store("s3://bucket", endpoint=endpoint, unsigned=True, ca_file=str(chain), **options)
        return store.get

    return {
        "boto3 get_object": lambda key: plain.get_object(Bucket="bucket", Key=key)["Body"].read(),
        "ours": stored(verify="length"),
        "ours, MD5": stored(verify="etag"),
    }


def measured(read: Callable[[str], bytes]) -> tuple[float, float]:
    """CPU milliseconds per image, and images per second."""
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        keys = [f"{index % OBJECTS}.tif" for index in range(IMAGES)]
        list(threads.map(read, keys[:IN_FLIGHT]))
        wall, cpu = time.perf_counter(), time.process_time()
        lengths = set(threads.map(lambda key: len(read(key)), keys))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert lengths == {IMAGE_BYTES}
    return 1000 * cpu / IMAGES, IMAGES / wall


@contextmanager
def origin(objects: Path, extra: list[str]) -> Iterator[str]:
    command = [sys.executable, "-m", "dinocell_io.testing", str(objects), "--latency-ms", "53", "83", *extra]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()
        total = float(server.stdout.readline())
    served = 3 * ROUNDS * (IMAGES + IN_FLIGHT)
    print(f"origin: {1000 * total / served:.2f} CPU ms per image")


def certificate(folder: Path) -> tuple[Path, Path]:
    chain, key = folder / "chain.pem", folder / "key.pem"
    names = ["-subj", "/CN=loopback"]
    for extension in ("subjectAltName=IP:127.0.0.1", "basicConstraints=critical,CA:FALSE"):
        names += ["-addext", extension]
    made = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(chain)]
    subprocess.run(["openssl", "req", "-x509", "-days", "2", *made, *names], check=True, capture_output=True)
    return chain, key


def tiers(folder: Path) -> None:
    import tifffile

    from dinocell_io import DiskCache, RamCache, simulate_field

    field = simulate_field((1080, 1080), num_cells=400, channels=("DNA",), diameter_px=40, seed=0)
    written = BytesIO()
    tifffile.imwrite(written, field.image.pixels[0].astype(np.uint16))
    data = written.getvalue()
    print(f"\ntiers: one uncompressed 16-bit TIFF of a simulated field, {len(data) / 1e6:.2f} MB")
    print(f"{'':14} {'hit, CPU ms':>12} {'keep, CPU ms':>13} {'bytes kept':>11}")
    count = 40
    for name in ("RAM", "disk", "disk, compact"):
        if name == "RAM":
            cache: RamCache | DiskCache = RamCache(1 << 30)
        else:
            form = "compact" if "compact" in name else "raw"
            cache = DiskCache(folder / form, quota_bytes=1 << 30, form=form)
        keep = best_of(lambda cache=cache: [cache.put(f"{n} {time.perf_counter()}", data) for n in range(count)])
        cache.clear()
        cache.put("0", data)
        kept = cache.totals().used if isinstance(cache, DiskCache) else cache.used_bytes()
        hit = best_of(lambda cache=cache: [cache.get("0") for _ in range(count)])
        assert cache.get("0") == data
        print(f"{name:14} {hit / count:12.2f} {keep / count:13.2f} {kept / len(data):10.0%}")


def best_of(work: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        started = time.process_time()
        work()
        times.append(1000 * (time.process_time() - started))
    return min(times)


def rates(folder: Path) -> None:
    from dinocell_io import DiskCache, RamCache
    from dinocell_io.cache.entry import entry_bytes
    from dinocell_io.cache.ram_cache import ENTRY_BYTES

    count, epochs = 2000, 4
    print(f"\nrates: {count} objects, a new order in each of {epochs} epochs; hits of epochs 2 to {epochs}")
    print(f"{'':6} {'pin':>8} {'formula':>8} {'LRU':>8} {'LRU':>8} {'formula':>8} {'an LRU for each':>16}")
    print(f"{'share':6} {'disk':>8} {'':8} {'disk':>8} {'RAM':>8} {'':8} {'of 10 workers':>16}")
    for share in (0.05, 0.25, 0.5, 0.9):
        entries = int(share * count)
        measured = []
        for policy in ("pin", "lru"):
            cache = DiskCache(folder / f"{policy}{share}", quota_bytes=entries * entry_bytes("0000", 64), policy=policy)
            measured.append(hit_rate([cache], count, epochs))
        measured.append(hit_rate([RamCache(entries * (64 + ENTRY_BYTES))], count, epochs))
        split = hit_rate([RamCache(max(1, entries // 10) * (64 + ENTRY_BYTES)) for _ in range(10)], count, epochs)
        lru = share + (1 - share) * math.log(1 - share)
        pin, disk, ram = measured
        print(f"{share:6.0%} {pin:8.1%} {share:8.1%} {disk:8.1%} {ram:8.1%} {lru:8.1%} {split:16.1%}")


def hit_rate(caches: list, count: int, epochs: int) -> float:
    """Hits after the first epoch; with several caches, each object is asked of a random one."""
    drawn, hits = random.Random(0), 0
    for epoch in range(epochs):
        for n in drawn.sample(range(count), count):
            cache = caches[drawn.randrange(len(caches))]
            key = f"{n:04}"
            if cache.get(key) is None:
                cache.put(key, bytes(64))
            elif epoch > 0:
                hits += 1
    return hits / (count * (epochs - 1))


if __name__ == "__main__":
    main()
