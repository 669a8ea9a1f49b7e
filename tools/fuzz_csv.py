"""Damaged splits.csv (see fuzz.py).

Right is: the splits and groups that Python's csv reads of the damaged text, or a ValueError that names the file and
leaves nothing out.
"""

import csv
import io
import random
import unicodedata
from pathlib import Path

from dinocell_io import read_splits

_PIECES = ("\0", "\n", "\r", "\r\n", ",", ",,", ";", '"', '""', "\t", " ", "\ufeff", "\u00f6", "o\u0308", "train", "-1")
_NAMES = ("a", "H\u00f6he", "well 1, site", 'q"t')


def whole_table(chance: random.Random) -> str:
    columns = ["name", "split", "field_group", "modality"]
    names = [f"{chance.choice(_NAMES)} {row}" for row in range(chance.randrange(1, 6))]
    content = io.StringIO()
    writer = csv.writer(content, lineterminator=chance.choice(("\n", "\r\n")))
    writer.writerow(columns)
    writer.writerows([name, chance.choice(("train", "val", "")), f"g{number}", ""] for number, name in enumerate(names))
    return content.getvalue()


def damaged(text: str, chance: random.Random) -> bytes:
    """One to four pieces of text put in, taken out or doubled, a cut, or another encoding."""
    for _ in range(chance.choice((1, 1, 2, 3, 4))):
        at, end = sorted(chance.randrange(len(text) + 1) for _ in range(2))
        way = chance.random()
        if way < 0.5:
            text = text[:at] + chance.choice(_PIECES) + text[at:]
        elif way < 0.7:
            text = text[:at] + text[min(end, at + 8) :]
        elif way < 0.8:
            text = text[:end] + text[at:end] + text[end:]
        elif way < 0.9:
            text = text[:at]
        else:
            lines = text.split("\n")
            chance.shuffle(lines)
            text = "\n".join(lines)
    return text.encode(chance.choice(("utf-8",) * 8 + ("utf-8-sig", "latin-1", "utf-16")), errors="replace")


def verdict(folder: Path, number: int, seed: int) -> tuple[str, str]:
    chance = random.Random(f"{seed} {number}")
    content = damaged(whole_table(chance), chance)
    path = folder / "splits.csv"
    path.write_bytes(content)
    try:
        rows = read_splits(path)
    except (ValueError, OSError) as error:
        return ("refused", "") if path.name in str(error) else ("unnamed", f"{error!r:.300}")
    except Exception as error:  # noqa: BLE001  the verdict of this program
        return "foreign", f"{content!r:.200}: {error!r:.300}"
    text = content.decode("utf-8-sig")
    lines = [line for line in csv.reader(io.StringIO(text, newline="")) if any(cell.strip() for cell in line)]
    columns = [column.strip() for column in lines[0]]
    plain = [dict(zip(columns, line, strict=False)) for line in lines[1:]]
    expected = [
        (unicodedata.normalize("NFC", row["name"]), row["split"].strip(), row.get("field_group", "").strip())
        for row in plain
    ]
    ours = [(name, row["split"], row.get("field_group", "")) for name, row in rows.items()]
    return ("right", "") if ours == expected else ("silent", f"{content!r:.300}: {ours!r:.200}, not {expected!r:.200}")
