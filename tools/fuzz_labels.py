"""Damaged label images: TIFF as `write_labels` and others write it, PNG and npy (see fuzz.py).

Right is: the labels of the whole file, or what tifffile, Pillow or NumPy read of the damaged one, or a ValueError that
names the file. A file that was only cut must give the labels of the whole one.
"""

import io
import logging
import random
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from fuzz_damage import cut, harmed
from PIL import Image as PillowImage

from dinocell_io import read_labels, write_labels


@cache
def whole_files() -> dict[str, tuple[bytes, np.ndarray]]:
    """Label images of each format by their kind, whose last word is the suffix, with their numbers."""
    few = np.kron(np.random.default_rng(0).integers(0, 300, (6, 8)), np.ones((5, 4), int))
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("16 tif", "32 tif", "16 png", "16 npy", "32 npy"):
            labels = few * 1000 if kind.startswith("32") else few
            path = Path(folder, f"a.{kind.rpartition(' ')[2]}")
            write_labels(path, labels, pixel_size_um=0.5)
            files[kind] = path.read_bytes(), labels
    for kind, options in {
        "plain tif": {},
        "lzw tif": {"compression": "lzw", "rowsperstrip": 4},
        "predicted tif": {"compression": "zlib", "predictor": True},
        "tiled tif": {"tile": (16, 16), "compression": "zlib"},
        "imagej tif": {"imagej": True},
        "ome tif": {"ome": True},
        "float tif": {"dtype": np.float32},
    }.items():
        content = io.BytesIO()
        numbers = few.astype(options.pop("dtype", np.uint16))
        tifffile.imwrite(content, numbers, photometric="minisblack", **options)
        files[kind] = content.getvalue(), few
    content = io.BytesIO()
    PillowImage.fromarray((few % 256).astype(np.uint8)).convert("P").save(content, format="png")
    files["palette png"] = content.getvalue(), few % 256
    content = io.BytesIO()
    np.save(content, np.asfortranarray(few.astype(">i8")))
    files["fortran npy"] = content.getvalue(), few
    return files


def verdict(folder: Path, number: int, seed: int) -> tuple[str, str]:
    logging.getLogger("tifffile").setLevel(logging.ERROR)
    logging.lastResort = None  # what tifffile says of damage is expected here
    chance = random.Random(f"{seed} {number}")
    kind = chance.choice(list(whole_files()))
    whole, labels = whole_files()[kind]
    is_cut = chance.random() < 0.15
    content = cut(whole, chance) if is_cut else harmed(whole, chance, tags=kind.endswith(" tif"))
    path = folder / f"damaged.{kind.rpartition(' ')[2]}"
    path.write_bytes(content)
    try:
        ours = read_labels(path)
    except (ValueError, OSError) as error:
        return ("refused", "") if path.name in str(error) else ("unnamed", f"{kind}: {error!r:.300}")
    except Exception as error:  # noqa: BLE001  the verdict of this program
        return "foreign", f"{kind}: {error!r:.300}"
    if np.array_equal(ours, labels):
        return "right", ""
    if is_cut:
        return "silent", f"{kind}, cut to {len(content)} of {len(whole)} bytes"
    try:
        theirs = _others(path)
    except Exception as error:  # noqa: BLE001  whatever other libraries raise
        return "silent", f"{kind}: {ours.dtype} {ours.shape} where others say {error!r:.200}"
    is_same = any(ours.size == plane.size and np.array_equal(ours.ravel(), plane.ravel()) for plane in theirs)
    return ("right", "") if is_same else ("silent", f"{kind}: {ours.dtype} {ours.shape}")


def _others(path: Path) -> list[np.ndarray]:
    """What others read: of pages and series the first plane of each."""
    if path.suffix == ".npy":
        return [np.load(path)]
    if path.suffix == ".png":
        with PillowImage.open(path) as opened:
            return [np.asarray(opened)]
    with tifffile.TiffFile(path) as tif:
        planes = [page.asarray() for page in tif.pages]
    with suppress(ValueError), tifffile.TiffFile(path) as tif:  # of a text that describes the pages
        planes += [series.asarray() for series in tif.series]
    return planes
