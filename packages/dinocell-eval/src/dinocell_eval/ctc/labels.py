"""Label images of the Cell Tracking Challenge: TIFF files of one plane, or with a page for each slice."""

import logging
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped

from dinocell_io import check_exact

_OFFICIAL_COMPRESSIONS = {1, 5, 8, 32773, 32946}  # none, LZW, deflate, PackBits, deflate (old)
_WHITE_IS_ZERO, _RGB, _YCBCR = 0, 2, 6


def read_ctc_labels(path: str | Path, *, strict: bool = False) -> tuple[Integer[np.ndarray, "*shape"], tuple[str, ...]]:
    """Labels [y x] or [z y x] with the numbers that are in the file, and notes: what the official tools would misread.

    Any integer type is read exactly, and floats that are whole numbers exact in their type, compressed or tiled
    in any way. The official tools invert WhiteIsZero files, read Zstandard and tiled ones as garbage without an error,
    and refuse everything except 16-bit unsigned integers; `strict` refuses all of these. Raises ValueError for colour,
    fractions, NaN, negative numbers, pages of different sizes, more than three axes, and damaged files.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a TIFF file of labels")
    with _opened(path) as tif:
        if len(tif.series) != 1:
            raise ValueError(
                f"{path} has pages of {len(tif.series)} different kinds, expected slices of one size and type"
            )
        series = tif.series[0]
        page = series.keyframe
        colour = page.photometric is not None and int(page.photometric) in (_RGB, _YCBCR)
        if colour or page.samplesperpixel != 1:
            raise ValueError(
                f"{path} holds {page.samplesperpixel} numbers per pixel, expected one label; "
                "colours are not labels, export the label image itself as 16-bit grey TIFF"
            )
        notes = _departures(page, path, strict=strict)
        _check_data(tif, path)
        stored = np.asarray(series.asarray())
    if stored.ndim not in (2, 3):
        raise ValueError(f"{path} has shape {stored.shape} ({series.axes}), expected (y, x) or (z, y, x)")
    return _whole_numbers(stored, path), notes


class _PageComplaints(logging.Handler):
    """What tifffile logs in this thread over a broken list of pages, of which it goes on to read the first ones."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.thread = threading.get_ident()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread and "TiffPages" in record.getMessage():
            self.messages.append(record.getMessage())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open file; anything wrong with it raises a ValueError that names it."""
    import tifffile  # takes longer to import than all of this package

    complaints = _PageComplaints()
    logger = logging.getLogger("tifffile")
    logger.addHandler(complaints)
    try:
        with tifffile.TiffFile(path) as tif:
            len(tif.pages)  # walks the complete list
            if complaints.messages:
                raise _damaged(path, complaints.messages[0])
            yield tif
    except ValueError as error:
        if str(path) in str(error):  # the message already names the file
            raise
        raise _damaged(path, error) from error
    except (tifffile.TiffFileError, OSError, RuntimeError, struct.error, LookupError, TypeError) as error:
        # what tifffile and the codecs (RuntimeError) raise over broken tags and data
        raise _damaged(path, error) from error
    finally:
        logger.removeHandler(complaints)


def _check_data(tif: Any, path: Path) -> None:
    """Require every part of every page inside the file: tifffile only logs what is missing, and reads zeros."""
    import tifffile

    size = tif.filehandle.size
    for page in tif.pages:
        if not isinstance(page, tifffile.TiffPage):
            page = page.aspage()
        counts = list(page.databytecounts)
        ends = [start + count for start, count in zip(page.dataoffsets, counts, strict=True)]
        if not ends or 0 in counts or max(ends) > size:
            raise _damaged(path, f"page {page.index} lacks pixel data")
    if any(page.shape != tif.pages[0].shape for page in tif.pages) or len(tif.pages) != len(tif.series[0].pages):
        raise _damaged(path, "the list of pages is broken")


def _damaged(path: Path, reason: object) -> ValueError:
    return ValueError(
        f"{path} cannot be read as TIFF ({reason}); it is damaged, cut short or of another format, export it again"
    )


def _departures(page: Any, path: Path, *, strict: bool) -> tuple[str, ...]:
    """What the official tools read wrongly; with `strict` that, and what they refuse, is an error."""
    import tifffile

    wrong = []
    if page.photometric is not None and int(page.photometric) == _WHITE_IS_ZERO:
        wrong.append("is WhiteIsZero, which the official tools invert; the labels are taken as stored")
    if page.is_tiled:
        wrong.append("is tiled, which the official tools read as garbage")
    if int(page.compression) not in _OFFICIAL_COMPRESSIONS:
        name = tifffile.COMPRESSION(page.compression).name
        wrong.append(f"is compressed with {name}, which the official tools read as garbage")
    if strict and page.dtype != np.uint16:
        wrong.append(f"holds {page.dtype}, the official tools read 16-bit unsigned integers only")
    if strict and wrong:
        raise ValueError(f"{path} {'; '.join(wrong)}; save it as plain 16-bit grey TIFF or leave out --strict")
    return tuple(wrong)


def _whole_numbers(stored: Shaped[np.ndarray, "..."], path: Path) -> Integer[np.ndarray, "..."]:
    # tifffile gives other names of the same types too, such as longlong
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False).view(f"{stored.dtype.kind}{stored.itemsize}")
    if stored.dtype.kind == "b":
        return stored.astype(np.uint8)
    if stored.dtype.kind == "f":
        if not np.isfinite(stored).all() or (stored != np.trunc(stored)).any():
            raise ValueError(f"{path} holds {stored.dtype} that are not all whole numbers, expected integer labels")
        check_exact(stored, f"the labels in {path}")
        stored = stored.astype(np.int64)
    if stored.dtype.kind not in "ui":
        raise ValueError(f"{path} holds {stored.dtype}, expected integer labels")
    if stored.dtype.kind == "i" and stored.min(initial=0) < 0:
        raise ValueError(
            f"{path} holds negative numbers (down to {stored.min()}), expected 0 for background and labels from 1 up"
        )
    return stored
