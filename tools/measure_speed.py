"""Time and memory of segmenting simulated fields of growing size, each in a process of its own.

    python tools/measure_speed.py --sizes 512 1024 2048 4096 8192
    python tools/measure_speed.py --field confluent --sizes 2048 4096

Fields are of nuclei, which fill about a third of the image, or confluent: cells of 32 pixels that fill it. Prints
seconds for the whole of `segment_file` (reading, segmenting, measuring, writing labels, table and overlay), megapixels
a second, the share of time outside the network, and the peak memory of the process; bytes per pixel are what was added
to it by the image. The smallest size shows what Python, torch and the model take.
"""

import argparse
import json
import subprocess
import sys

ONE_SIZE = """
import json, resource, sys, tempfile, time
from pathlib import Path
import numpy as np
import tifffile
from dinocell_io import simulate_field
from dinocell_seg import DINOCellPipeline
from dinocell_seg.provenance import read_provenance
from dinocell_seg.segment import segment_file
size, precision, kind = int(sys.argv[1]), sys.argv[2], sys.argv[3]
block = min(size, 1024)
if kind == "confluent":
    offset = np.abs(np.arange(block) % 32 - 15.5)
    cells = 220 - 12 * np.maximum(offset[:, None], offset[None])
    part = (cells + np.random.default_rng(0).normal(0, 3, cells.shape)).clip(0, 255).astype(np.uint16)
else:
    field = simulate_field((block, block), channels=("DNA",), num_cells=block * block // 2500, diameter_px=32.0, seed=0)
    part = field.image.pixels[0]
plane = np.tile(part, (size // block, size // block))
pipeline = DINOCellPipeline("default", device="cpu", precision=precision)
pipeline.run(plane[:256, :256])
with tempfile.TemporaryDirectory() as folder:
    tifffile.imwrite(Path(folder, "field.tif"), plane)
    del plane
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    result = segment_file(Path(folder, "field.tif"), folder, pipeline)
    seconds = time.perf_counter() - started
    stages = read_provenance(result.files["run"])["seconds"]
print(json.dumps({"seconds": seconds, "cells": result.num_cells, "stages": stages,
                  "before_mb": before / 1024, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192])
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--field", default="nuclei", choices=["nuclei", "confluent"])
    arguments = parser.parse_args()
    print("| image | cells | seconds | Mpx/s | outside the network | peak memory | bytes per pixel |")
    print("|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        words = [sys.executable, "-c", ONE_SIZE, str(size), arguments.precision, arguments.field]
        run = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        outside = 1 - run["stages"]["network"] / run["seconds"]
        per_pixel = (run["peak_mb"] - run["before_mb"]) * 2**20 / size**2
        print(
            f"| {size} x {size} | {run['cells']} | {run['seconds']:.1f} | {size**2 / 1e6 / run['seconds']:.2f} | "
            f"{outside:.1%} | {run['peak_mb']:.0f} MB | {per_pixel:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
