"""Serve the files of a folder on loopback, as an origin with a latency for benchmarks.

python -m dinocell_io.testing FOLDER --latency-ms 53 83

Prints its address, serves until its standard input ends, then prints the CPU seconds that it took.
"""

import argparse
import sys
import time

from dinocell_io.stores.local_store import LocalStore

from .object_server import ObjectServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dinocell_io.testing")
    parser.add_argument("folder", help="its files are the objects, all read into memory")
    parser.add_argument("--latency-ms", nargs=2, type=float, default=(0.0, 0.0), metavar=("FROM", "TO"))
    parser.add_argument("--slow-share", type=float, default=0.0, help="share of answers that take 0.4 s longer")
    parser.add_argument("--certificate", nargs=2, metavar=("CHAIN", "KEY"), help="speak TLS")
    parser.add_argument("--port", type=int, default=0)
    chosen = parser.parse_args()
    store = LocalStore(chosen.folder)
    low, high = chosen.latency_ms
    server = ObjectServer(
        {info.key: store.get(info.key) for info in store.list("")},
        latency_seconds=(low / 1000, high / 1000),
        slow_share=chosen.slow_share,
        certificate=tuple(chosen.certificate) if chosen.certificate else None,
        port=chosen.port,
    )
    with server:
        sys.stdout.write(f"{server.endpoint}\n")
        sys.stdout.flush()
        started = time.process_time()
        sys.stdin.read()
        sys.stdout.write(f"{time.process_time() - started:.3f}\n")


if __name__ == "__main__":
    main()
