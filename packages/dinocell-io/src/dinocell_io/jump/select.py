"""Choosing sites of an index: by source, plate and well, a number per well, balanced over sources or batches."""

import csv
import gzip
import io
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from dinocell_io.jump.denylist import Denied, denied_sites, shipped_denylist
from dinocell_io.jump.index import JumpIndex, JumpPlate
from dinocell_io.jump.tables import STAINS
from dinocell_io.plural import listed
from dinocell_io.stream.order import permutation, random_keys

STRATA = ("source", "plate_type", "batch", "plate")


def select_sites(
    index: JumpIndex,
    *,
    sources: Sequence[str] | None = None,
    plate_types: Sequence[str] | None = None,
    batches: Sequence[str] | None = None,
    plates: Sequence[str] | None = None,
    wells: Sequence[str] | None = None,
    channels: Sequence[str] = STAINS,
    sites_per_well: int | None = None,
    num_sites: int | None = None,
    stratify: str | None = "source",
    seed: int = 0,
    denylist: Iterable[Denied] | None = None,
    refuse_caution: bool = False,
) -> Int64[np.ndarray, "chosen"]:
    """Row numbers in ascending order; the same for the same index and arguments.

    sources, plate_types, batches, plates, wells: names or patterns (`*Batch1?`), any of which may match.
    channels: only plates that have all of them.
    sites_per_well: at most this many per well, drawn by `seed`.
    num_sites: the number in total, drawn evenly from each stratum (source, plate_type, batch or plate; None: from all
        alike); a stratum that has fewer gives what it has, and the others more.
    denylist: the shipped one if None; () selects what is known to be bad too. refuse_caution: leave out its `caution`
        lines as well as its `exclude` lines.
    Raises ValueError for names that match nothing, and if fewer than num_sites are there.
    """
    chosen_plates = np.array([set(channels) <= set(plate.channels) for plate in index.plates])
    if not chosen_plates.any():
        raise ValueError(f"no plate has all of the channels {', '.join(channels)}; choose fewer")
    wanted = {"source": sources, "plate_type": plate_types, "batch": batches, "plate": plates}
    for what, patterns in wanted.items():
        if patterns is not None:
            chosen_plates &= _matching(what, patterns, index.plates)
    chosen = chosen_plates[index.plate]
    if wells is not None:
        well_mask = np.array([any(fnmatchcase(name, pattern) for pattern in wells) for name in index.wells])
        if not well_mask.any():
            raise ValueError(f"no well matches {', '.join(wells)}; wells are named as {index.wells[0]}")
        chosen &= well_mask[index.well]
    levels = ("exclude", "caution") if refuse_caution else ("exclude",)
    chosen &= ~denied_sites(index, shipped_denylist() if denylist is None else denylist, levels=levels)
    rows = np.flatnonzero(chosen)
    if sites_per_well is not None:
        rows = _per_well(index, rows, sites_per_well, seed)
    if num_sites is not None:
        rows = _spread(index, rows, num_sites, stratify, seed)
    return rows


def read_plate_types(path: str | Path) -> dict[tuple[str, str, str], str]:
    """(source, batch, plate) -> type from the consortium's plate.csv or plate.csv.gz (metadata of the datasets).

    Raises ValueError for a file without the columns Metadata_Source, _Batch, _Plate and _PlateType.
    """
    data = Path(path).read_bytes()
    try:
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text))
        return {
            (row["Metadata_Source"], row["Metadata_Batch"], row["Metadata_Plate"]): row["Metadata_PlateType"]
            for row in rows
        }
    except (KeyError, OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not a table of plates ({error}); expected plate.csv.gz with the columns Metadata_Source, "
            "Metadata_Batch, Metadata_Plate and Metadata_PlateType"
        ) from error


def _matching(what: str, patterns: Sequence[str], plates: Sequence[JumpPlate]) -> Bool[np.ndarray, "plate"]:
    values = [getattr(plate, what) or "" for plate in plates]
    if what == "plate_type" and not any(values):
        raise ValueError("the index does not know the types of plates; make it with --plates plate.csv.gz")
    for pattern in patterns:
        if not any(fnmatchcase(value, pattern) for value in values):
            known = sorted(set(values))
            raise ValueError(f"no {what} matches {pattern}; this index has {listed(known, 20)}")
    return np.array([any(fnmatchcase(value, pattern) for pattern in patterns) for value in values])


def _per_well(index: JumpIndex, rows: Int64[np.ndarray, "row"], count: int, seed: int) -> Int64[np.ndarray, "chosen"]:
    if count < 1:
        raise ValueError(f"sites_per_well is {count}, expected 1 or more")
    identity: dict[tuple[str, str, str], int] = {}
    numbers = np.array([identity.setdefault((p.source, p.batch, p.plate), len(identity)) for p in index.plates])
    well = numbers[index.plate[rows]] << 16 | index.well[rows]
    order = np.lexsort((random_keys(rows, seed), well))
    starts = np.flatnonzero(np.diff(well[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return np.sort(rows[order[rank < count]])


def _spread(
    index: JumpIndex, rows: Int64[np.ndarray, "row"], count: int, stratify: str | None, seed: int
) -> Int64[np.ndarray, "chosen"]:
    if not 1 <= count <= len(rows):
        raise ValueError(f"num_sites is {count}, expected 1 to {len(rows)}, the sites that match; widen the selection")
    if stratify not in (None, *STRATA):
        raise ValueError(f"stratify is {stratify}, expected {', '.join(STRATA)} or None")
    shuffled = rows[permutation(len(rows), seed)]
    if stratify is None:
        return np.sort(shuffled[:count])
    numbers: dict[str | None, int] = {}
    of_plate = np.array([numbers.setdefault(getattr(plate, stratify), len(numbers)) for plate in index.plates])
    strata = of_plate[index.plate[shuffled]]
    quotas = even_quotas(np.bincount(strata, minlength=len(numbers)), count)
    chosen = [shuffled[strata == number][:quota] for number, quota in enumerate(quotas.tolist()) if quota]
    return np.sort(np.concatenate(chosen))


def even_quotas(available: Int64[np.ndarray, "stratum"], count: int) -> Int64[np.ndarray, "stratum"]:
    """How many to take from each stratum: as equal as possible, no more than it has, `count` in all."""
    quotas = np.zeros_like(available)
    for position, number in enumerate(np.argsort(available, kind="stable").tolist()):
        left = count - int(quotas.sum())
        quotas[number] = min(int(available[number]), left // (len(available) - position))
    return quotas


def sites_by(index: JumpIndex, rows: Int64[np.ndarray, "row"], what: str = "source") -> Mapping[str, int]:
    """How many of the rows each source (plate_type, batch, plate) has."""
    per_plate = np.bincount(index.plate[rows], minlength=len(index.plates))
    counts: dict[str, int] = {}
    for plate, number in zip(index.plates, per_plate.tolist(), strict=True):
        if number:
            name = getattr(plate, what) or "(unknown)"
            counts[name] = counts.get(name, 0) + number
    return counts
