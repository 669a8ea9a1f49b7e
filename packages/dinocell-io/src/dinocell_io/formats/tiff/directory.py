"""The tags of a page of which tifffile read the places of its data alone, taking the rest from the page before."""

import struct
from collections.abc import Callable
from typing import Any

from dinocell_io.system.image_file_error import ImageFileError

_LAYOUT = {
    256: "imagewidth",
    257: "imagelength",
    258: "bitspersample",
    259: "compression",
    262: "photometric",
    266: "fillorder",
    277: "samplesperpixel",
    278: "rowsperstrip",
    284: "planarconfig",
    317: "predictor",
    322: "tilewidth",
    323: "tilelength",
    339: "sampleformat",
}
_SHORT, _LONG = 3, 4


def check_like_keyframe(uri: str, read: Callable[[int, int], bytes], page: Any) -> None:
    """Raise ValueError where a page's own tags are not those of the page it is read by: its numbers would be wrong.

    `read` gives the bytes of the page's file from the first place to before the second.
    """
    keyframe = page.keyframe
    if page is keyframe or not page.offset:
        return
    stated = {"predictor": 1, "compression": 1} | _stated(read, page)
    for name, value in stated.items():
        expected = int(getattr(keyframe, name))
        both_whole = name == "rowsperstrip" and min(value, expected) >= keyframe.imagelength
        if value != expected and not both_whole:
            raise ImageFileError(
                f"{uri} describes pages as planes of one image, but page {page.index} has {name} {value} and page "
                f"{keyframe.index} {expected}; save them with one program, or one of them per file"
            )


def _stated(read: Callable[[int, int], bytes], page: Any) -> dict[str, int]:
    tiff = page.parent.tiff
    start = page.offset + tiff.tagnosize
    (count,) = struct.unpack(tiff.tagnoformat, read(page.offset, start))
    content = read(start, start + count * tiff.tagsize)
    stated = {}
    for code, kind, length, value in struct.iter_unpack(tiff.tagheaderformat, content):
        if code in _LAYOUT and kind in (_SHORT, _LONG) and length == 1:
            (stated[_LAYOUT[code]],) = struct.unpack_from(tiff.byteorder + ("H" if kind == _SHORT else "I"), value)
    return stated
