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
def open_tiff(file: StoredFile) -> Iterator[tifffile.TiffFile]:
    """Yield the open file; every way in which it can be damaged ends as a ValueError that names it."""
    complaints = _Complaints()
    logger = logging.getLogger("tifffile")
    logger.addHandler(complaints)
    try:
        with damage_named(file.uri, "TIFF", tifffile.TiffFileError), _opened(file) as tif:
            len(tif.pages)  # walks the whole page list
            _refuse(complaints, file.uri)
            yield tif
            _refuse(complaints, file.uri)
    finally:
        logger.removeHandler(complaints)


def _opened(file: StoredFile) -> tifffile.TiffFile:
    if file.path is None:
        # the other files of an OME set are not looked for in a store: a plane that is there is missing, and refused
        tif = tifffile.TiffFile(cast(IO[bytes], RangeReader(file)), name=file.uri.rpartition("/")[2], _multifile=False)
    else:
        tif = tifffile.TiffFile(file.path)
    try:
        metadata_file = _metadata_file(tif)
        companion = None if metadata_file is None else _companion(file, metadata_file)
    except BaseException:
        tif.close()
        raise
    if companion is None:
        return tif
    tif.close()
    return tifffile.TiffFile(file.path or "", omexml=companion)


def _metadata_file(tif: tifffile.TiffFile) -> str | None:
    """The name of the file that holds the OME-XML, where this one only says which it is."""
    text = tif.ome_metadata
    if text is None or "BinaryOnly" not in text:
        return None
    found = ElementTree.fromstring(text).find("{*}BinaryOnly")
    # a name in the folder of this file, whatever path was written where the set was made
    return None if found is None else PureWindowsPath(PurePosixPath(found.get("MetadataFile", "")).name).name


def _companion(file: StoredFile, name: str) -> str:
    if name.lower().endswith((".tif", ".tiff", ".btf", ".tf8")):
        raise ValueError(f"{file.uri} is one file of a set whose axes and channels are in {name}; open {name}")
    beside = None if file.path is None or not name else file.path.with_name(name)
    if beside is None or not beside.is_file():
        raise ValueError(
            f"{file.uri} is one file of a set that {name or 'another file'} describes, which is not beside it; put the "
            "whole set into one folder of this machine, or export the image as one file"
        )
    return beside.read_text(encoding="utf-8")


def check_data_present(series: tifffile.TiffPageSeries, uri: str) -> None:
    """Raise ValueError unless every part of every page lies inside its file.

    tifffile fills parts that are missing with zeros. Only tiles that the page itself lists as not stored, by an
    offset and a length of 0, are read so, and only of a page of which others are stored: slides and maps leave
    empty tiles out, while a writer that was killed leaves the whole page.
    """
    for page in series.pages:
        if page is None:
            raise ValueError(
                f"{uri} belongs to a set of files and some planes are in files that are missing; "
                "put the set into one folder, or export the image as one file"
            )
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
