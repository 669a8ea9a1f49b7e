"""Opening a TIFF so that a damaged one is refused and never read as zeros."""

import logging
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath, PureWindowsPath
from typing import IO, Any, cast
from xml.etree import ElementTree

import tifffile

from dinocell_io.formats.tiff.ome_set import SetImage, file_uuid, image_of_set
from dinocell_io.images.damage import damage_named, damaged
from dinocell_io.images.image import TIFF_SUFFIXES
from dinocell_io.stores.stored_file import RangeReader, StoredFile
from dinocell_io.system.image_file_error import ImageFileError

_IMAGEJ_TAGS = (50838, 50839)
# what decides on pixels and axes: a fault in any other tag (dates, names, resolution, a vendor's own) does no harm
_TAGS_OF_PIXELS = {
    *(
        254,
        255,
        256,
        257,
        258,
        259,
        262,
        266,
        270,
        273,
        277,
        278,
        279,
        284,
        292,
        293,
        317,
        320,
        322,
        323,
        324,
        325,
        330,
    ),
    *(338, 339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 532, *_IMAGEJ_TAGS),
}
_UNCOMPRESSED, _STRIP_LENGTHS = 1, 279
_HEADER_BYTES = 8
_FIRST_TAG = 254
_ROOM_BYTES = 1 << 16  # for the page list and the tags of a page


class _Complaints(logging.Handler):
    """What tifffile logs as an error in this thread.

    It logs damage (a page list that ends outside the file, metadata that cannot be parsed) and
    continues with fewer pages; here a missing page is an error.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.thread = threading.get_ident()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.thread == self.thread and not _is_harmless(message):
            self.messages.append(message)


def _is_harmless(message: str) -> bool:
    """Whether it touches neither pixels nor axes; lengths of strips are looked at where strips are.

    A broken tag below the first that TIFF defines is none: the list of tags itself is damaged.
    """
    tag = re.search(r"TiffTag\.fromfile.*?TiffTag (\d+)", message)
    of_lengths = "missing data ByteCounts tag" in message or "incorrect StripByteCounts count" in message
    return of_lengths or (tag is not None and int(tag[1]) >= _FIRST_TAG and int(tag[1]) not in _TAGS_OF_PIXELS)


@contextmanager
def open_tiff(file: StoredFile, omexml: str | None = None) -> Iterator[tuple[tifffile.TiffFile, tuple[str, ...]]]:
    """Yield the open file, and notes on what is wrong with it and does no harm to its image.

    Every kind of damage raises a ValueError that names the file. `omexml` replaces the file's own
    description.
    """
    complaints = _Complaints()
    logger = logging.getLogger("tifffile")
    logger.addHandler(complaints)
    try:
        with damage_named(file.uri, "TIFF", tifffile.TiffFileError), _opened(file, omexml) as tif:
            len(tif.pages)  # walks the whole page list
            notes = _page_list_notes(complaints, tif)
            _refuse(complaints, file.uri)
            yield tif, notes
            _refuse(complaints, file.uri)
    finally:
        logger.removeHandler(complaints)


def _page_list_notes(complaints: _Complaints, tif: tifffile.TiffFile) -> tuple[str, ...]:
    """Take away, and turn into notes, complaints of a page list that runs in a circle or leads to nowhere.

    The pages of a circle are all there. A pointer beyond the end may be that of a file that was cut; but then it leads
    less than a page beyond, for there the next page would be.
    """
    if not complaints.messages:
        return ()
    page = tif.pages.first
    reach = tif.filehandle.size + 2 * int(page.nbytes) + _ROOM_BYTES
    notes = []
    for message in list(complaints.messages):
        beyond = re.search(r"TiffPages.*invalid page offset (\d+)", message)
        if "invalid circular reference" in message:
            notes.append("its page list runs in a circle; each page is read once")
        elif beyond is not None and int(beyond[1]) > reach:
            notes.append("its page list leads to a place far outside the file; the pages before it are read")
        else:
            continue
        complaints.messages.remove(message)
    return tuple(notes)


def described_image(file: StoredFile, tif: tifffile.TiffFile, scene: str | int | None) -> SetImage | None:
    """The chosen image where an OME description is of several files; None where `tif` alone says what it holds."""
    own = tif.ome_metadata
    if own is None or tif.is_mmstack:
        return None
    name = _metadata_file(own)
    described = own if name is None else _description_in(file, name)
    image = image_of_set(file, described, file_uuid(own), scene)
    return SetImage(described, (), 0, "") if image is None and name is not None else image


def _opened(file: StoredFile, omexml: str | None) -> tifffile.TiffFile:
    if file.path is not None:
        return tifffile.TiffFile(file.path, omexml=omexml)
    # the other files of an OME set are not looked for in a store: a plane that is there is missing, and refused
    name = file.uri.rpartition("/")[2]
    return tifffile.TiffFile(cast(IO[bytes], RangeReader(file)), name=name, omexml=omexml, _multifile=False)


def _metadata_file(text: str) -> str | None:
    """The name of the file that holds the OME-XML, where this one only says which it is."""
    if "BinaryOnly" not in text:
        return None
    found = ElementTree.fromstring(text).find("{*}BinaryOnly")
    # a name in the folder of this file, whatever path was written where the set was made
    return None if found is None else PureWindowsPath(PurePosixPath(found.get("MetadataFile", "")).name).name


def _description_in(file: StoredFile, name: str) -> str:
    beside = None if file.path is None or not name else file.path.with_name(name)
    if beside is None or not beside.is_file():
        raise ImageFileError(
            f"{file.uri} is one file of a set that {name or 'another file'} describes, which is not beside it; put the "
            "whole set into one folder of this machine, or export the image as one file"
        )
    if not name.lower().endswith(TIFF_SUFFIXES):
        return beside.read_text(encoding="utf-8")
    with tifffile.TiffFile(beside) as tif:
        text = tif.ome_metadata
    if text is None or "BinaryOnly" in text:
        raise ImageFileError(f"{file.uri} is one file of a set that {name} describes, which holds no OME-XML of pixels")
    return text


def check_data_present(series: tifffile.TiffPageSeries, uri: str) -> None:
    """Raise ValueError unless every part of every page that is stored lies inside its file.

    tifffile fills parts that are missing with zeros. Only tiles that the page itself lists as not stored, by an
    offset and a length of 0, are read so, and only of a page of which others are stored: slides and maps leave
    empty tiles out, while a writer that was killed leaves the whole page. Of strips that are not packed, lengths that
    are missing or 0 are what the image's size makes them.
    """
    for page in series.pages:
        if page is None:  # refused when it is read
            continue
        _mend_lengths(page)
        size = page.parent.filehandle.size
        if len(page.dataoffsets) != len(page.databytecounts):
            starts, lengths = len(page.dataoffsets), len(page.databytecounts)
            raise damaged(uri, "TIFF", f"page {page.index} has {starts} places and {lengths} lengths of pixel data")
        parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        keyframe = page.keyframe
        if len(parts) < (needed := _num_segments(keyframe)):
            raise damaged(uri, "TIFF", f"page {page.index} lists {len(parts)} of its {needed} strips or tiles")
        if keyframe is not None and keyframe.is_tiled and any(count for _, count in parts):
            parts = [part for part in parts if part != (0, 0)]
        ends = [start + count for start, count in parts]
        if not ends or any(start < _HEADER_BYTES or count == 0 for start, count in parts):
            raise damaged(uri, "TIFF", f"page {page.index} lacks pixel data")
        if max(ends) > size:
            raise damaged(uri, "TIFF", f"pixel data reach to byte {max(ends)} of {size}")
    first = series.pages[0]
    whole = series.dataoffset
    if whole is not None and first is not None and whole + series.nbytes > first.parent.filehandle.size:
        raise damaged(
            uri, "TIFF", f"pixel data reach to byte {whole + series.nbytes} of {first.parent.filehandle.size}"
        )


def _num_segments(keyframe: Any) -> int:
    separate, _, height, width, _ = keyframe.shaped
    if keyframe.is_tiled:
        return int(separate * math.ceil(height / keyframe.tilelength) * math.ceil(width / keyframe.tilewidth))
    return int(separate * math.ceil(height / max(1, keyframe.rowsperstrip)))


def _mend_lengths(page: Any) -> None:
    keyframe = page.keyframe
    is_packed = int(keyframe.compression) != _UNCOMPRESSED or keyframe.is_tiled
    lengths = page.databytecounts
    stated = keyframe is not page or _STRIP_LENGTHS in page.tags
    if is_packed or not page.dataoffsets or 0 in page.dataoffsets or (stated and all(lengths)):
        return
    separate, _, height, width, contig = keyframe.shaped
    rows = min(int(keyframe.rowsperstrip), height)
    bits = keyframe.bitspersample if isinstance(keyframe.bitspersample, int) else 8 * keyframe.dtype.itemsize
    tops = list(range(0, height, rows)) * separate
    if len(tops) == len(page.dataoffsets) and (not stated or len(lengths) == len(tops)):
        whole = [min(rows, height - top) * ((width * contig * bits + 7) // 8) for top in tops]
        found = lengths if stated else [0] * len(whole)
        page.databytecounts = tuple(length or full for length, full in zip(found, whole, strict=True))


def _refuse(complaints: _Complaints, uri: str) -> None:
    if complaints.messages:
        raise damaged(uri, "TIFF", complaints.messages[0])
