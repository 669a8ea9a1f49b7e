"""Damaged OME-Zarr: metadata of groups and arrays in formats 2 and 3, and chunks (see fuzz.py).

Right is: the pixels of the whole image, or those of the array that zarr-python reads from the damaged folder, or an
error that names it. Chunks that are missing are the fill value, as the format says.
"""

import json
import random
import shutil
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from fuzz_damage import edited, harmed

from dinocell_io import open_image, read_labels, write_labels, zarr_images

LABELS = np.kron(np.random.default_rng(0).integers(0, 300, (6, 8)), np.ones((5, 4), int)).astype(np.uint16)
PIXELS = np.random.default_rng(1).integers(1, 65536, (2, 30, 32)).astype(np.uint16)
_CODECS: tuple[dict[str, Any], ...] = (
    {"compressors": None},
    {"compressors": "auto"},
    {"compressors": "gzip"},
    {"shards": (2, 32, 32)},
)


@cache
def whole_groups(root: Path) -> list[Path]:
    """An image with labels for each format and codec; a plate of one field."""
    made = []
    for zarr_format in (2, 3):
        for number, options in enumerate(_CODECS):
            if zarr_format == 2 and "shards" in options:
                continue
            folder = root / f"whole{zarr_format}{number}.zarr"
            _image(folder, zarr_format, options)
            write_labels(folder, LABELS)
            made.append(folder)
    plate = root / "plate.zarr"
    _group(plate, 2, {"plate": {"wells": [{"path": "A/1"}]}})
    _group(plate / "A" / "1", 2, {"well": {"images": [{"path": "0"}]}})
    _image(plate / "A" / "1" / "0", 2, {})
    return [*made, plate]


def _image(folder: Path, zarr_format: int, options: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    given = dict(options)
    if given.get("compressors") == "gzip":
        from numcodecs import GZip

        given["compressors"] = zarr.codecs.GzipCodec() if zarr_format == 3 else GZip()
    naming = {"name": "default" if zarr_format == 3 else "v2", "separator": "/"}
    array = zarr.create_array(
        folder / "0", shape=PIXELS.shape, chunks=(1, 16, 16), dtype="uint16", zarr_format=zarr_format,
        chunk_key_encoding=naming, **given,
    )  # fmt: skip
    array[:] = PIXELS
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": "micrometer"} for n in "yx")]
    scale = [{"type": "scale", "scale": [1, 0.5, 0.5]}, {"type": "translation", "translation": [0, 7.0, 9.0]}]
    multiscale = {"version": "0.4", "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    omero = {"channels": [{"label": "DNA"}, {"label": "ER"}]}
    _group(folder, zarr_format, {"multiscales": [multiscale], "omero": omero})


def _group(folder: Path, zarr_format: int, attributes: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if zarr_format == 3:
        content = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", **attributes}}}
        (folder / "zarr.json").write_text(json.dumps(content))
    else:
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(attributes))


def verdict(folder: Path, number: int, seed: int) -> tuple[str, str]:
    warnings.simplefilter("ignore")
    chance = random.Random(f"{seed} {number}")
    whole = chance.choice(whole_groups(folder))
    whole_copy = folder / "damaged.zarr"
    shutil.rmtree(whole_copy, ignore_errors=True)
    shutil.copytree(whole, whole_copy)
    file = chance.choice(sorted(path for path in whole_copy.rglob("*") if path.is_file()))
    what = f"{whole.name}, {file.relative_to(whole_copy)}"
    if chance.random() < 0.1:
        file.unlink()
    elif chance.random() < 0.6 and file.name[0] in ".z":
        file.write_text(json.dumps(edited(json.loads(file.read_text()), chance)))
    else:
        file.write_bytes(harmed(file.read_bytes(), chance))
    for read, expected, key in (
        (_pixels, PIXELS, "A/1/0/0" if whole.name == "plate.zarr" else "0"),
        (read_labels, LABELS, "labels/cells/0"),
        (_written, None, ""),
    ):
        if whole.name == "plate.zarr" and read is not _pixels:
            continue
        verdict, told = _verdict_of(read, whole_copy, expected, key)
        if verdict not in ("right", "refused"):
            content = file.read_bytes()[:300] if file.exists() else None
            return verdict, f"{read.__name__} of {what} ({content!r}): {told}"
    return verdict, ""


def _verdict_of(read: Any, damaged: Path, expected: np.ndarray | None, key: str) -> tuple[str, str]:
    try:
        ours = read(damaged)
    except (ValueError, OSError) as error:
        return ("refused", "") if damaged.name in str(error) else ("unnamed", f"{error!r:.300}")
    except Exception as error:  # noqa: BLE001  the verdict of this program
        return "foreign", f"{error!r:.300}"
    if expected is None or np.array_equal(ours, expected):
        return "right", ""
    try:
        theirs = zarr.open_array(damaged / key, mode="r")[...]
    except Exception as error:  # noqa: BLE001  whatever other libraries raise
        return "silent", f"{ours.dtype} {ours.shape} where zarr-python says {error!r:.200}"
    is_same = np.array_equal(np.ravel(ours), np.ravel(theirs)[: ours.size])
    return ("right", "") if is_same else ("silent", f"{ours.dtype} {ours.shape}, not {theirs.dtype} {theirs.shape}")


def _pixels(damaged: Path) -> np.ndarray:
    image = open_image(zarr_images(damaged)[0])
    assert image.pixel_size_um is None or image.pixel_size_um > 0
    return image.read(z=0 if "z" in image.axes else None, t=0 if "t" in image.axes else None)


def _written(damaged: Path) -> np.ndarray:
    """Labels written into the image, read again."""
    write_labels(damaged / "labels" / "more", LABELS)
    again = read_labels(damaged / "labels" / "more")
    assert np.array_equal(again, LABELS)
    return again
