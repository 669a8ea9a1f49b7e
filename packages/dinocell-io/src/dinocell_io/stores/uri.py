"""Where a file is: a path, or a `file://` or `s3://` address of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit


def local_path(uri: str | Path) -> Path:
    """The path of an existing, non-empty file on this machine.

    Raises FileNotFoundError if nothing is there, PermissionError if it may not be read, ValueError if it is
    a folder, an empty file, or an address of another kind than `file://`.
    """
    path = _path_of(uri)
    with _permission_named(path):
        _check_exists(path, "an image or label file")
        if path.is_dir():
            raise ValueError(f"{path} is a folder, expected one file; pass the files in it one by one")
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty (0 bytes), expected an image; copy or export it again")
        with path.open("rb"):  # a file without permission says so here, and is not taken for a damaged one
            return path


def check_local_folder(uri: str | Path) -> None:
    """Raise FileNotFoundError if nothing is at a path or `file://` address, ValueError if it is not a folder."""
    path = _path_of(uri)
    with _permission_named(path):
        _check_exists(path, "the folder of a Zarr group")
        if not path.is_dir():
            raise ValueError(f"{path} is a file, expected the folder of a Zarr group; unpack it, or check its name")


def is_remote(uri: str | Path) -> bool:
    """Whether `uri` is an address of another kind than a path or `file://`."""
    return not isinstance(uri, Path) and "://" in uri and not uri.startswith("file://")


def split_uri(uri: str | Path) -> tuple[str, str, str]:
    """Scheme, place and key of an address: ("s3", bucket, key) or ("file", root folder, path below it).

    An S3 key is taken as it stands: spaces, "#", "?" and "%" are characters of keys, not of an encoding. A local
    path is made absolute; nothing needs to exist. A trailing "/" is kept in the key.
    Raises ValueError for another scheme, or an S3 address without a bucket.
    """
    if is_remote(uri):
        scheme, _, rest = str(uri).partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3":
            raise ValueError(f"{uri} has the scheme {scheme}://; expected a path, file:// or s3://bucket/key")
        if not bucket:
            raise ValueError(f"{uri} names no bucket; expected s3://bucket/key")
        return scheme, bucket, key
    path = Path(os.path.abspath(_path_of(uri)))
    key = path.relative_to(path.anchor).as_posix()
    is_prefix = not isinstance(uri, Path) and uri.endswith(("/", os.sep))
    return "file", path.anchor, f"{key}/" if is_prefix else key


def _check_exists(path: Path, expected: str) -> None:
    if not path.exists():
        tilde = "; ~ is not replaced here, write the whole path" if str(path).startswith("~") else ""
        raise FileNotFoundError(f"{path} does not exist; expected {expected} there{tilde}")


@contextmanager
def _permission_named(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise PermissionError(
            f"{path} may not be read by this user; change its permissions and those of the folders above it"
        ) from error


def _path_of(uri: str | Path) -> Path:
    if uri == "":
        raise ValueError("'' is not an address; expected a path, file:// or s3://bucket/key")
    if isinstance(uri, Path) or "://" not in uri:
        return Path(uri)
    parts = urlsplit(uri)
    if parts.scheme != "file":
        raise ValueError(f"{uri} is not a local file; expected a path, copy the file to this machine first")
    return Path(unquote(parts.path))
