"""The index of JUMP Cell Painting: millions of sites by row number, mapped from the disk."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16, Int64, UInt8, UInt16, UInt32

from dinocell_io.jump.build import COLUMNS, INDEX_VERSION, PLATE_MARK
from dinocell_io.plural import counted


@dataclass(frozen=True)
class JumpPlate:
    """What the sites of one plate share. `plate_type` is COMPOUND, CRISPR, ORF, TARGET1 ... if the index knows it."""

    source: str
    batch: str
    plate: str
    plate_type: str | None
    channels: tuple[str, ...]
    folder: str
    pixel_size_um: float | None


@dataclass(frozen=True, eq=False)
class JumpIndex:
    """One row per site: `plate` (number in `plates`), `well` (number in `wells`), `site`; `files(row)` has the keys.

    The columns are mapped: an open index costs memory only for the rows that are looked at, and that memory is
    shared by all processes of the machine. It is pickled as its folder.
    """

    folder: Path
    plates: tuple[JumpPlate, ...]
    wells: tuple[str, ...]
    root: str
    fingerprint: str
    num_repeated: int
    plate: UInt16[np.ndarray, "site"]
    well: UInt16[np.ndarray, "site"]
    site: Int16[np.ndarray, "site"]
    _names: UInt32[np.ndarray, "site"]
    _name_starts: Int64[np.ndarray, "bound"]
    _name_bytes: UInt8[np.ndarray, "byte"]
    _shared: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.plate)

    def __repr__(self) -> str:
        return f"JumpIndex({self.folder}, {counted(len(self), 'site')} of {counted(len(self.plates), 'plate')})"

    def __reduce__(self) -> tuple[Any, ...]:
        return open_jump_index, (self.folder,)

    def keys(self, row: int) -> dict[str, str]:
        """Each channel's key below `root`; channels without a file are left out."""
        number = int(self.plate[row])
        plate, shared = self.plates[number], self._shared[number]
        name = int(self._names[row])
        start, stop = self._name_starts[name], self._name_starts[name + 1]
        first, *others = self._name_bytes[start:stop].tobytes().decode().split("\n")
        names = [first, *(first[:shared] + other for other in others)]
        return {
            channel: plate.folder + name.replace(PLATE_MARK, plate.plate)
            for channel, name in zip(plate.channels, names, strict=True)
            if name
        }

    def site_key(self, row: int) -> str:
        """`source__batch__plate__well__site`, the name that the gallery's own products give a site."""
        plate = self.plates[self.plate[row]]
        return f"{plate.source}__{plate.batch}__{plate.plate}__{self.wells[self.well[row]]}__{self.site[row]}"

    def num_sites(self) -> dict[str, int]:
        """Sites of each source, for comparison with the published counts."""
        per_plate = np.bincount(self.plate, minlength=len(self.plates))
        counts: dict[str, int] = {}
        for plate, count in zip(self.plates, per_plate.tolist(), strict=True):
            counts[plate.source] = counts.get(plate.source, 0) + count
        return counts


def open_jump_index(folder: str | Path) -> JumpIndex:
    """Open what `build_jump_index` wrote; a second at most, for any number of sites.

    Raises FileNotFoundError if there is no index, ValueError for one that is damaged or of another version.
    """
    path = Path(folder)
    try:
        tables = json.loads((path / "tables.json").read_text(encoding="utf-8"))
        columns = {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in COLUMNS}
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder} holds no index of sites ({error}); make one with dinocell data jump index"
        ) from error
    except ValueError as error:
        raise ValueError(f"{folder} holds a damaged index ({error}); make it again") from error
    if tables.get("version") != INDEX_VERSION:
        raise ValueError(
            f"{folder} holds an index of version {tables.get('version')}, expected {INDEX_VERSION}; make it again"
        )
    lengths = {len(columns[name]) for name in ("plate", "well", "site", "names")}
    if lengths != {tables["num_sites"]} or len(columns["name_bytes"]) != columns["name_starts"][-1]:
        raise ValueError(f"{folder} holds a damaged index (columns of {lengths} sites); make it again")
    plates = tuple(
        JumpPlate(
            plate["source"],
            plate["batch"],
            plate["plate"],
            plate["type"],
            tuple(plate["channels"]),
            plate["folder"],
            plate["pixel_size_um"],
        )
        for plate in tables["plates"]
    )
    return JumpIndex(
        folder=path.absolute(),
        plates=plates,
        wells=tuple(tables["wells"]),
        root=tables["root"],
        fingerprint=tables["fingerprint"],
        num_repeated=tables["num_repeated"],
        plate=columns["plate"],
        well=columns["well"],
        site=columns["site"],
        _names=columns["names"],
        _name_starts=columns["name_starts"],
        _name_bytes=columns["name_bytes"],
        _shared=tuple(plate["shared"] for plate in tables["plates"]),
    )
