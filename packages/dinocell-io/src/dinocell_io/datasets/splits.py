"""`splits.csv`: which image of a dataset belongs to which split and group."""

import csv
import io
import unicodedata
from collections import Counter
from pathlib import Path

from dinocell_io.plural import counted, listed


def read_splits(table: str | Path) -> dict[str, dict[str, str]]:
    """The rows by image name, each with its cells by column; rows of empty cells are left out.

    Names are composed (NFC), as `open_dataset` gives them. Raises ValueError, with the line, for a file that is not
    UTF-8 text separated by commas, without the columns name and split, with a column twice, with rows longer or
    shorter than the header, and for a name that comes twice.
    """
    return parse_splits(Path(table).read_bytes(), str(table))


def parse_splits(content: bytes, table: str) -> dict[str, dict[str, str]]:
    """`read_splits` of what is in a file; `table` is its name for messages."""
    try:
        text = content.decode("utf-8-sig")  # spreadsheets write a byte order mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{table} is not text in UTF-8 ({error}); save it as 'CSV UTF-8'") from error
    lines = csv.reader(io.StringIO(text, newline=""))
    try:
        numbered = [(lines.line_num, line) for line in lines if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise ValueError(f"{table}, line {lines.line_num}: {error}; save it as CSV again") from error
    columns = [column.strip() for column in numbered[0][1]] if numbered else []
    missing = [column for column in ("name", "split") if column not in columns]
    if missing:
        raise ValueError(
            f"{table} has the columns {', '.join(columns) or '(none)'}, separated by commas; {' and '.join(missing)} "
            "missing"
        )
    repeated = [column for column, number in Counter(columns).items() if number > 1 and column]
    if repeated:
        raise ValueError(f"{table} has the columns {', '.join(repeated)} more than once; keep one of each")
    rows = [_row(columns, line, f"{table}, line {number}") for number, line in numbered[1:]]
    twice = [name for name, number in Counter(row["name"] for row in rows).items() if number > 1]
    if twice:
        raise ValueError(f"{table} names some images more than once: {listed(sorted(twice), 10)}; keep one row of each")
    return {row["name"]: row for row in rows}


def _row(columns: list[str], cells: list[str], place: str) -> dict[str, str]:
    if len(cells) < len(columns) or any(cell.strip() for cell in cells[len(columns) :]):
        raise ValueError(f"{place} has {counted(len(cells), 'cell')}, expected {len(columns)}: {', '.join(columns)}")
    row = {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
    return row | {"name": composed(cells[columns.index("name")])}


def composed(name: str) -> str:
    """The name with accents composed with their letters (NFC): some systems part them in file names."""
    return unicodedata.normalize("NFC", name)
