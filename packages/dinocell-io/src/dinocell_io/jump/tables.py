"""Sites from the tables that the JUMP consortium publishes: load_data per plate, or one index of all plates.

Channels are found by the names of columns. Channel numbers, site numbers and file names mean something else at each
source, and sometimes from batch to batch. Every Metadata_ column is text: plates of some sources are all digits.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from dinocell_io.plural import counted
from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.store import Store
from dinocell_io.stores.uri import is_remote

STAINS = ("DNA", "RNA", "ER", "AGP", "Mito")
BRIGHTFIELDS = ("Brightfield", "BrightfieldHigh", "BrightfieldLow")
TABLE_NAMES = ("load_data.csv", "load_data.csv.gz", "load_data.parquet")
_METADATA = ("Source", "Batch", "Plate", "Well", "Site")
_COLUMN = re.compile(r"(URL|PathName|FileName)_(?:Orig)?(?!Illum)(.+)")
_BRIGHT = re.compile(r"bright|zbf", re.IGNORECASE)
_TABLE_PLACE = re.compile(r"(?:^|/)(?P<source>[^/]+)/workspace/load_data_csv/(?P<batch>[^/]+)/(?P<plate>[^/]+)/[^/]+$")
_GALLERY = "s3://cellpainting-gallery/"
_ROWS_AT_ONCE = 1 << 13
_TABLES_AT_ONCE = 16


@dataclass(frozen=True)
class SiteRows:
    """Sites of one plate: for each well and site number the address of each channel's file, "" where it has none."""

    source: str
    batch: str
    plate: str
    wells: list[str]
    sites: list[str]
    urls: dict[str, list[str]]


def rows_of_parquet(data: str | Path | bytes) -> Iterator[SiteRows]:
    """The sites of a Parquet table, a part at a time; needs the extra `jump` (pyarrow).

    Raises ModuleNotFoundError without it, and ValueError for a damaged table or one without the columns.
    """
    parquet, arrow_error = _pyarrow()
    name = "the Parquet table" if isinstance(data, bytes) else str(data)
    try:
        source = io.BytesIO(data) if isinstance(data, bytes) else data
        # A plate's name comes thousands of times: kept as a number, it is made into text once. What is read ahead
        # would stay in memory to the end, the whole file.
        repeated = [f"Metadata_{key}" for key in _METADATA]
        file = parquet.ParquetFile(source, read_dictionary=repeated, pre_buffer=False)
        columns = _columns_of(file.schema_arrow.names, name)
        wanted = sorted(set(columns.metadata.values()) | columns.files)
        for part in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=wanted):
            table = {column: _cells(part.column(at)) for at, column in enumerate(part.schema.names)}
            yield from _by_plate(table, columns, name)
    except FileNotFoundError:
        raise
    except (arrow_error, OSError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} cannot be read as Parquet ({error}); download it again") from error


def _cells(column: Any) -> list[Any]:
    """The values of an Arrow array, None where there is none."""
    if hasattr(column, "dictionary") and column.null_count == 0:
        names = column.dictionary.to_pylist()
        return [names[index] for index in column.indices.to_numpy().tolist()]
    return column.to_numpy(zero_copy_only=False).tolist()


def rows_of_csv(text: str, *, name: str, defaults: Mapping[str, str] | None = None) -> Iterator[SiteRows]:
    """The sites of one load_data table. `defaults` stand in for Source, Batch and Plate where it lacks the columns."""
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        header, *rows = reader
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{name} cannot be read as CSV ({error}); download it again") from error
    columns = _columns_of(header, name, defaults)
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(
                f"{name}, line {number} has {counted(len(row), 'value')} and the header {len(header)}; it is cut short "
                "or damaged, download it again"
            )
    values = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    table = {column: list(cells) for column, cells in zip(header, values, strict=True)}
    yield from _by_plate(table, columns, name, defaults)


def rows_of_load_data(uri: str | Path) -> Iterator[SiteRows]:
    """The sites of all load_data tables below a folder or S3 prefix, one table per plate.

    An S3 prefix is that of a source, or one in its `workspace/load_data_csv/`.
    Of load_data.csv, .csv.gz and .parquet in one folder the first is read; the tables with illumination hold the
    same sites in twice the bytes and are left alone. Source, batch and plate come from the path
    `<source>/workspace/load_data_csv/<batch>/<plate>/` where a table lacks the columns.
    """
    text = str(uri)
    store, prefix = open_store(text if text.endswith("/") else f"{text}/")
    if "load_data_csv" not in prefix.split("/") and is_remote(text):
        # a source's prefix holds its images too, millions of keys that must not be listed
        prefix += "workspace/load_data_csv/"
    keys = _table_keys(store, prefix)
    if not keys:
        raise ValueError(f"{uri} holds no {', '.join(TABLE_NAMES)}; expected the folder load_data_csv of a source")
    with ThreadPoolExecutor(_TABLES_AT_ONCE) as pool:
        # a few tables ahead, not all of them: each is megabytes
        for start in range(0, len(keys), _TABLES_AT_ONCE):
            part = keys[start : start + _TABLES_AT_ONCE]
            for key, data in zip(part, pool.map(store.get, part), strict=True):
                yield from _rows_of_table(key, data)


def channel_of_column(name: str) -> str:
    """The channel a column names: a stain, a kind of brightfield, or the name as it stands."""
    for stain in STAINS:
        if name.lower() == stain.lower():
            return stain
    if _BRIGHT.search(name):
        high = re.search(r"_H$|high", name, re.IGNORECASE)
        low = re.search(r"_L$|low", name, re.IGNORECASE)
        return BRIGHTFIELDS[1] if high else BRIGHTFIELDS[2] if low else BRIGHTFIELDS[0]
    return name


@dataclass(frozen=True)
class _Columns:
    """Which column holds what. A channel has a URL, or a path and a file name."""

    metadata: dict[str, str]
    urls: dict[str, str]
    paths: dict[str, tuple[str, str]]

    @property
    def files(self) -> set[str]:
        return {*self.urls.values(), *(column for pair in self.paths.values() for column in pair)}


def _columns_of(header: Sequence[str], name: str, defaults: Mapping[str, str] | None = None) -> _Columns:
    metadata = {key: f"Metadata_{key}" for key in _METADATA if f"Metadata_{key}" in header}
    missing = [key for key in _METADATA if key not in metadata and key not in (defaults or {})]
    found: dict[str, dict[str, str]] = {"URL": {}, "PathName": {}, "FileName": {}}
    for column in header:
        match = _COLUMN.fullmatch(column)
        if match:
            found[match[1]][channel_of_column(match[2])] = column
    paths = {key: (path, found["FileName"][key]) for key, path in found["PathName"].items() if key in found["FileName"]}
    if missing or not (found["URL"] or paths):
        raise ValueError(
            f"{name} has the columns {', '.join(header[:12]) or '(none)'}; expected Metadata_Source, _Batch, _Plate, "
            "_Well and _Site, and URL_OrigDNA ... or PathName_OrigDNA and FileName_OrigDNA ..."
        )
    return _Columns(metadata, found["URL"], {} if found["URL"] else paths)


def _by_plate(
    table: Mapping[str, list[Any]], columns: _Columns, name: str, defaults: Mapping[str, str] | None = None
) -> Iterator[SiteRows]:
    count = len(table[columns.metadata["Well"]])
    values = {key: table[column] for key, column in columns.metadata.items()}
    empty = [key for key, cells in values.items() if None in cells or "" in cells]
    if empty:
        raise ValueError(f"{name} lacks the {', '.join(empty)} of some sites; it is damaged, download it again")
    for key, value in (defaults or {}).items():
        values.setdefault(key, [value] * count)
    urls = {channel: table[column] for channel, column in columns.urls.items()}
    for channel, (path, file) in columns.paths.items():
        urls[channel] = [_joined(folder, base, name) for folder, base in zip(table[path], table[file], strict=True)]
    plates: dict[tuple[str, str, str], list[int]] = {}
    for at, triple in enumerate(zip(values["Source"], values["Batch"], values["Plate"], strict=True)):
        plates.setdefault(triple, []).append(at)
    for (source, batch, plate), rows in plates.items():
        # one plate after the other is the rule; then nothing needs to be picked out
        whole = rows[-1] - rows[0] + 1 == len(rows)
        part = slice(rows[0], rows[-1] + 1)

        def picked(cells: list[Any], rows: list[int] = rows, whole: bool = whole, part: slice = part) -> list[Any]:
            return cells[part] if whole else [cells[at] for at in rows]

        yield SiteRows(
            str(source),
            str(batch),
            str(plate),
            picked(values["Well"]),
            list(map(str, picked(values["Site"]))),
            {channel: _without_none(picked(cells)) for channel, cells in urls.items()},
        )


def _without_none(cells: list[Any]) -> list[str]:
    return [cell or "" for cell in cells] if None in cells else cells


def _joined(folder: str, base: str, name: str) -> str:
    """The address of an old table's file: its PathName is one of the machine on which the table was made."""
    if not base:
        return ""
    path = f"{folder.rstrip('/')}/{base}"
    if "://" in path:
        return path
    _, found, rest = path.partition("cpg0016-jump/")
    if not found:
        raise ValueError(
            f"{name} says that files are in {folder}, which is not an address in the gallery; use the table of "
            "load_data_csv that has URL_ columns"
        )
    return _GALLERY + found + rest


def _table_keys(store: Store, prefix: str) -> list[str]:
    best: dict[str, str] = {}
    for found in store.list(prefix):
        folder, _, base = found.key.rpartition("/")
        if base in TABLE_NAMES:
            known = best.get(folder)
            if known is None or TABLE_NAMES.index(base) < TABLE_NAMES.index(known.rpartition("/")[2]):
                best[folder] = found.key
    return sorted(best.values())


def _rows_of_table(key: str, data: bytes) -> Iterable[SiteRows]:
    if key.endswith(".parquet"):
        return rows_of_parquet(data)
    match = _TABLE_PLACE.search(key)
    defaults = {} if match is None else {name.capitalize(): value for name, value in match.groupdict().items()}
    try:
        text = (gzip.decompress(data) if key.endswith(".gz") else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{key} cannot be read as CSV ({error}); download it again") from error
    return rows_of_csv(text, name=key, defaults=defaults)


def _pyarrow() -> tuple[Any, type[Exception]]:
    try:
        return import_module("pyarrow.parquet"), import_module("pyarrow").ArrowException
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'reading Parquet needs pyarrow; install it with pip install "dinocell-io[jump]", or index load_data.csv'
        ) from error
