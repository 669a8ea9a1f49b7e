"""What a result was made with, so that it can be made again."""

import json
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dinocell_io import Image, atomic_path, channel_index, file_sha256, peak_rss_bytes, split_uri
from dinocell_seg.pipeline import DINOCellPipeline
from dinocell_seg.plane_choice import PlaneChoice
from dinocell_seg.predict import Prediction

FORMAT = "dinocell-run"
FORMAT_VERSION = 1
DISTRIBUTIONS = (
    "dinocell-cli",
    "dinocell-seg",
    "dinocell-core",
    "dinocell-io",
    "dinocell-kernels",
    "torch",
    "numpy",
    "opencv-python-headless",
)


def describe_run(
    *,
    uri: str | Path,
    sha256: str | None,
    sha256_of_files: Mapping[str, str | None],
    image: Image,
    choice: PlaneChoice,
    pipeline: DINOCellPipeline,
    prediction: Prediction,
    prominence: float | None,
    num_cells: int,
    pixel_size_um: float | None,
    seconds: Mapping[str, float],
    files: Mapping[str, Path],
) -> dict[str, Any]:
    """Everything needed to repeat one segmentation, as plain values.

    `input.uri` is the address in full. `input.sha256` is of the bytes that were read and null if the input is not a
    local file; `input.files` are the hashes of an image's files, by name, where it has several, `input.notes` what its
    reader says of it; `input.scene`, `.z` and `.t` are the choice as it was given. `prominence_used` is the prominence
    after it was lowered for small cells. `peak_rss_bytes` is the highest memory of this process so far, so it never
    falls in a batch.
    """
    identity = pipeline.identity
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": {
            "uri": full_address(uri),
            "sha256": sha256,
            "files": dict(sha256_of_files),
            "notes": list(image.notes),
            "shape": list(image.pixels.shape),
            "dtype": str(image.pixels.dtype),
            "channels": list(image.channels),
            **choice.as_record(),
            "channel_used": channel_used(image, choice.channel),
            "pixel_size_um": pixel_size_um,
        },
        "result": {"num_cells": num_cells, "files": {kind: path.name for kind, path in files.items()}},
        "model": {"name": identity.name, "sha256": identity.sha256, "version": identity.version},
        "settings": pipeline.settings.model_dump(mode="json"),
        "prominence_used": prominence,
        "normalization": prediction.normalization.as_dict(),
        "notes": list(prediction.notes),
        "scale": prediction.scale,
        "estimated_diameter_px": prediction.diameter_px,
        "precision": prediction.precision,
        "device": str(pipeline.device),
        "tile": prediction.tile,
        "num_tiles": prediction.num_tiles,
        "num_threads": torch.get_num_threads(),
        "seconds": {stage: round(value, 4) for stage, value in seconds.items()},
        "peak_rss_bytes": peak_rss_bytes(),
        "software": {**software_versions(), "python": platform.python_version()},
        "platform": platform.platform(),
    }


def write_provenance(path: str | Path, run: Mapping[str, Any]) -> None:
    """Write a run's description as JSON, completely or not at all."""
    with atomic_path(path) as temporary:
        Path(temporary).write_text(json.dumps(run, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_provenance(path: str | Path, *, otherwise: str = "pass --overwrite to make it again") -> dict[str, Any]:
    """What `write_provenance` wrote.

    Raises ValueError for a file that is damaged, of another program or of another version; `otherwise` says there what
    to do.
    """
    path = Path(path)
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); it is damaged; {otherwise}") from error
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise ValueError(f"{path} is not a record of 'dinocell segment'; {otherwise}")
    if run.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format_version {run.get('format_version')}, expected {FORMAT_VERSION}: another version of "
            f"dinocell-seg wrote it; {otherwise}"
        )
    return run


def channel_used(image: Image, channel: str | int | None) -> str:
    """The name of the plane that was segmented; "luma" for RGB turned grey."""
    if channel is None:
        return "luma" if image.is_rgb else image.channels[0]
    return image.channels[channel_index(image, channel)]


def software_versions() -> dict[str, str | None]:
    """Installed versions of the packages that decide a result; None for one that is not installed."""
    return {name: _version(name) for name in DISTRIBUTIONS}


def full_address(uri: str | Path) -> str:
    """The address that names the same file from everywhere on this machine: a local path is made absolute."""
    scheme, place, key = split_uri(uri)
    return str(Path(place, key)) if scheme == "file" else f"{scheme}://{place}/{key}"


def sha256_of_files(files: Iterable[str | Path]) -> dict[str, str | None]:
    """The hash of each file, by its name."""
    return {Path(file).name: sha256_of(file) for file in files}


def file_stamp(uri: str | Path) -> tuple[int, int, int] | None:
    """Size, time of the last change and number of a local file: equal as long as nobody writes to it or replaces it."""
    scheme, root, key = split_uri(uri)
    path = Path(root, key)
    if scheme != "file" or not path.is_file():
        return None
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def sha256_of(uri: str | Path) -> str | None:
    """SHA-256 of a local file, None for a folder (Zarr) or what is in a bucket."""
    scheme, root, key = split_uri(uri)
    path = Path(root, key)
    return file_sha256(path) if scheme == "file" and path.is_file() else None


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
