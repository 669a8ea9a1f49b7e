"""Fields to train on: images of any size, channels and bit depth in plain folders."""

import hashlib
import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Num

from dinocell_io import (
    FOLDERS_OF_LABELS,
    IMAGE_SUFFIXES,
    FieldList,
    Image,
    NotFound,
    Store,
    counted,
    grey_image,
    image_stem,
    images_among,
    listed,
    open_folder_fields,
    open_store,
    parse_splits,
    read_image,
    resampled_planes,
)


class LeftOutWarning(UserWarning):
    """Files that are named like images are not trained on: labels, results or thumbnails of images."""


@runtime_checkable
class Fields(Protocol):
    """A list of fields that are read one at a time; several processes may read at the same time."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The name of the field in messages."""
        ...

    def read(self, index: int) -> Num[np.ndarray, "channel y x"]:
        """Pixels in the file's dtype. Raises ValueError or OSError for a field that cannot be read."""
        ...


@dataclass(frozen=True)
class FolderFields:
    """Fields of folders: one file each, or one file per channel; resampled to one pixel size if that is given."""

    fields: tuple[tuple[Path, ...], ...]
    pixel_size_um: float | None = None

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def fingerprint(self) -> str:
        """Equal for the same file names in the same order, wherever the folders are."""
        names = "\n".join(", ".join(path.name for path in paths) for paths in self.fields)
        return hashlib.sha256(names.encode()).hexdigest()[:16]

    def name(self, index: int) -> str:
        return ", ".join(map(str, self.fields[index]))

    def read(self, index: int) -> Num[np.ndarray, "channel y x"]:
        """Channels in the order of their names; RGB is one grey channel, as `dinocell train` sees it."""
        planes = []
        for path in self.fields[index]:
            image = read_image(path)
            planes.append(self._resampled(grey_image(image)[None] if image.is_rgb else image.pixels, image))
        kinds = {(plane.shape[1:], plane.dtype) for plane in planes}
        if len(kinds) > 1:
            found = ", ".join(f"{shape} {dtype}" for shape, dtype in sorted(kinds, key=str))
            raise ValueError(f"the channels of {self.name(index)} differ in size or dtype: {found}")
        return planes[0] if len(planes) == 1 else np.concatenate(planes)

    def _resampled(self, pixels: Num[np.ndarray, "channel y x"], image: Image) -> Num[np.ndarray, "channel v u"]:
        if self.pixel_size_um is None or image.pixel_size_um == self.pixel_size_um:
            return pixels
        if image.pixel_size_um is None or self.pixel_size_um > 2 * image.pixel_size_um:
            size = "no pixel size" if image.pixel_size_um is None else f"pixels of {image.pixel_size_um:g} um"
            raise ValueError(
                f"{image.uri} has {size} and cannot be resampled to {self.pixel_size_um:g} um (data.resample_um); "
                "expected a known size of at least half of that"
            )
        return np.stack(resampled_planes(pixels, scale=image.pixel_size_um / self.pixel_size_um))


def open_folders(
    folders: Sequence[str | Path],
    *,
    channel_pattern: str | None = None,
    split: str | None = "train",
    pixel_size_um: float | None = None,
) -> FolderFields:
    """All images in the folders and in the folders below them, sorted; no pixel is read.

    Of a dataset folder (`images/`, `masks/`, `splits.csv`) only the images are used, and if it has splits only those of
    `split` (None: all). Folders named `masks` or `labels` and hidden files are ignored. Labels, results and thumbnails
    beside the image of that name are left out, and named in a warning (LeftOutWarning).

    `channel_pattern` is for one file per channel: a regular expression searched in the file name whose group
    `channel` is the channel, and whose other named groups together are the field, for example
    `(?P<well>r..c..)(?P<site>f..).*-ch(?P<channel>.)`. Files that it does not match are left out.

    `pixel_size_um` is the size that all fields are resampled to, as `dinocell_io.ResampleTo` does; a field without a
    pixel size, or whose pixels are less than half as large, cannot be read.

    Raises FileNotFoundError for a missing folder, NotADirectoryError for a file, and ValueError if nothing is found,
    for a pattern that is invalid or lacks `channel`, and for two files of one channel of a field.
    """
    fields: list[tuple[Path, ...]] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            if folder.exists():
                raise NotADirectoryError(f"{folder} is a file; give the folder it lies in to --data")
            raise FileNotFoundError(f"the folder {folder} does not exist; give a folder of images to --data")
        images, left_out = _images(folder)
        if not images:
            raise ValueError(
                f"{folder} holds no images; expected {', '.join(IMAGE_SUFFIXES)} in it or in a folder below "
                "(folders named masks or labels are ignored)"
            )
        _warn_of_left_out(folder, left_out)
        files = _of_split(images, split)
        _require_split(files, images, folder, split)
        found = [(path,) for path in files] if channel_pattern is None else _grouped(files, channel_pattern)
        if not found:
            raise ValueError(
                f"none of the {len(files)} images in {folder}, such as {files[0].name}, matches data.channel_pattern "
                f"{channel_pattern!r}; it is searched in the name of the file"
            )
        fields += found
    return FolderFields(tuple(fields), pixel_size_um)


def open_prefix(uri: str, *, split: str | None = "train") -> FieldList:
    """All images at an `s3://` prefix and below it, to be streamed: one file per field; no pixel is read.

    Of images in a folder `images` beside a `splits.csv` only those of `split` (None: all), as in `open_folders`, and
    without labels, results and thumbnails beside images.
    Raises ValueError for a prefix without an image or with labels, and for a split that no image has.
    """
    fields = open_folder_fields(uri)
    labels = [name for name in fields.names if not FOLDERS_OF_LABELS.isdisjoint(name.split("/")[:-1])]
    if labels:
        raise ValueError(f"{uri} holds labels ({labels[0]}), which are not fields; give the prefix of the images")
    _warn_of_left_out(uri, fields.left_out)
    if split is None:
        return fields
    store, _ = open_store(fields.store_uri)
    tables: dict[str, dict[str, str] | None] = {}
    chosen = []
    for name in fields.names:
        folder, _, file = f"{fields.prefix}{name}".rpartition("/")
        if folder not in tables:
            tables[folder] = _stored_splits(store, folder)
        splits = tables[folder]
        if splits is None or splits.get(_name_in_table(file)) == split:
            chosen.append(name)
    _require_split(chosen, fields.names, uri, split)
    return replace(fields, names=tuple(chosen))


def _stored_splits(store: Store, folder: str) -> dict[str, str] | None:
    above, _, last = folder.rpartition("/")
    if last != "images":
        return None
    key = f"{above}/splits.csv" if above else "splits.csv"
    try:
        return _splits(store.get(key), key)
    except NotFound:
        return None


def _images(folder: Path) -> tuple[list[Path], Mapping[str, str]]:
    """The images, and which other files are named like images, with why they are none."""
    parts = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    names = [part.as_posix() for part in parts if FOLDERS_OF_LABELS.isdisjoint(part.parts[:-1])]
    images, left_out = images_among(names)
    return sorted(path for name in images if (path := folder / name).is_file()), left_out


def _warn_of_left_out(place: str | Path, left_out: Mapping[str, str]) -> None:
    for reason in sorted({*left_out.values()}):
        names = [name for name, why in left_out.items() if why == reason]
        warnings.warn(
            f"{place}: left out {counted(len(names), 'file')}, {listed(names, 3)}: {reason}",
            LeftOutWarning,
            stacklevel=3,
        )


def _of_split(files: Sequence[Path], split: str | None) -> list[Path]:
    parents = {path.parent for path in files}
    tables = {
        parent: _read_splits(parent.parent / "splits.csv") if parent.name == "images" else None for parent in parents
    }
    return [
        path
        for path in files
        if split is None or (splits := tables[path.parent]) is None or splits.get(_name_in_table(path.name)) == split
    ]


def _read_splits(table: Path) -> dict[str, str] | None:
    return _splits(table.read_bytes(), str(table)) if table.exists() or table.is_symlink() else None


def _splits(content: bytes, table: str) -> dict[str, str]:
    return {name: row["split"] for name, row in parse_splits(content, table).items()}


def _name_in_table(file: str) -> str:
    return unicodedata.normalize("NFC", image_stem(file))


def _require_split(chosen: Sequence[object], images: Sequence[object], place: str | Path, split: str | None) -> None:
    if not chosen:
        raise ValueError(
            f"none of the {len(images)} images in {place} is in the split {split!r} of its splits.csv; set data.split "
            "to a split that it has, or to null for all"
        )


def _grouped(files: Sequence[Path], pattern: str) -> list[tuple[Path, ...]]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"channel_pattern {pattern!r} is not a regular expression ({error}); an example is "
            "(?P<field>.+)_ch(?P<channel>[0-9])"
        ) from error
    if "channel" not in expression.groupindex or len(expression.groupindex) < 2:
        raise ValueError(
            f"channel_pattern {pattern!r} names the groups {sorted(expression.groupindex)}; it needs (?P<channel>...) "
            "and at least one more that identifies the field, such as (?P<field>...)"
        )
    fields: dict[tuple[object, ...], dict[str, Path]] = {}
    for path in files:
        if match := expression.search(path.name):
            parts = match.groupdict()
            channel = parts.pop("channel")
            channels = fields.setdefault((path.parent, *parts.items()), {})
            if channel in channels:
                raise ValueError(
                    f"{path} and {channels[channel].name} are both channel {channel!r} of one field; add a group to "
                    "channel_pattern that distinguishes them, such as (?P<site>...)"
                )
            channels[channel] = path
    return [tuple(path for _, path in sorted(channels.items())) for channels in fields.values()]
