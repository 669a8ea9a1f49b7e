"""Damaged files of a kind, by the thousand: each is read right, or refused by an error that names it.

    python tools/fuzz.py --kind images --count 30000 --seed 1

Case N of seed S is always the same file. The cases run in a process of their own: one that crashes or hangs is a
verdict like any other, and the run goes on behind it. Prints the number of each verdict and, of every one that is a
fault (crash, hang, foreign, unnamed, silent), the case, which --only N runs again with its file kept.

A kind is a module fuzz_<kind>.py beside this one with `verdict(folder, number, seed) -> (verdict, what)`.
"""

import argparse
import importlib
import multiprocessing
import sys
import tempfile
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

FAULTS = ("crash", "hang", "foreign", "unnamed", "silent")
HANG_SECONDS = 60
_MAX_TOLD = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", required=True, help="images, labels, ... : the module fuzz_<kind>")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--only", type=int, help="run this one case and keep its file")
    options = parser.parse_args()
    if options.only is not None:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        print(*verdict_of(options.kind, folder, options.only, options.seed), folder)
        return 0
    counts = run(options.kind, options.first, options.count, options.seed)
    print(", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items())))
    return 1 if any(counts[fault] for fault in FAULTS) else 0


def verdict_of(kind: str, folder: Path, number: int, seed: int) -> tuple[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verdict, what = importlib.import_module(f"fuzz_{kind}").verdict(folder, number, seed)
        return str(verdict), str(what)


def run(kind: str, first: int, count: int, seed: int) -> Counter[str]:
    """How often each verdict came; faults are printed."""
    counts: Counter[str] = Counter()
    following, end = first, first + count
    while following < end:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=_work, args=(kind, following, end, seed, sender))
        process.start()
        sender.close()
        while following < end:
            try:
                verdict, what = receiver.recv() if receiver.poll(HANG_SECONDS) else ("hang", "")
            except EOFError:
                process.join()
                verdict, what = "crash", f"exit status {process.exitcode}"
            counts[verdict] += 1
            if verdict in FAULTS and counts[verdict] <= _MAX_TOLD:
                print(f"{verdict} in case {following}: {what}", flush=True)
            following += 1
            if verdict in ("hang", "crash"):
                break
        process.kill()
        process.join()
    return counts


def _work(kind: str, first: int, end: int, seed: int, sender: Connection) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for number in range(first, end):
            sender.send(verdict_of(kind, Path(folder), number, seed))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
