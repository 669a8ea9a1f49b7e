"""Writing the index of JUMP sites: one folder of columns, small enough to map whole.

Addresses repeat: of `<folder>/<plate>_A01_T0001F001...C01.tif` the folder belongs to the plate, and without the
plate's name the file names of most plates are the same. Each distinct set of one site's file names is stored once.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import atomic_folder
from .jump_tables import SiteRows

INDEX_VERSION = 1
PLATE_MARK = "\1"
_SITE_MARK = "\2"
COLUMNS = ("plate", "well", "site", "names", "name_starts", "name_bytes")
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
    """Write the index of all sites in `rows` as a new folder, whole or not at all; 8 million take about a minute.

    plate_types: (source, batch, plate) -> type, see `read_plate_types`; needed to select by type.
    A site that comes twice is kept once. Raises ValueError without sites, for a site number that is no number, and
    for files in different buckets.
    """
    builder = _Builder(plate_types or {})
    for part in rows:
        builder.add(part)
    columns, tables = builder.finished()
    with atomic_folder(folder) as temporary:
        digest = hashlib.sha256(json.dumps(tables, sort_keys=True).encode())
        for name in COLUMNS:
            np.save(temporary / f"{name}.npy", columns[name])
            digest.update(columns[name].data)
        tables["fingerprint"] = digest.hexdigest()[:32]
        (temporary / "tables.json").write_text(json.dumps(tables, ensure_ascii=False), encoding="utf-8")
    return Path(folder)


class _Builder:
    def __init__(self, plate_types: Mapping[tuple[str, str, str], str]) -> None:
        self._types = plate_types
        self._root: str | None = None
        self._wells: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._name_parts: list[bytes] = []
        self._name_lengths: list[np.ndarray] = []
        self._num_names = 0
        self._plates: list[dict[str, Any]] = []
        self._plate_numbers: dict[tuple[object, ...], int] = {}
        self._columns: dict[str, list[np.ndarray]] = {"plate": [], "well": [], "site": [], "names": []}

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
        self._columns["plate"].append(np.full(len(names), plate, np.uint16))
        self._columns["well"].append(np.array([wells[well] for well in rows.wells], np.uint16))
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
        self._name_parts.append(b"".join(encoded))
        self._name_lengths.append(np.array([len(name) for name in encoded], np.int64))
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

    def finished(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        if not self._plates:
            raise ValueError("the tables hold no site; nothing was indexed")
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        kept = self._first_of_each_site(columns)
        num_repeated = len(columns["plate"]) - len(kept)
        if num_repeated:
            columns = {name: column[kept] for name, column in columns.items()}
        columns["name_starts"] = np.concatenate([[0], np.cumsum(np.concatenate(self._name_lengths))])
        columns["name_bytes"] = np.frombuffer(b"".join(self._name_parts), np.uint8)
        tables = {
            "version": INDEX_VERSION,
            "num_sites": len(kept),
            "num_repeated": num_repeated,
            "root": self._root,
            "wells": list(self._wells),
            "plates": self._plates,
        }
        return columns, tables

    def _first_of_each_site(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """The rows whose plate (in whichever folder), well and site were not seen before."""
        identity: dict[tuple[str, str, str], int] = {}
        plates = np.array(
            [identity.setdefault((p["source"], p["batch"], p["plate"]), len(identity)) for p in self._plates]
        )
        keys = plates[columns["plate"]] << 32 | columns["well"].astype(np.int64) << 16
        keys |= columns["site"].astype(np.uint16)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        is_first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        return np.arange(len(keys)) if is_first.all() else np.sort(order[is_first])


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
