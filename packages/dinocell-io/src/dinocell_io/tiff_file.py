"""Opening a TIFF so that a damaged one is refused and never read as zeros."""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath, PureWindowsPath
from typing import IO, cast
from xml.etree import ElementTree

import tifffile

from .damage import damage_named, damaged
from .image import TIFF_SUFFIXES
from .ome_set import SetImage, file_uuid, image_of_set
from .stored_file import RangeReader, StoredFile

_FIRST_PRIVATE_TAG = 32768
_IMAGEJ_TAGS = (50838, 50839)


class _Complaints(logging.Handler):
    """What tifffile logs as an error in this thread.

    It logs damage (a page list that ends outside the file, metadata that cannot be parsed) and
    goes on with fewer pages; for us a missing page is a failure.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.thread = threading.get_ident()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.thread == self.thread and not _is_about_a_private_tag(message):
            self.messages.append(message)


def _is_about_a_private_tag(message: str) -> bool:
    """A vendor's own tag that cannot be parsed touches neither pixels nor axes; ImageJ's do."""
    found = re.search(r"TiffTag\.fromfile.*?TiffTag (\d+)", message)
    return found is not None and int(found[1]) >= _FIRST_PRIVATE_TAG and int(found[1]) not in _IMAGEJ_TAGS


@contextmanager
def open_tiff(file: StoredFile, omexml: str | None = None) -> Iterator[tifffile.TiffFile]:
    """Yield the open file; every way in which it can be damaged ends as a ValueError that names it.

    `omexml` takes the place of the file's own description.
    """
    complaints = _Complaints()
    logger = logging.getLogger("tifffile")
    logger.addHandler(complaints)
    try:
        with damage_named(file.uri, "TIFF", tifffile.TiffFileError), _opened(file, omexml) as tif:
            len(tif.pages)  # walks the whole page list
            _refuse(complaints, file.uri)
            yield tif
            _refuse(complaints, file.uri)
    finally:
        logger.removeHandler(complaints)


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
        raise ValueError(
            f"{file.uri} is one file of a set that {name or 'another file'} describes, which is not beside it; put the "
            "whole set into one folder of this machine, or export the image as one file"
        )
    if not name.lower().endswith(TIFF_SUFFIXES):
        return beside.read_text(encoding="utf-8")
    with tifffile.TiffFile(beside) as tif:
        text = tif.ome_metadata
    if text is None or "BinaryOnly" in text:
        raise ValueError(f"{file.uri} is one file of a set that {name} describes, which holds no OME-XML of pixels")
    return text


def check_data_present(series: tifffile.TiffPageSeries, uri: str) -> None:
    """Raise ValueError unless every part of every page that is stored lies inside its file.

    tifffile fills parts that are missing with zeros. Only tiles that the page itself lists as not stored, by an
    offset and a length of 0, are read so, and only of a page of which others are stored: slides and maps leave
    empty tiles out, while a writer that was killed leaves the whole page.
    """
    for page in series.pages:
        if page is None:  # refused when it is read
            continue
        size = page.parent.filehandle.size
        parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        keyframe = page.keyframe
        if keyframe is not None and keyframe.is_tiled and any(count for _, count in parts):
            parts = [part for part in parts if part != (0, 0)]
        ends = [start + count for start, count in parts]
        if not ends or any(count == 0 for _, count in parts):
            raise damaged(uri, "TIFF", f"page {page.index} lacks pixel data")
        if max(ends) > size:
            raise damaged(uri, "TIFF", f"pixel data reach to byte {max(ends)} of {size}")
    first = series.pages[0]
    whole = series.dataoffset
    if whole is not None and first is not None and whole + series.nbytes > first.parent.filehandle.size:
        raise damaged(
            uri, "TIFF", f"pixel data reach to byte {whole + series.nbytes} of {first.parent.filehandle.size}"
        )


def _refuse(complaints: _Complaints, uri: str) -> None:
    if complaints.messages:
        raise damaged(uri, "TIFF", complaints.messages[0])
