"""Codecs of Zarr chunks: bytes from a store to the bytes of an array, never more than the array has."""

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import imagecodecs
import numpy as np

Decode = Callable[[bytes, int], bytes]


def bytes_codec(name: str, configuration: Mapping[str, Any]) -> Decode | None:
    """The decoder of a bytes-to-bytes codec by its name in Zarr v2 or v3, None for an unknown one.

    A decoder takes the stored bytes and the number of bytes they stand for, and raises ValueError, or one of
    `damage.DAMAGE`, if they decode to another number.
    """
    decoders: dict[str, Decode] = {
        "blosc": _blosc,
        "zstd": _zstd,
        "zlib": lambda data, size: _inflate(data, size, 15),
        "gzip": lambda data, size: _inflate(data, size, 31),
        "lz4": _lz4,
        "bz2": lambda data, size: _bounded(bz2.BZ2Decompressor(), data, size),
        "lzma": lambda data, size: _bounded(lzma.LZMADecompressor(memlimit=1 << 30), data, size),
        "crc32c": _crc32c_checked,
        "numcodecs.crc32c": _crc32c_checked,
        # an image codec that NumPy arrays pass through as they are
        "imagecodecs_jpegxl": lambda data, size: _image(imagecodecs.jpegxl_decode(data), size),
        "imagecodecs_jpeg2k": lambda data, size: _image(imagecodecs.jpeg2k_decode(data), size),
    }
    if name == "lzma" and configuration.get("format", 1) not in (0, 1):
        return None
    return decoders.get(name)


def encode_blosc(data: bytes, *, typesize: int) -> bytes:
    """Blosc with zstd and byte shuffle: what `blosc` above and every Zarr library decode."""
    return bytes(imagecodecs.blosc_encode(data, level=5, compressor="zstd", shuffle=1, typesize=typesize, numthreads=1))


def crc32c(data: bytes) -> int:
    """The Castagnoli cyclic redundancy check of RFC 3720."""
    table = _crc32c_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@cache
def _crc32c_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


def _crc32c_checked(data: bytes, size: int) -> bytes:
    if len(data) < 4 or crc32c(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise ValueError("its check sum (crc32c) does not match")
    return data[:-4]


def _blosc(data: bytes, size: int) -> bytes:
    if len(data) < 16:
        raise ValueError(f"{len(data)} bytes are not blosc data")
    num_bytes, packed = struct.unpack_from("<I4xI", data, 4)
    if num_bytes != size or packed != len(data):
        raise ValueError(f"blosc says {num_bytes} bytes from {packed}, expected {size} from {len(data)}")
    return _sized(bytes(imagecodecs.blosc_decode(data, numthreads=1)), size)


def _zstd(data: bytes, size: int) -> bytes:
    return _sized(bytes(imagecodecs.zstd_decode(data, out=size)), size)


def _lz4(data: bytes, size: int) -> bytes:
    if len(data) < 4 or int.from_bytes(data[:4], "little") != size:
        raise ValueError(f"lz4 data do not begin with their size, {size}")
    return _sized(bytes(imagecodecs.lz4_decode(data, header=True)), size)


def _inflate(data: bytes, size: int, window_bits: int) -> bytes:
    inflater = zlib.decompressobj(window_bits)
    content = inflater.decompress(data, size + 1)
    if not inflater.eof and len(content) <= size:
        content += inflater.decompress(inflater.unconsumed_tail, size + 1 - len(content)) + inflater.flush()
    if not inflater.eof or inflater.unused_data:
        raise ValueError(f"its data are cut short, decode to more than {size} bytes, or are followed by others")
    return _sized(content, size)


def _bounded(decompressor: Any, data: bytes, size: int) -> bytes:
    content = decompressor.decompress(data, max_length=size + 1)
    return _sized(content, size)


def _image(pixels: np.ndarray, size: int) -> bytes:
    return _sized(np.ascontiguousarray(pixels).tobytes(), size)


def _sized(content: bytes, size: int) -> bytes:
    if len(content) != size:
        raise ValueError(f"its data decode to {len(content)} bytes, expected {size}")
    return content
