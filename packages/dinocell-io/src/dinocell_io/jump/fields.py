"""Chosen sites of an index as a list of fields, and the file that keeps the choice."""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt32

from dinocell_io.jump.denylist import is_expected_missing
from dinocell_io.jump.index import JumpIndex, open_jump_index
from dinocell_io.jump.tables import STAINS
from dinocell_io.plural import counted
from dinocell_io.stream.field import FieldFiles
from dinocell_io.system.atomic import atomic_path


@dataclass(frozen=True, eq=False)
class JumpFields:
    """The sites `rows` of an index with the chosen channels; `uri` is where their files are (see `jump_fields`).

    Pickled without the index, which the other process maps for itself.
    """

    index_folder: str
    rows: UInt32[np.ndarray, "field"]
    channels: tuple[str, ...]
    uri: str

    @property
    def store_uri(self) -> str:
        return self.uri

    @cached_property
    def index(self) -> JumpIndex:
        return open_jump_index(self.index_folder)

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.index.fingerprint.encode())
        digest.update("\0".join(self.channels).encode())
        digest.update(np.ascontiguousarray(self.rows).data)
        return digest.hexdigest()[:32]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> FieldFiles:
        index, row = self.index, int(self.rows[number])
        plate = index.plates[index.plate[row]]
        keys = index.keys(row)
        missing = [channel for channel in self.channels if channel not in keys]
        if missing:
            raise ValueError(
                f"{index.site_key(row)} has the channels {', '.join(keys)} and not {', '.join(missing)}; choose sites "
                "with select_sites(..., channels=...)"
            )
        return FieldFiles(
            index.site_key(row),
            {channel: keys[channel] for channel in self.channels},
            plate=f"{plate.source}/{plate.batch}/{plate.plate}",
            pixel_size_um=plate.pixel_size_um,
            may_be_missing=is_expected_missing(plate.source, plate.plate),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "index"}


def jump_fields(
    index: JumpIndex, rows: Integer[np.ndarray, "field"], *, channels: Sequence[str] = STAINS, uri: str | None = None
) -> JumpFields:
    """The chosen sites as fields for a FieldStream.

    uri: where the files are; the bucket of the index if None, or the folder that `fetch_fields` filled.
    Raises ValueError for rows outside the index and channels that no plate has.
    """
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(index)):
        raise ValueError(f"rows reach from {rows.min()} to {rows.max()}; the index has {counted(len(index), 'site')}")
    known = {channel for plate in index.plates for channel in plate.channels}
    unknown = [channel for channel in channels if channel not in known]
    if unknown or not channels:
        raise ValueError(
            f"channels are {', '.join(channels) or '(none)'}; choose of {', '.join(sorted(known))} in this index"
        )
    if not (uri or index.root):
        raise ValueError(f"{index.folder} was made of names without a bucket; pass uri, the place of the files")
    return JumpFields(str(index.folder), rows.astype(np.uint32), tuple(channels), uri or index.root)


def write_selection(path: str | Path, fields: JumpFields) -> None:
    """Keep a choice of sites as a small .npz file that `read_selection` opens again."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            rows=fields.rows,
            channels=np.array(fields.channels),
            index_fingerprint=np.array(fields.index.fingerprint),
        )


def read_selection(path: str | Path, index: JumpIndex, *, uri: str | None = None) -> JumpFields:
    """The choice that `write_selection` kept. Raises ValueError if it was made with another index."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            rows, channels, fingerprint = (stored[name] for name in ("rows", "channels", "index_fingerprint"))
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a selection of sites ({error}); make one with dinocell data jump subset"
        ) from error
    if str(fingerprint) != index.fingerprint:
        raise ValueError(f"{path} was made with another index than {index.folder}; make the selection again")
    return jump_fields(index, rows, channels=tuple(channels.tolist()), uri=uri)
