"""Opening a TIFF so that a damaged one is refused and never read as zeros."""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

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
        with damage_named(file.uri, "TIFF"), _opened(file) as tif:
            len(tif.pages)  # walks the whole page list
            _refuse(complaints, file.uri)
            yield tif
            _refuse(complaints, file.uri)
    finally:
        logger.removeHandler(complaints)


def _opened(file: StoredFile) -> tifffile.TiffFile:
    if file.path is not None:
        return tifffile.TiffFile(file.path)
    # the other files of an OME set are not looked for in a store: a plane that is there is missing, and refused
    return tifffile.TiffFile(cast(IO[bytes], RangeReader(file)), name=file.uri.rpartition("/")[2], _multifile=False)


def check_data_present(series: tifffile.TiffPageSeries, uri: str) -> None:
    """Raise ValueError unless every part of every page lies inside its file.

    tifffile fills parts that are missing with zeros.
    """
    for page in series.pages:
        if page is None:
            raise ValueError(
                f"{uri} belongs to a set of files and some planes are in files that are missing; "
                "put the set into one folder, or export the image as one file"
            )
        size = page.parent.filehandle.size
        ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if not ends or 0 in page.databytecounts:
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
