"""Opening a TIFF so that a damaged one is refused and never read as zeros."""

import logging
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tifffile

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
def open_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """Yield the open file; every way in which it can be damaged ends as a ValueError that names it."""
    complaints = _Complaints()
    logger = logging.getLogger("tifffile")
    logger.addHandler(complaints)
    try:
        with tifffile.TiffFile(path) as tif:
            len(tif.pages)  # walks the whole page list
            _refuse(complaints, path)
            yield tif
            _refuse(complaints, path)
    except ValueError as error:
        if str(path) in str(error):  # ours, or already told
            raise
        raise _damaged(path, str(error)) from error
    except (OSError, RuntimeError, struct.error, LookupError, TypeError) as error:
        # what tifffile and the codecs (RuntimeError) raise over broken tags and data
        raise _damaged(path, str(error)) from error
    finally:
        logger.removeHandler(complaints)


def check_data_present(series: tifffile.TiffPageSeries, path: Path) -> None:
    """Raise ValueError unless every part of every page lies inside its file.

    tifffile fills parts that are missing with zeros.
    """
    for page in series.pages:
        if page is None:
            raise ValueError(
                f"{path} belongs to a set of files and some planes are in files that are missing; "
                "put the set into one folder, or export the image as one file"
            )
        size = page.parent.filehandle.size
        ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if not ends or 0 in page.databytecounts:
            raise _damaged(path, f"page {page.index} lacks pixel data")
        if max(ends) > size:
            raise _damaged(path, f"pixel data reach to byte {max(ends)} of {size}")
    first = series.pages[0]
    whole = series.dataoffset
    if whole is not None and first is not None and whole + series.nbytes > first.parent.filehandle.size:
        raise _damaged(path, f"pixel data reach to byte {whole + series.nbytes} of {first.parent.filehandle.size}")


def _refuse(complaints: _Complaints, path: Path) -> None:
    if complaints.messages:
        raise _damaged(path, complaints.messages[0])


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path} cannot be read as TIFF ({reason}); it is damaged, cut short or of another format, "
        "copy or export it again"
    )
