"""Sites of one plate from the names of its files, for a plate that no table describes.

File names number the channels; which stain a number is differs between sources and batches, so the caller says it.
The site is the number in the file name, which is not the Metadata_Site of the tables everywhere.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dinocell_io.jump.tables import SiteRows
from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.store import ObjectInfo
from dinocell_io.stores.uri import is_remote

_PHENIX = re.compile(r"r(?P<row>\d+)c(?P<column>\d+)f(?P<site>\d+)p\d+-ch(?P<channel>\d+)sk\d+fk\d+fl\d+\.tiff?")
_YOKOGAWA = re.compile(r".*_(?P<well>[A-Z]{1,2}\d{2})_T\d+F(?P<site>\d+)L\d+A\d+Z\d+C(?P<channel>\d+)\.tiff?")
_IMAGEXPRESS = re.compile(
    r".*_(?P<well>[A-Z]{1,2}\d{2})_s(?P<site>\d+)_w(?P<channel>\d)"
    r"(?P<guid>[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})?\.tiff?"
)
_FULL_PLATE = re.compile(r"(?:cpg[^/]+/)?(?P<source>[^/]+)/images/(?P<batch>[^/]+)/images/(?P<full_plate>[^/]+)/")


@dataclass(frozen=True)
class FileName:
    """What a file's name says: the well, the number of the field and the number of the channel."""

    well: str
    site: int
    channel: int


def parse_file_name(name: str) -> FileName | None:
    """A name in the style of Opera Phenix and Operetta, of Yokogawa CV7000 and CV8000, or of ImageXpress.

    None for another file: a thumbnail, a table, a shading image.
    """
    for pattern in (_PHENIX, _YOKOGAWA, _IMAGEXPRESS):
        match = pattern.fullmatch(name)
        if match:
            parts = match.groupdict()
            well = parts.get("well") or well_name(int(parts["row"]), int(parts["column"]))
            return FileName(well, int(parts["site"]), int(parts["channel"]))
    return None


def well_name(row: int, column: int) -> str:
    """The name of a well from its row and column counted from 1; rows 27 to 32 of 1536-well plates are AA to AF."""
    if not (1 <= row <= 52 and 1 <= column <= 99):
        raise ValueError(f"row {row}, column {column} is not a well; expected rows 1 to 52 and columns 1 to 99")
    letters = chr(ord("A") + (row - 1) % 26)
    return ("A" if row > 26 else "") + letters + f"{column:02d}"


def rows_of_listing(uri: str, *, channels: Mapping[int, str]) -> SiteRows:
    """The sites of the plate whose images lie directly in the folder `uri` (.../images/<plate>/[Images/]).

    channels: the name of each channel number that occurs; take them from the load_data table of a plate of the same
        batch. Of two files of one channel the larger is the image and the other its thumbnail.
    The addresses of a folder of this machine begin with the source's folder (or cpg0016-jump above it): pass the
    folder above to `jump_fields(uri=...)`.
    Raises ValueError for an empty folder, a path that names no source, batch and plate, and unnamed channels.
    """
    folder = uri if uri.endswith("/") else f"{uri}/"
    place = _FULL_PLATE.search(folder)
    if place is None:
        raise ValueError(f"{uri} names no plate; expected .../<source>/images/<batch>/images/<plate>/")
    store, prefix = open_store(folder)
    found: dict[tuple[str, int], dict[int, ObjectInfo]] = {}
    for info in store.list(prefix, delimiter="/"):
        parsed = parse_file_name(info.key.rpartition("/")[2])
        if parsed is not None:
            files = found.setdefault((parsed.well, parsed.site), {})
            if parsed.channel not in files or files[parsed.channel].size < info.size:
                files[parsed.channel] = info
    numbers = sorted({number for files in found.values() for number in files})
    if not found:
        raise ValueError(f"{uri} holds no image with a known name; look whether they are in its folder Images/")
    unnamed = [str(number) for number in numbers if number not in channels]
    if unnamed:
        raise ValueError(
            f"{uri} has the channels {', '.join(map(str, numbers))}, of which {', '.join(unnamed)} have no name; "
            "name each one (--channel 1=Mito), as the load_data table of a plate of this batch does"
        )
    sites = sorted(found)
    address = folder if is_remote(folder) else folder[place.start() :]
    return SiteRows(
        place["source"],
        place["batch"],
        place["full_plate"].partition("__")[0],
        [well for well, _ in sites],
        [str(site) for _, site in sites],
        {
            channels[number]: [
                address + found[at][number].key.rpartition("/")[2] if number in found[at] else "" for at in sites
            ]
            for number in numbers
        },
    )
