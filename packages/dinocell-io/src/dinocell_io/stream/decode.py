"""Planes from the bytes of a store's objects: one 16-bit TIFF page, checked before it is believed.

Objects of public screens can be damaged although their length and checksum are right (whole files of zeros), so
the header, the page count, the type and the presence of every strip are looked at each time.
"""

import struct
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt16

from dinocell_io.formats.open_image import open_stored_image
from dinocell_io.images.image import IMAGE_SUFFIXES, Image
from dinocell_io.stores.stored_file import file_in_memory

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _STRIP_COUNTS, _TILE_OFFSETS, _SAMPLE_FORMAT = 273, 277, 279, 324, 339
_TAG_DTYPES = {1: "u1", 3: "u2", 4: "u4"}  # BYTE, SHORT, LONG
_CONSTANT_STRIDE = 16
_MAX_EXPANSION = 1000  # zeros under deflate shrink to a thousandth; a larger promise is not an image


class BadObject(ValueError):
    """Bytes that are not the image they should be. `kind`: damaged, format, dtype, constant or shape, and of
    steps that prepare a field illumination or pixel_size.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type["BadObject"], tuple[str, str]]:
        return type(self), (self.kind, str(self))


def decode_plane(data: bytes) -> UInt16[np.ndarray, "y x"]:
    """The one grey uint16 page of a TIFF, uncompressed without a copy (then read-only), else by libtiff.

    Raises BadObject: damaged (not a TIFF, cut short, broken compression), format (several pages or samples, white
    as zero), dtype (not unsigned 16 bit), constant (every pixel has one value: an empty well still has noise).
    """
    try:
        plane = _decode_page(data)
    except (struct.error, IndexError, KeyError, OverflowError) as error:
        raise BadObject("damaged", f"its TIFF header leads outside its {len(data)} bytes ({error})") from error
    if is_constant(plane):
        raise BadObject("constant", f"all {plane.shape[0]} x {plane.shape[1]} pixels are {plane[0, 0]}")
    return plane


def decode_image(data: bytes, name: str) -> Image:
    """The image file `name`, whose content is `data`, as `read_image` gives it. Raises ValueError as that does."""
    suffix = Path(name).suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise ValueError(f"{name} has the suffix {suffix or '(none)'}; supported are {', '.join(IMAGE_SUFFIXES)}")
    image = open_stored_image(file_in_memory(name, data))
    return Image(image.read(), image.channels, image.pixel_size_um, image.is_rgb, name)


def is_constant(plane: Shaped[np.ndarray, "y x"]) -> bool:
    """Whether all pixels have one value; a grid of pixels answers for nearly every real plane."""
    first = plane[0, 0]
    if (plane[::_CONSTANT_STRIDE, ::_CONSTANT_STRIDE] != first).any():
        return False
    return not (plane != first).any()


def _decode_page(data: bytes) -> UInt16[np.ndarray, "y x"]:
    if data[:4] == b"II*\0":
        order = "<"
    elif data[:4] == b"MM\0*":
        order = ">"
    else:
        kind = "all zeros" if not any(data[:64]) else f"starts with {data[:4]!r}"
        raise BadObject("damaged", f"its {len(data)} bytes are not a TIFF file: {kind}")
    tags, following = _directory(data, order)
    if following:
        raise BadObject("format", "it holds several pages, expected one plane per file")
    bits, samples, sample_format = (_first(tags, tag, 1) for tag in (_BITS, _SAMPLES, _SAMPLE_FORMAT))
    if samples != 1 or _first(tags, _PHOTOMETRIC, 1) != 1:
        raise BadObject("format", f"it holds {samples} samples per pixel or white as zero, expected grey")
    if bits != 16 or sample_format != 1:
        kind = {1: "unsigned", 2: "signed", 3: "float"}.get(sample_format, "unknown")
        raise BadObject("dtype", f"its pixels are {bits} bit, {kind}; expected unsigned 16 bit")
    shape = (_first(tags, _HEIGHT), _first(tags, _WIDTH))
    if 0 in shape or 2 * shape[0] * shape[1] > _MAX_EXPANSION * len(data):
        raise BadObject("damaged", f"its {len(data)} bytes promise {shape[0]} x {shape[1]} pixels")
    if _first(tags, _COMPRESSION, 1) == 1 and _TILE_OFFSETS not in tags:
        return _stored_strips(data, tags, shape, order)
    return _by_libtiff(data, shape)


def _directory(data: bytes, order: str) -> tuple[dict[int, np.ndarray], int]:
    """The first page's tags as numbers, and where the next page is (0: nowhere)."""
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    tags = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(order + "HHI", data, at)
        if kind in _TAG_DTYPES and tag < 32768:
            dtype = np.dtype(order + _TAG_DTYPES[kind])
            where = at + 8
            if dtype.itemsize * length > 4:
                (where,) = struct.unpack_from(order + "I", data, where)
            if where + dtype.itemsize * length > len(data):
                raise BadObject("damaged", f"it is cut short: tag {tag} lies beyond its {len(data)} bytes")
            tags[tag] = np.frombuffer(data, dtype, length, where)
    (following,) = struct.unpack_from(order + "I", data, start + 2 + 12 * count)
    return tags, following


def _first(tags: dict[int, np.ndarray], tag: int, default: int | None = None) -> int:
    if tag not in tags and default is not None:
        return default
    return int(tags[tag][0])


def _stored_strips(
    data: bytes, tags: dict[int, np.ndarray], shape: tuple[int, int], order: str
) -> UInt16[np.ndarray, "y x"]:
    starts = tags[_STRIP_OFFSETS].astype(np.int64)
    counts = tags[_STRIP_COUNTS].astype(np.int64)
    size = 2 * shape[0] * shape[1]
    if len(starts) != len(counts) or counts.sum() < size or (starts + counts > len(data)).any():
        raise BadObject("damaged", f"it is cut short: {len(data)} bytes do not hold {shape[0]} x {shape[1]} pixels")
    if counts.sum() != size:  # padded strips: which bytes are pixels is libtiff's to know
        return _by_libtiff(data, shape)
    if (starts[1:] == starts[:-1] + counts[:-1]).all():
        pixels = np.frombuffer(data, order + "u2", size // 2, int(starts[0]))
    else:
        parts = [data[start : start + count] for start, count in zip(starts, counts, strict=True)]
        pixels = np.frombuffer(b"".join(parts), order + "u2", size // 2)
    # native order; one and the same array where it already is
    return np.require(pixels.astype(np.uint16, copy=False), requirements="A").reshape(shape)


def _by_libtiff(data: bytes, shape: tuple[int, int]) -> UInt16[np.ndarray, "y x"]:
    import imagecodecs  # many streams meet no compressed plane and need not wait for it

    try:
        plane = imagecodecs.tiff_decode(data)
    except (imagecodecs.TiffError, RuntimeError, ValueError, IndexError, MemoryError) as error:
        raise BadObject("damaged", f"its compressed pixels are broken ({error})") from error
    if plane.shape != shape or plane.dtype != np.uint16:
        raise BadObject("damaged", f"it decodes to {plane.dtype} {plane.shape}, its header says uint16 {shape}")
    return plane
