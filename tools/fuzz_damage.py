"""Damage to bytes and to JSON, for the kinds of fuzz.py."""

import random
import struct
from collections.abc import Callable
from typing import Any

_VALUES: tuple[Any, ...] = (None, True, 0, -1, 1e300, "", "x", [], ["x"], {}, {"x": 1}, 10**30, float("nan"))
_TAG_NUMBERS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 20, 24, 32, 255, 65535, 2**31, 2**32 - 1)


def edited(value: Any, chance: random.Random) -> Any:
    """The same JSON with one value replaced or removed."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        if chance.random() < 0.3:
            return {name: kept for name, kept in value.items() if name != key}
        return {**value, key: edited(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        index = chance.randrange(len(value))
        return [*value[:index], edited(value[index], chance), *value[index + 1 :]]
    return chance.choice(_VALUES)


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def harmed(content: bytes, chance: random.Random, *, tags: bool = False) -> bytes:
    """The bytes with one to four of them changed, moved, removed or set to zero; with `tags` also those of a TIFF."""
    changed = bytearray(content)
    ways: list[Callable[[bytearray, random.Random], None]] = [_flipped, _flipped, _moved, _zeroed]
    ways += [_tag_edited] * 4 * tags
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        if changed:
            chance.choice(ways)(changed, chance)
    return bytes(changed)


def _place(content: bytearray, chance: random.Random) -> int:
    """Most of what can go wrong is in the first and the last bytes."""
    near = min(400, len(content))
    first, last = chance.randrange(near), len(content) - 1 - chance.randrange(near)
    return chance.choice((first, last, chance.randrange(len(content))))


def _flipped(content: bytearray, chance: random.Random) -> None:
    content[_place(content, chance)] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))


def _moved(content: bytearray, chance: random.Random) -> None:
    start, target, length = _place(content, chance), _place(content, chance), chance.randrange(1, 40)
    part = content[start : start + length]
    way = chance.random()
    if way < 0.3:
        content[target:target] = part
    elif way < 0.6:
        del content[target : target + length]
    else:
        content[target : target + len(part)] = part


def _zeroed(content: bytearray, chance: random.Random) -> None:
    start = _place(content, chance)
    length = min(chance.randrange(1, 200), len(content) - start)
    content[start : start + length] = bytes(length)


def _tag_edited(content: bytearray, chance: random.Random) -> None:
    """Another tag, type, count or value in the first directory of a classic TIFF."""
    order = "<" if content[:2] == b"II" else ">"
    if len(content) < 16 or content[2:4] not in (b"*\0", b"\0*"):
        return
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    if start + 2 > len(content):
        return
    (count,) = struct.unpack_from(f"{order}H", content, start)
    at = start + 2 + 12 * chance.randrange(max(1, count))
    if at + 12 <= len(content):
        layout, offset = chance.choice((("H", 0), ("H", 2), ("I", 4), ("I", 8), ("H", 8)))
        struct.pack_into(
            order + layout, content, at + offset, chance.choice(_TAG_NUMBERS) % 2 ** (8 * struct.calcsize(layout))
        )
