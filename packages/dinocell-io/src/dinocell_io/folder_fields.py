"""A folder of images as a list of fields, one per file."""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .field import WHOLE_IMAGE, FieldFiles
from .image import IMAGE_SUFFIXES
from .store import open_store
from .uri import is_remote


@dataclass(frozen=True)
class FolderFields:
    """The image files `names`, each a field with the channels that it holds; of one name, numbered: "Cam1", "Cam1 2".

    Their keys in the store at `store_uri` are `prefix` and the name: for a folder of this machine the folder is the
    store; for `s3://bucket/prefix/` the bucket is, so that a store of one's own (a cached one) holds the same keys.
    """

    store_uri: str
    prefix: str
    names: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256("\0".join(self.names).encode()).hexdigest()[:32]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> FieldFiles:
        name = self.names[row]
        return FieldFiles(name, {WHOLE_IMAGE: self.prefix + name})


def open_folder_fields(folder: str | Path) -> FolderFields:
    """All image files in a folder or `s3://` prefix and below it, sorted; hidden ones are left out.

    Raises FileNotFoundError if the folder is missing, ValueError if it holds no image, PermissionError if it or a
    folder in it may not be read.
    """
    if is_remote(folder):
        uri = str(folder) if str(folder).endswith("/") else f"{folder}/"
        store, prefix = open_store(uri)
        found = [info.key.removeprefix(prefix) for info in store.list(prefix)]
        place = uri.removesuffix(prefix)
    else:
        root = Path(folder).absolute()
        if not root.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder; expected one that holds images")
        found = _files_below(root)
        place, prefix = root.as_uri(), ""
    names = sorted(name for name in found if _is_image(name))
    if not names:
        raise ValueError(f"{folder} holds no image; expected files with {', '.join(IMAGE_SUFFIXES)} in it or below")
    return FolderFields(place, prefix, tuple(names))


def _files_below(root: Path) -> list[str]:
    def refuse(error: OSError) -> None:  # a folder left out in silence would be a smaller data set
        if isinstance(error, PermissionError):
            raise PermissionError(f"{error.filename} may not be read by this user; change its permissions") from error
        raise error

    paths = [Path(folder, name) for folder, _, names in os.walk(root, onerror=refuse) for name in names]
    return [path.relative_to(root).as_posix() for path in paths if path.is_file()]


def _is_image(name: str) -> bool:
    is_hidden = any(part.startswith(".") for part in name.split("/"))
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden
