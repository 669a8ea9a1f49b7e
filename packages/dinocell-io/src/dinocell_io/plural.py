"""Numbers and lists of things in messages."""

from collections.abc import Sequence


def counted(number: int, thing: str) -> str:
    """The number with the noun as it follows it: "1 image", "0 images". For nouns whose plural ends with s alone."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def listed(names: Sequence[object], limit: int, separator: str = ", ") -> str:
    """The first names or numbers, and how many more there are: "a, b and 7 more"."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return separator.join(str(name) for name in names[:limit]) + more
