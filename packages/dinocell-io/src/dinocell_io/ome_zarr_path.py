"""Addresses of Zarr groups, which are folders and not files."""

from pathlib import Path


def is_zarr(uri: str | Path) -> bool:
    """Whether a part of the address ends with .zarr: the group itself, or what is inside it."""
    return any(part.lower().endswith(".zarr") for part in str(uri).replace("\\", "/").split("/"))
