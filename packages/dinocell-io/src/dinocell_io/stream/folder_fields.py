"""A folder of images as a list of fields, one per file."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dinocell_io.folders.folder_images import images_among
from dinocell_io.images.image import IMAGE_SUFFIXES
from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.uri import is_remote
from dinocell_io.stream.field import WHOLE_IMAGE, FieldFiles


@dataclass(frozen=True)
class FolderFields:
    """The image files `names`, each a field with the channels that it holds; of one name, numbered: "Cam1", "Cam1 2".

    Their keys in the store at `store_uri` are `prefix` and the name: for a folder of this machine the folder is the
    store; for `s3://bucket/prefix/` the bucket is, so that a store of one's own (a cached one) holds the same keys.
    `left_out` are files that are named like images and are none, and why.
    """

    store_uri: str
    prefix: str
    names: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256("\0".join(self.names).encode()).hexdigest()[:32]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> FieldFiles:
        name = self.names[row]
        return FieldFiles(name, {WHOLE_IMAGE: self.prefix + name})


def open_folder_fields(folder: str | Path) -> FolderFields:
    """All image files in a folder or `s3://` prefix and below it, sorted; labels, results and thumbnails beside images
    are left out (`images_among`), and `left_out` names them.

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
    names, left_out = images_among(found)
    if not names:
        raise ValueError(f"{folder} holds no images; expected files with {', '.join(IMAGE_SUFFIXES)} in it or below")
    return FolderFields(place, prefix, tuple(names), left_out)


def _files_below(root: Path) -> list[str]:
    def refuse(error: OSError) -> None:  # a folder left out in silence would be a smaller data set
        if isinstance(error, PermissionError):
            raise PermissionError(f"{error.filename} may not be read by this user; change its permissions") from error
        raise error

    paths = [Path(folder, name) for folder, _, names in os.walk(root, onerror=refuse) for name in names]
    return [path.relative_to(root).as_posix() for path in paths if path.is_file()]
