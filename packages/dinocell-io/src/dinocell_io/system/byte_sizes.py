"""Numbers of bytes as people write them."""

import re

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """The bytes of "500 GB", "1.5TiB", "2000": powers of 1000, and of 1024 with an i. Raises ValueError otherwise."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size; expected a number with a unit, such as 500GB, 1.5TB or 64MiB")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


def format_bytes(count: int) -> str:
    """Three digits and a unit of 1000: "1.23 GB", "12 B"."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if abs(size) < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:.3g} {unit}"
