"""Damaged images of every format that is read without an extra (see fuzz.py).

Right is: the pixels of the whole file, or what tifffile, Pillow or NumPy read of the damaged one, bit for bit, or a
ValueError that names the file. A file that was only cut must give the pixels of the whole one. Compared are the stored
numbers, before palettes, WhiteIsZero and colour spaces become grey or RGB; that step runs too, for its errors.
"""

import io
import logging
import random
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image as PillowImage

from dinocell_io import LazyImage, open_image
from dinocell_io.formats.tiff.tiff_image import open_stored_tiff
from dinocell_io.stores.stored_file import stored_file

HEIGHT, WIDTH = 20, 24
_OME = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
TIFF_KINDS: dict[str, dict[str, Any]] = {
    "plain": {"metadata": None},
    "strips": {"metadata": None, "rowsperstrip": 7},
    "big-endian": {"metadata": None, "byteorder": ">", "rowsperstrip": 5},
    "bigtiff": {"metadata": None, "bigtiff": True},
    "deflate": {"metadata": None, "compression": "zlib", "predictor": True},
    "lzw": {"metadata": None, "compression": "lzw", "rowsperstrip": 5},
    "packbits": {"metadata": None, "compression": "packbits"},
    "zstd": {"metadata": None, "compression": "zstd"},
    "jpeg2000": {"metadata": None, "compression": "jpeg2000"},
    "tiles": {"compression": "zlib", "tile": (16, 16)},
    "plain tiles": {"tile": (16, 16), "metadata": None},
    "shaped": {"metadata": {"axes": "CYX"}},
    "ome": {"ome": True, "metadata": {"axes": "CYX", "Channel": {"Name": ["a", "b"]}, "PhysicalSizeX": 0.5}},
    "ome deflate": {"ome": True, "compression": "zlib", "metadata": {"axes": "ZYX"}},
    "imagej": {"imagej": True, "metadata": {"axes": "CYX", "unit": "um"}},
    "imagej deflate": {"imagej": True, "compression": "zlib", "metadata": {"axes": "TYX"}},
}
_TAG_VALUES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 20, 24, 32, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1)


@cache
def whole_files() -> dict[str, bytes]:
    """A small file of each format, by its kind; the last word of a kind is the suffix."""
    noise = np.random.default_rng(0).integers(1, 65536, (2, HEIGHT, WIDTH)).astype(np.uint16)
    grey, rgb = (noise[0] >> 8).astype(np.uint8), np.dstack([noise[0] >> 8] * 3).astype(np.uint8)
    files = {f"{name} tif": _tiff(noise, **options) for name, options in TIFF_KINDS.items()}
    files["float tif"] = _tiff(noise[0].astype(np.float32), compression="zlib", predictor=True, metadata=None)
    files["rgb tif"] = _tiff(rgb, photometric="rgb", metadata=None)
    files["planar tif"] = _tiff(np.moveaxis(rgb, 2, 0), photometric="rgb", planarconfig="separate", metadata=None)
    files["jpeg tif"] = _tiff(rgb, photometric="rgb", compression="jpeg", metadata=None)
    files["ycbcr tif"] = _tiff(rgb, photometric="ycbcr", metadata=None, extratags=[(530, "H", 2, (1, 1), True)])
    colours = np.stack([np.arange(256, dtype=np.uint16) * 257] * 3)
    files["palette tif"] = _tiff(grey, photometric="palette", colormap=colours, metadata=None)
    files["bilevel tif"] = _tiff(grey > 99, metadata=None)
    files["pyramid tif"] = _pyramid(noise[0])
    files["set tif"] = _tiff(noise[0], metadata=None, description=_set_of_two())
    for name, image in (("L", grey), ("RGB", rgb), ("I;16", noise[0]), ("P", grey), ("1", grey > 99)):
        content = io.BytesIO()
        made = PillowImage.fromarray(image)
        (made.convert("P") if name == "P" else made).save(content, format="png")
        files[f"{name} png"] = content.getvalue()
    for name, image in (("L", grey), ("RGB", rgb)):
        content = io.BytesIO()
        PillowImage.fromarray(image).save(content, format="jpeg")
        files[f"{name} jpg"] = content.getvalue()
    content = io.BytesIO()
    np.save(content, noise)
    files["array npy"] = content.getvalue()
    return files


def _tiff(pixels: np.ndarray, **options: Any) -> bytes:
    content = io.BytesIO()
    if not options.get("imagej"):
        options.setdefault("photometric", "minisblack")
    tifffile.imwrite(content, pixels, **options)
    return content.getvalue()


def _pyramid(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    with tifffile.TiffWriter(content) as writer:
        writer.write(pixels, subifds=1, tile=(16, 16), photometric="minisblack", metadata=None)
        writer.write(pixels[::2, ::2], subfiletype=1, tile=(16, 16), photometric="minisblack", metadata=None)
    return content.getvalue()


def _set_of_two() -> str:
    planes = "".join(
        f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'
        for c, name in enumerate(("damaged.tif", "other.tif"))
    )
    return (
        f'{_OME}<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="{WIDTH}" SizeY="{HEIGHT}" SizeZ="1" '
        f'SizeC="2" SizeT="1"><Channel ID="Channel:0:0"/><Channel ID="Channel:0:1"/>{planes}</Pixels></Image></OME>'
    )


def damaged(content: bytes, kind: str, chance: random.Random) -> tuple[bytes, str]:
    """The content with one to four faults, and what they are called together."""
    if chance.random() < 0.15:
        return content[: chance.randrange(1, len(content))], "cut"
    ways: list[Callable[[bytearray, random.Random], None]] = [_flipped, _flipped, _spliced, _zeroed, _text_edited]
    if kind.endswith(" tif"):
        ways += [_tag_edited] * 4
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        chance.choice(ways)(changed, chance)
    return bytes(changed), "changed"


def _place(content: bytearray, chance: random.Random) -> int:
    """Most of what can go wrong is in the first and the last bytes: headers, page lists, tags."""
    near, end = min(400, len(content)), len(content)
    return chance.choice((chance.randrange(near), end - 1 - chance.randrange(near), chance.randrange(end)))


def _flipped(content: bytearray, chance: random.Random) -> None:
    content[_place(content, chance)] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))


def _spliced(content: bytearray, chance: random.Random) -> None:
    start, length, target = _place(content, chance), chance.randrange(1, 40), _place(content, chance)
    part = content[start : start + length]
    if chance.random() < 0.3:
        content[target:target] = part
    elif chance.random() < 0.4:
        del content[target : target + length]
    else:
        content[target : target + len(part)] = part


def _zeroed(content: bytearray, chance: random.Random) -> None:
    start = _place(content, chance)
    length = min(chance.randrange(1, 200), len(content) - start)
    content[start : start + length] = bytes(length)


def _text_edited(content: bytearray, chance: random.Random) -> None:
    """Another number, name or file in OME-XML, ImageJ's or tifffile's text."""
    found = list(re.finditer(rb"\d+|Size[XYZCT]|FileName|[a-z]+\.tif|channels|slices|axes", bytes(content)))
    if found:
        match = chance.choice(found)
        new = chance.choice((b"0", b"1", b"2", b"3", b"99", b"-1", b"1e9", b"SizeX", b"other.tif", b"frames", b""))
        content[match.start() : match.end()] = new.ljust(match.end() - match.start())[: match.end() - match.start()]


def _tag_edited(content: bytearray, chance: random.Random) -> None:
    """Another type, count or value of one of the first page's tags."""
    order = "<" if content[:2] == b"II" else ">"
    if len(content) < 16 or content[2:4] not in (b"*\0", b"\0*"):
        return
    (start,) = struct.unpack_from(order + "I", content, 4)
    if start + 2 > len(content):
        return
    (count,) = struct.unpack_from(order + "H", content, start)
    at = start + 2 + 12 * chance.randrange(max(1, count))
    if at + 12 <= len(content):
        layout, offset = chance.choice((("H", 2), ("I", 4), ("I", 8), ("H", 8), ("I", 8), ("H", 8)))
        limit = 2 ** (16 if layout == "H" else 32)
        value = chance.choice(_TAG_VALUES) if chance.random() < 0.8 else chance.randrange(len(content))
        struct.pack_into(order + layout, content, at + offset, value % limit)


def verdict(folder: Path, number: int, seed: int) -> tuple[str, str]:
    logging.getLogger("tifffile").setLevel(logging.ERROR)
    logging.lastResort = None  # what tifffile says of damage is expected here
    chance = random.Random(f"{seed} {number}")
    kind = chance.choice(list(whole_files()))
    whole = whole_files()[kind]
    content, way = damaged(whole, kind, chance)
    suffix = kind.rpartition(" ")[2]
    path, untouched = folder / f"damaged.{suffix}", folder / "whole" / f"damaged.{suffix}"
    untouched.parent.mkdir(exist_ok=True)
    for place in (path.parent, untouched.parent):
        (place / "other.tif").write_bytes(whole_files()["plain tif"])
    path.write_bytes(content)
    untouched.write_bytes(whole)
    try:
        ours = _numbers(path)
    except (ValueError, OSError) as error:
        return ("refused", "") if path.name in str(error) else ("unnamed", f"{kind}, {way}: {error!r:.300}")
    except Exception as error:  # noqa: BLE001  the verdict of this program
        return "foreign", f"{kind}, {way}: {error!r:.300}"
    known = [_whole_numbers(kind, untouched)]
    if not _are_known(ours, known) and way == "cut":
        return "silent", f"{kind}, cut to {len(content)} of {len(whole)} bytes: {ours.dtype} {ours.shape}"
    if not _are_known(ours, known):
        known += _others(path)
    return ("right", "") if _are_known(ours, known) else ("silent", f"{kind}, {way}: {ours.dtype} {ours.shape}")


@cache
def _whole_numbers(kind: str, path: Path) -> np.ndarray:
    return _numbers(path)


def _numbers(path: Path) -> np.ndarray:
    """The stored numbers of the first plane, all channels."""
    displayed = open_image(path, scene=_first_scene(path))
    _plane(displayed)
    if path.suffix != ".tif":
        return _plane(displayed)
    return _plane(open_stored_tiff(stored_file(path), _first_scene(path)).image)


def _first_scene(path: Path) -> int | None:
    try:
        open_image(path)
    except ValueError as error:
        return 0 if "Choose one with scene=" in str(error) else None
    return None


def _plane(image: LazyImage) -> np.ndarray:
    return image.read(z=0, t=None if "i" in image.axes else 0)


def _others(path: Path) -> list[np.ndarray]:
    """What other libraries read, as [channel y x]: of TIFF the first plane of each series, of every kind of axis."""
    found: list[np.ndarray] = []
    for read in (_by_tifffile, _by_pillow, lambda path: [np.load(path)]):
        with suppress(Exception):  # whatever they raise of damage
            found += [numbers[None] if numbers.ndim == 2 else numbers for numbers in read(path)]
    return found


def _by_pillow(path: Path) -> list[np.ndarray]:
    found = []
    with PillowImage.open(path) as opened:
        for frame in range(getattr(opened, "n_frames", 1)):
            opened.seek(frame)
            for image in (opened, opened.convert("RGB"), opened.convert("L")):
                found.append(np.moveaxis(np.atleast_3d(np.asarray(image)), 2, 0))
    return found


def _by_tifffile(path: Path) -> list[np.ndarray]:
    found = []
    for ignored in ((), ("shaped",), ("shaped", "ome", "imagej")):  # texts that are broken, or do not fit the pages
        with suppress(Exception), tifffile.TiffFile(path) as tif:
            for flag in ignored:
                setattr(tif, f"is_{flag}", False)
            for series in [level for each in tif.series for level in each.levels]:
                axes, numbers = series.get_axes(squeeze=False), series.asarray(squeeze=False)
                found += [planes for axis in "CIQ" if (planes := _as_planes(axes, numbers, axis)) is not None]
    return found


def _as_planes(axes: str, numbers: np.ndarray, page_axis: str) -> np.ndarray | None:
    if "Y" not in axes or "X" not in axes:
        return None
    kept = [axis for axis in (page_axis, "S", "Y", "X") if axis in axes]
    taken = numbers[tuple(slice(None) if axis in kept else 0 for axis in axes)]
    left = [axis for axis in axes if axis in kept]
    ordered = taken.transpose([left.index(axis) for axis in kept])
    return ordered.reshape(-1, *ordered.shape[-2:])


def _are_known(ours: np.ndarray, known: list[np.ndarray]) -> bool:
    """Whether each plane is the plane of its number in one of the others."""
    return all(
        any(
            number < len(planes) and np.array_equal(plane, planes[number], equal_nan=plane.dtype.kind == "f")
            for planes in known
            if planes.dtype.kind in "buif"
        )
        for number, plane in enumerate(ours)
    )
