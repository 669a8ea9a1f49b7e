"""The index of JUMP sites: build from one Parquet table, open, look up; time and resident memory.

Timed: building the index from a table shaped like the published one (text columns, five stains, the real styles of
names in the real proportions, 9 % of the sites with random GUIDs), opening it, and 10,000 random look-ups, each in a
process of its own. Not timed: making the table. Beside it what people do otherwise: the addresses as a Python list.

Run as a program: python benchmarks/bench_jump_index.py [--sites 8126570] [--folder /tmp/jump]
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# share of sites, plates of so many sites, style of names
SOURCES = (
    ("source_1", 0.040, 5888, "phenix"),
    ("source_2", 0.065, 2304, "yokogawa"),
    ("source_3", 0.129, 3456, "phenix"),
    ("source_4", 0.118, 3456, "phenix"),
    ("source_5", 0.110, 3456, "yokogawa"),
    ("source_6", 0.105, 3456, "yokogawa"),
    ("source_7", 0.054, 3456, "yokogawa"),
    ("source_8", 0.092, 3456, "imagexpress"),
    ("source_9", 0.082, 6144, "phenix"),
    ("source_10", 0.063, 2304, "yokogawa"),
    ("source_11", 0.077, 3456, "phenix"),
    ("source_13", 0.065, 3456, "yokogawa"),
)
STAINS = ("DNA", "RNA", "ER", "AGP", "Mito")


def plates(num_sites: int) -> Iterator[tuple[str, str, str, int, str]]:
    for source, share, per_plate, style in SOURCES:
        left = round(share * num_sites)
        number = 0
        while left > 0:
            # a plate in three lacks some sites
            count = min(left, per_plate - (number % 3 == 0) * (number % 17))
            yield source, f"2021{1 + number // 200:02d}_Batch{number // 20}", f"BR{number:08d}", count, style
            left -= count
            number += 1


def plate_table(source: str, batch: str, plate: str, count: int, style: str, rng: np.random.Generator) -> dict:
    wells = [f"{chr(65 + w % 16)}{1 + w // 16:02d}" for w in range(384)]
    per_well = -(-count // 384)
    sites = [(wells[at // per_well], at % per_well + 1) for at in range(count)]
    base = f"s3://cellpainting-gallery/cpg0016-jump/{source}/images/{batch}/images/{plate}"
    table = {
        "Metadata_Source": [source] * count,
        "Metadata_Batch": [batch] * count,
        "Metadata_Plate": [plate] * count,
        "Metadata_Well": [well for well, _ in sites],
        "Metadata_Site": [str(site) for _, site in sites],
    }
    for channel, stain in enumerate(STAINS, start=1):
        if style == "phenix":
            names = [
                f"{base}__2021-05-02T16_02_51-Measurement1/Images/"
                f"r{ord(w[0]) - 64:02d}c{w[1:]}f{s:02d}p01-ch{channel}sk1fk1fl1.tiff"
                for w, s in sites
            ]
        elif style == "yokogawa":
            names = [f"{base}/{plate}_{w}_T0001F{s:03d}L01A{channel:02d}Z01C{channel:02d}.tif" for w, s in sites]
        else:
            digits = rng.bytes(16 * count).hex().upper()
            guids = [digits[at : at + 32] for at in range(0, 32 * count, 32)]
            names = [
                f"{base}/HTS_{w}_s{s}_w{channel}{g[:8]}-{g[8:12]}-{g[12:16]}-{g[16:20]}-{g[20:]}.tif"
                for (w, s), g in zip(sites, guids, strict=True)
            ]
        table[f"URL_Orig{stain}"] = names
    return table


def make_table(path: Path, num_sites: int) -> None:
    import pyarrow
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    schema = pyarrow.schema(
        [(f"Metadata_{name}", pyarrow.string()) for name in ("Source", "Batch", "Plate", "Well", "Site")]
        + [(f"URL_Orig{stain}", pyarrow.string()) for stain in STAINS]
    )
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for plate in plates(num_sites):
            writer.write_table(pyarrow.table(plate_table(*plate, rng), schema=schema))


def measured(code: str, *arguments: str) -> dict[str, float]:
    """Run `code` in a fresh process; its wall and CPU seconds and the most memory it had."""
    # VmHWM begins anew with the program; ru_maxrss would count the memory of this process, which forked it
    program = (
        "import json, sys, time\nfrom pathlib import Path\n"
        "def mb(name):\n"
        "    found = next(line for line in open('/proc/self/status') if line.startswith(name))\n"
        "    return int(found.split()[1]) / 1024\n"
        "import dinocell_io as io, numpy as np\nbefore = mb('VmRSS')\n"
        "wall, cpu = time.perf_counter(), time.process_time()\n"
        f"{code}\n"
        "print(json.dumps(dict(wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu, "
        "rss_mb=mb('VmRSS'), added_mb=mb('VmRSS') - before, peak_mb=mb('VmHWM'))))"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True)
    return {name: round(value, 3) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def run(num_sites: int, folder: Path) -> dict[str, dict[str, float]]:
    table, index = folder / f"jump_{num_sites}.parquet", folder / f"index_{num_sites}"
    if not table.exists():
        make_table(table, num_sites)
    if index.exists():
        shutil.rmtree(index)
    paths = (str(table), str(index))
    opened = "index = io.open_jump_index(sys.argv[2]); index.keys(len(index) // 2)"
    results = {
        "build": measured("io.build_jump_index(io.rows_of_parquet(sys.argv[1]), sys.argv[2])", *paths),
        "open, first look-up": measured(opened, *paths),
        "open, 10,000 look-ups": measured(
            f"{opened}\nfor row in np.random.default_rng(0).integers(0, len(index), 10_000).tolist(): index.keys(row)",
            *paths,
        ),
        "select 1 site per well": measured(
            "io.select_sites(io.open_jump_index(sys.argv[2]), sites_per_well=1)", *paths
        ),
    }
    size = sum(file.stat().st_size for file in index.iterdir()) / 1e6
    results["files"] = {"index_mb": round(size, 1), "table_mb": round(table.stat().st_size / 1e6, 1)}
    return results


def test_an_index_of_a_hundred_thousand_sites_is_built_and_opened(tmp_path):
    results = run(100_000, tmp_path)
    assert results["build"]["cpu_s"] > 0
    assert results["open, 10,000 look-ups"]["rss_mb"] < 200


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=8_126_570)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    for name, numbers in run(options.sites, folder).items():
        print(f"{name:24s}", "  ".join(f"{key} {value:g}" for key, value in numbers.items()))
    print(f"all {time.perf_counter() - started:.0f} s")
