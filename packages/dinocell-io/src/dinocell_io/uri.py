"""Where a file is: a path, or a `file://` address of one."""

from pathlib import Path
from urllib.parse import unquote, urlsplit


def local_path(uri: str | Path) -> Path:
    """The path of an existing, non-empty file on this machine.

    Raises FileNotFoundError if nothing is there, PermissionError if it may not be read, ValueError if it is
    a folder, an empty file, or an address of another kind than `file://`.
    """
    path = _path_of(uri)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected an image or label file there")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected one file; pass the files in it one by one")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes), expected an image; copy or export it again")
    with path.open("rb"):  # a file without permission says so here, and is not taken for a damaged one
        return path


def _path_of(uri: str | Path) -> Path:
    if isinstance(uri, Path) or "://" not in uri:
        return Path(uri)
    parts = urlsplit(uri)
    if parts.scheme != "file":
        raise ValueError(f"{uri} is not a local file; expected a path, copy the file to this machine first")
    return Path(unquote(parts.path))
