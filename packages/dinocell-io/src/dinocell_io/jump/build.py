"""Writing the index of JUMP sites: one folder of columns, small enough to map whole.

Addresses repeat: of `<folder>/<plate>_A01_T0001F001...C01.tif` the folder belongs to the plate, and without the
plate's name the file names of most plates are the same. Each distinct set of one site's file names is stored once.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from dinocell_io.jump.npy_column import NpyColumn
from dinocell_io.jump.tables import SiteRows
from dinocell_io.system.atomic import atomic_folder

INDEX_VERSION = 1
PLATE_MARK = "\1"
_SITE_MARK = "\2"
COLUMNS = {"plate": "<u2", "well": "<u2", "site": "<i2", "names": "<u4", "name_starts": "<i8", "name_bytes": "u1"}
_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
# um per pixel of each source's microscope (microscope_config of the JUMP metadata)
PIXEL_SIZES_UM = {
    "source_1": 0.598,
    "source_2": 0.65,
    "source_3": 0.598,
    "source_4": 0.598,
    "source_5": 0.65,
    "source_6": 0.646,
    "source_7": 0.65,
    "source_8": 0.703,
    "source_9": 0.598,
    "source_10": 0.652,
    "source_11": 0.598,
    "source_13": 0.65,
    "source_15": 0.598,
}


def build_jump_index(
    rows: Iterable[SiteRows], folder: str | Path, *, plate_types: Mapping[tuple[str, str, str], str] | None = None
) -> Path:
    """Write the index of all sites in `rows` as a new folder, whole or not at all; 8 million take half a minute.

    plate_types: (source, batch, plate) -> type, see `read_plate_types`; needed to select by type.
    A site that comes twice is kept once, one without any file is left out. Raises ValueError without sites, for a
    site number that is not a number, and for files in different buckets.
    """
    with atomic_folder(folder) as temporary:
        with _Builder(temporary, plate_types or {}) as builder:
            for part in rows:
                builder.add(part)
        tables = builder.finished()
        digest = hashlib.sha256(json.dumps(tables, sort_keys=True).encode())
        for name in COLUMNS:
            with (temporary / f"{name}.npy").open("rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
        tables["fingerprint"] = digest.hexdigest()[:32]
        (temporary / "tables.json").write_text(json.dumps(tables, ensure_ascii=False), encoding="utf-8")
    return Path(folder)


class _Builder:
    def __init__(self, folder: Path, plate_types: Mapping[tuple[str, str, str], str]) -> None:
        self._types = plate_types
        self._root: str | None = None
        self._wells: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._num_names = 0
        self._plates: list[dict[str, Any]] = []
        self._plate_numbers: dict[tuple[object, ...], int] = {}
        self._columns = {name: NpyColumn(folder / f"{name}.npy", dtype) for name, dtype in COLUMNS.items()}
        self._columns["name_starts"].append(np.zeros(1))

    def __enter__(self) -> "_Builder":
        return self

    def __exit__(self, *failure: object) -> None:
        for column in self._columns.values():
            column.close()

    def add(self, rows: SiteRows) -> None:
        if not rows.wells:
            return
        folder = _folder_of(url for urls in rows.urls.values() for url in urls[:1])
        # files of one site share a folder, and so do nearly always all files of a plate
        if all(all(map(str.startswith, urls, repeat(folder))) for urls in rows.urls.values()):
            names = [[url[len(folder) :] for url in urls] for urls in rows.urls.values()]
            self._add_folder(rows, folder, list(map("\n".join, zip(*names, strict=True))))
            return
        by_folder: dict[str, list[int]] = {}
        sites = list(zip(*rows.urls.values(), strict=True))
        for at, urls in enumerate(sites):
            if not any(urls):  # a well without images
                continue
            folder = _folder_of(urls)
            is_shared = all(url.startswith(folder) for url in urls if url)
            by_folder.setdefault(folder if is_shared else "", []).append(at)
        for folder, places in by_folder.items():
            part = replace(rows, wells=[rows.wells[at] for at in places], sites=[rows.sites[at] for at in places])
            texts = ["\n".join(url.removeprefix(folder) for url in sites[at]) for at in places]
            self._add_folder(part, folder, texts)

    def _add_folder(self, rows: SiteRows, folder: str, names: list[str]) -> None:
        """Sites whose files are in one folder; without a folder their names are whole addresses."""
        root = self._checked_root(folder or names[0].lstrip("\n"))
        # a plate is changed as one text, several times faster than site by site
        whole = _SITE_MARK.join(names)
        if not folder and root:
            whole = whole.replace(root, "")
        elif rows.plate:
            whole = whole.replace(rows.plate, PLATE_MARK)
        names = whole.split(_SITE_MARK)
        is_random = _GUID.search(names[0]) is not None
        shared = _shared_length(names) if is_random else 0
        if shared:
            names = [name[:shared] + name[shared:].replace("\n" + name[:shared], "\n") for name in names]
        plate = self._plate_number(rows, tuple(rows.urls), folder.removeprefix(root), shared)
        wells = self._wells
        for well in dict.fromkeys(rows.wells):
            wells.setdefault(well, len(wells))
        self._columns["plate"].append(np.full(len(names), plate))
        self._columns["well"].append(np.array([wells[well] for well in rows.wells]))
        self._columns["site"].append(_site_numbers(rows))
        self._columns["names"].append(self._name_numbers(names, is_random=is_random))

    def _name_numbers(self, names: list[str], *, is_random: bool) -> np.ndarray:
        if is_random:
            # random names never come again: a table to look them up would be larger than all the rest
            start = self._num_names
            self._store_names(names)
            return np.arange(start, start + len(names), dtype=np.uint32)
        known = self._names
        new = [name for name in dict.fromkeys(names) if name not in known]
        for at, name in enumerate(new):
            known[name] = self._num_names + at
        self._store_names(new)
        return np.array([known[name] for name in names], np.uint32)

    def _store_names(self, names: list[str]) -> None:
        encoded = [name.encode() for name in names]
        ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        self._columns["name_starts"].append(self._columns["name_bytes"].count + ends)
        self._columns["name_bytes"].append(np.frombuffer(b"".join(encoded), np.uint8))
        self._num_names += len(names)

    def _plate_number(self, rows: SiteRows, channels: tuple[str, ...], folder: str, shared: int) -> int:
        key = (rows.source, rows.batch, rows.plate, channels, folder, shared)
        if key not in self._plate_numbers:
            if len(self._plates) > np.iinfo(np.uint16).max:
                raise ValueError(f"more than {len(self._plates)} plates and folders; index one source at a time")
            self._plate_numbers[key] = len(self._plates)
            self._plates.append(
                {
                    "source": rows.source,
                    "batch": rows.batch,
                    "plate": rows.plate,
                    "type": self._types.get((rows.source, rows.batch, rows.plate)),
                    "channels": channels,
                    "folder": folder,
                    "shared": shared,
                    "pixel_size_um": PIXEL_SIZES_UM.get(rows.source),
                }
            )
        return self._plate_numbers[key]

    def _checked_root(self, url: str) -> str:
        scheme, mark, rest = url.partition("://")
        root = f"{scheme}{mark}{rest.partition('/')[0]}/" if mark else ""
        if self._root is None:
            self._root = root
        if root != self._root:
            raise ValueError(
                f"files are in {self._root or 'no bucket'} and in {root or 'no bucket'}; index each bucket by itself"
            )
        return root

    def finished(self) -> dict[str, Any]:
        """Drop sites that were listed twice; return the facts beside the columns."""
        if not self._plates:
            raise ValueError("the tables hold no site; nothing was indexed")
        if len(self._wells) > np.iinfo(np.uint16).max:
            raise ValueError(f"the tables name {len(self._wells)} wells, expected names as A01; correct the tables")
        num_sites = self._columns["plate"].count
        kept = self._first_of_each_site()
        for name in ("plate", "well", "site", "names") if kept is not None else ():
            values = np.load(self._columns[name].path)
            np.save(self._columns[name].path, values[kept])
        return {
            "version": INDEX_VERSION,
            "num_sites": num_sites if kept is None else len(kept),
            "num_repeated": 0 if kept is None else num_sites - len(kept),
            "root": self._root,
            "wells": list(self._wells),
            "plates": self._plates,
        }

    def _first_of_each_site(self) -> np.ndarray | None:
        """The rows whose plate (in whichever folder), well and site were not seen before; None if all are such."""
        identity: dict[tuple[str, str, str], int] = {}
        plates = np.array(
            [identity.setdefault((p["source"], p["batch"], p["plate"]), len(identity)) for p in self._plates], np.int64
        )
        plate, well, site = (np.load(self._columns[name].path, mmap_mode="r") for name in ("plate", "well", "site"))
        ends = np.append(np.flatnonzero(plate[1:] != plate[:-1]) + 1, len(plate))
        runs = plates[plate[ends - 1]]
        is_end = np.append(runs[1:] != runs[:-1], True)  # one plate may have several numbers, for several folders
        ends, runs = ends[is_end], runs[is_end]
        if len(runs) == len(np.unique(runs)):
            # one plate after the other is the rule: then no site of one is among another's
            parts = [slice(start, stop) for start, stop in itertools.pairwise([0, *ends.tolist()])]
            if all(_all_differ(_place(well[part], site[part])) for part in parts):
                return None
        keys = plates[plate] << 32
        keys |= _place(well, site)
        if _all_differ(keys):
            return None
        return np.sort(np.unique(keys, return_index=True)[1])


def _place(well: np.ndarray, site: np.ndarray) -> np.ndarray:
    """Well and site as one number."""
    return well.astype(np.int64) << 16 | site.view(np.uint16)


def _all_differ(numbers: np.ndarray) -> bool:
    ordered = np.sort(numbers)
    return bool((ordered[1:] != ordered[:-1]).all())


def _folder_of(urls: Iterable[str]) -> str:
    """The folder of the first file that is there."""
    return next((url for url in urls if url), "").rpartition("/")[0] + "/"


def _shared_length(names: list[str]) -> int:
    """How many characters all file names of a site have in common; 0 if not the same for all sites."""
    files = names[0].split("\n")
    if len(files) < 2 or "" in files:
        return 0
    low, high = min(files), max(files)
    shared = next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    for name in names:
        if name.count("\n" + name[:shared]) != len(files) - 1 or "\n" in name[:shared]:
            return 0
    return shared


def _site_numbers(rows: SiteRows) -> np.ndarray:
    try:
        return np.array(list(map(int, rows.sites)), np.int16)
    except (ValueError, OverflowError) as error:
        wrong = next(at for at, site in enumerate(rows.sites) if not re.fullmatch(r"\s*-?\d{1,4}\s*", site))
        raise ValueError(
            f"{rows.source}, plate {rows.plate}, well {rows.wells[wrong]} has the site {rows.sites[wrong]!r}, expected "
            "a whole number of up to four digits; correct the table"
        ) from error
