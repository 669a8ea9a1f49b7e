"""A folder of images as a list of fields, one per file."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .field import WHOLE_IMAGE, FieldFiles
from .image import IMAGE_SUFFIXES


@dataclass(frozen=True)
class FolderFields:
    """The image files `names` (paths below `folder`), each a field with the channels that it holds."""

    folder: str
    names: tuple[str, ...]

    @property
    def store_uri(self) -> str:
        return Path(self.folder).as_uri()

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256("\0".join(self.names).encode()).hexdigest()[:32]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> FieldFiles:
        name = self.names[row]
        return FieldFiles(name, {WHOLE_IMAGE: name})


def open_folder_fields(folder: str | Path) -> FolderFields:
    """All image files in `folder` and below it, sorted; hidden ones are left out.

    Raises FileNotFoundError if the folder is missing and ValueError if it holds no image.
    """
    root = Path(folder).absolute()
    if not root.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; expected one that holds images")
    names = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not names:
        raise ValueError(f"{folder} holds no image; expected files with {', '.join(IMAGE_SUFFIXES)} in it or below")
    return FolderFields(str(root), tuple(names))
