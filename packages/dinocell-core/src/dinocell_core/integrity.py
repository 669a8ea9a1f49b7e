"""Whether weights are what was written: finite numbers, and the checksums of their file."""

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,  # a compression method that does not exist
    RuntimeError,  # a flag of encryption
    EOFError,
    OSError,  # a place before the file's beginning
    ValueError,
    OverflowError,
)


def not_finite(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    return [
        name
        for name, tensor in weights.items()
        if (tensor.is_floating_point() or tensor.is_complex()) and not bool(tensor.isfinite().all())
    ]


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, whatever the order and the file."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged_record(path: Path) -> str | None:
    """What in a zip of `torch.save` does not match its checksum, which torch itself does not look at; None if all do.

    None too for a file that is no zip: the format of torch before 1.6 has no checksums.
    """
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except _ZIP_ERRORS as error:
        return f"its table of contents ({error})"
