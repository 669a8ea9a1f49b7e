"""Addresses of Zarr groups, which are folders and not files."""

import os
from pathlib import Path, PurePosixPath

from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.store import NotFound, Store
from dinocell_io.stores.uri import is_remote

DESCRIPTIONS = ("zarr.json", ".zgroup", ".zarray")  # what makes a folder a Zarr group or array


def is_zarr(uri: str | Path, store: Store | None = None) -> bool:
    """Whether the address is that of a Zarr group or array, or of labels in one.

    A part of it ends with .zarr, or the folder at it holds the description of a group or array. In a bucket, or in
    `store`, one is only looked for where the address has no suffix.
    """
    text = str(uri).replace("\\", "/")
    if any(part.lower().endswith(".zarr") for part in text.split("/")):
        return True
    if store is None and not is_remote(uri):
        path = Path(uri)
        # labels that are not there yet belong to the group they are named in
        is_name_of_labels = path.parent.name == "labels" and not path.suffix
        return _is_described(path) or (is_name_of_labels and _is_described(path.parent.parent))
    if PurePosixPath(text).suffix:
        return False
    place, key = (store, text) if store is not None else open_store(uri)
    return any(_holds(place, f"{key.strip('/')}/{name}".lstrip("/")) for name in DESCRIPTIONS)


def zarr_root(uri: str | Path) -> tuple[str, str]:
    """The outermost Zarr group that the address is in, and the path from it: "" for the group itself, and for a file
    that is in none.
    """
    parts = str(uri).replace("\\", "/").rstrip("/").split("/")
    number = next((index for index, part in enumerate(parts, 1) if part.lower().endswith(".zarr")), len(parts))
    if number == len(parts) and not is_remote(uri) and not PurePosixPath(parts[-1]).suffix:
        above = ("/".join(parts[:index]) for index in range(1, number + 1))
        number = next((index for index, place in enumerate(above, 1) if place and _is_described(Path(place))), number)
    return "/".join(parts[:number]), "/".join(parts[number:])


def _is_described(folder: Path) -> bool:
    return any(os.path.isfile(folder / name) for name in DESCRIPTIONS)


def _holds(store: Store, key: str) -> bool:
    try:
        return store.size(key) > 0
    except NotFound:
        return False
