"""One object of the disk cache as a file: what it is, how it is packed, and a checksum over all of it."""

import os
import struct
import zlib
from typing import BinaryIO, Literal

Form = Literal["raw", "compact"]

_MAGIC = b"DINOCELL"
_HEADER = struct.Struct("<8sBBHIQQ")  # magic, version, packing, 0, key length, data length, payload length
_FOOTER = struct.Struct("<I")
_VERSION = 1
_RAW, _BLOSC = 0, 1
_LONGEST_KEY = 1 << 16
_MAX_BLOSC_BYTES = 2**31 - 1  # blosc's limit


def encode_entry(key: str, data: bytes, *, form: Form = "raw") -> tuple[bytes, bytes, bytes]:
    """Header, payload and footer of the file; in three parts so that the data need not be copied.

    The compact form is lossless: Blosc (zstd, the bits of 16-bit numbers shuffled) where that is smaller, and the
    bytes themselves otherwise (LZW files, PNG). It packs uncompressed 16-bit TIFFs, not arrays of other types.
    """
    payload: bytes = data
    packing = _RAW
    if form == "compact" and 0 < len(data) < _MAX_BLOSC_BYTES:
        from imagecodecs import blosc_encode

        packed = blosc_encode(data, level=1, compressor="zstd", shuffle="bitshuffle", typesize=2, numthreads=1)
        if len(packed) < len(data):
            payload, packing = bytes(packed), _BLOSC
    name = key.encode()
    header = _HEADER.pack(_MAGIC, _VERSION, packing, 0, len(name), len(data), len(payload)) + name
    return header, payload, _FOOTER.pack(zlib.crc32(payload, zlib.crc32(header)))


def read_entry(key: str, file: BinaryIO) -> bytes | None:
    """The object in an open file; None if the file is not a complete, unchanged entry of this key."""
    start = _HEADER.size + len(key.encode())
    header = file.read(start)
    if len(header) < start:
        return None
    magic, version, packing, _, _, data_length, payload_length = _HEADER.unpack_from(header)
    if magic != _MAGIC or version != _VERSION or header[_HEADER.size :] != key.encode():
        return None
    if start + payload_length + _FOOTER.size != os.fstat(file.fileno()).st_size:
        return None  # before that many bytes are allocated
    payload = file.read(payload_length)
    if file.read() != _FOOTER.pack(zlib.crc32(payload, zlib.crc32(header))):
        return None
    if packing == _RAW:
        return payload
    from imagecodecs import blosc_decode

    data = bytes(blosc_decode(payload, numthreads=1))
    return data if len(data) == data_length else None


def stored_key(file: BinaryIO) -> str | None:
    """The key in an open file; None if that is not an entry. The rest of the file is not looked at."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size or not header.startswith(_MAGIC):
        return None
    length = _HEADER.unpack(header)[4]
    return file.read(min(length, _LONGEST_KEY)).decode(errors="replace")


def entry_bytes(key: str, payload_length: int) -> int:
    """How long the file of a payload is."""
    return _HEADER.size + len(key.encode()) + payload_length + _FOOTER.size
