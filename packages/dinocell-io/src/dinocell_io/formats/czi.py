"""ZEISS CZI: the blocks of an image, found by the file's directory and read when a region needs them.

A reader of our own, after ZEISS's description of the format: the permissive library (czifile) knows no zstd,
ZEISS's own (pylibCZIrw) is LGPL, and neither reads from a store. Blocks are uncompressed, zstd, LZW, JPEG XR or
grey JPEG. Smaller copies (pyramid blocks) are left out. What no block of a mosaic covers is 0; where blocks overlap,
the one with the higher mosaic index is on top.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Shaped

from dinocell_io.images.damage import damage_named
from dinocell_io.images.image import RGB_CHANNELS, check_channel_count, numbered_channels
from dinocell_io.images.lazy_image import LazyImage
from dinocell_io.images.scenes import chosen_scene
from dinocell_io.images.stack_image import stack_image
from dinocell_io.stores.stored_file import StoredFile
from dinocell_io.system.image_file_error import ImageFileError
from dinocell_io.system.memory import check_memory, empty_planes

_PIXEL_TYPES = {
    0: ("u1", 1),
    1: ("<u2", 1),
    2: ("<f4", 1),
    3: ("u1", 3),
    4: ("<u2", 3),
    8: ("<f4", 3),
    9: ("u1", 4),
    12: ("<u4", 1),
}
_UNCOMPRESSED, _JPEG, _LZW, _JPEG_XR, _ZSTD_0, _ZSTD_1 = 0, 1, 2, 4, 5, 6
_SPARSEST = 1000  # the image is at most this many times larger than the area of its blocks
_SEGMENT, _ENTRY, _DIMENSION = struct.Struct("<16sqq"), struct.Struct("<2siqiiBB4si"), struct.Struct("<4siifi")


@dataclass(frozen=True)
class Block:
    """One stored rectangle: where it lies in the image (axis letter to start and size), and in the file."""

    starts: Mapping[str, int]
    sizes: Mapping[str, int]
    is_full_size: bool
    pixel_type: int
    compression: int
    position: int

    @property
    def samples(self) -> int:
        return _PIXEL_TYPES[self.pixel_type][1]


def open_czi_image(file: StoredFile, scene: str | int | None = None) -> LazyImage:
    """One scene of a CZI file; see `open_image`."""
    with damage_named(file.uri, "CZI"):
        directory, metadata = _places(file)
        blocks = [block for block in _blocks(file, directory) if block.is_full_size]
        if not blocks:
            raise ValueError("it holds no full-size block")
        numbers = sorted({block.starts.get("S", 0) for block in blocks})
        names = tuple(str(number) for number in numbers)
        number = chosen_scene(file.uri, names, scene)
        chosen = [block for block in blocks if block.starts.get("S", 0) == numbers[number]]
        xml = _metadata(file, metadata)
        return _image(file, chosen, xml, scenes=names, scene=number)


def _image(
    file: StoredFile, blocks: list[Block], xml: ElementTree.Element | None, *, scenes: tuple[str, ...], scene: int
) -> LazyImage:
    unknown = sorted(
        {a for b in blocks for a in b.starts if a not in "XYCZTSM" and (b.starts[a], b.sizes[a]) != (0, 1)}
    )
    if unknown:
        raise ImageFileError(
            f"{file.uri} has the axes {', '.join(unknown)} beside C, Z, T, Y and X; save one of each per file"
        )
    samples = blocks[0].samples
    if any(block.samples != samples for block in blocks) or any(b.sizes.get(a, 1) != 1 for b in blocks for a in "CZT"):
        raise ImageFileError(
            f"{file.uri} mixes grey and colour, or stores several planes in a block; save it as OME-TIFF"
        )
    low = {axis: min(block.starts.get(axis, 0) for block in blocks) for axis in "XYCZT"}
    size = {
        axis: max(block.starts.get(axis, 0) + block.sizes.get(axis, 1) for block in blocks) - low[axis] for axis in low
    }
    is_rgb = samples > 1
    if is_rgb and size["C"] > 1:
        raise ImageFileError(f"{file.uri} holds {size['C']} RGB images, expected one; save one image per file")
    count = 3 if is_rgb else size["C"]
    dtype = np.result_type(*(np.dtype(_PIXEL_TYPES[block.pixel_type][0]) for block in blocks)).newbyteorder("=")
    by_plane: dict[tuple[int, int, int], list[Block]] = {}
    for block in sorted(blocks, key=lambda block: block.starts.get("M", 0)):
        key = tuple(block.starts.get(axis, 0) - low[axis] for axis in "CZT")
        by_plane.setdefault((key[0], key[1], key[2]), []).append(block)

    # a wrong number in a block's place would make an image of nothing, larger than any memory
    num_planes, area = size["C"] * size["Z"] * size["T"], size["Y"] * size["X"]
    largest = max(sum(block.sizes["Y"] * block.sizes["X"] for block in plane) for plane in by_plane.values())
    if num_planes > _SPARSEST * len(by_plane) or area > _SPARSEST * largest:
        raise ValueError(f"{num_planes} planes of {size['Y']} x {size['X']} pixels in {len(blocks)} blocks")
    check_channel_count(file.uri, count)

    def read_planes(
        channels: tuple[int, ...], z: int, t: int, level: int, rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "channel y x"]:
        shape = (len(channels), rows.stop - rows.start, columns.stop - columns.start)
        pixels = empty_planes(file.uri, shape, dtype)
        pixels[...] = 0
        for plane in {(0 if is_rgb else channel, z, t) for channel in channels}:
            if plane not in by_plane:
                raise ImageFileError(f"{file.uri} lacks the plane of channel {plane[0]}, z={z}, t={t}; it is not whole")
            for block in by_plane[plane]:
                top, left = block.starts["Y"] - low["Y"] - rows.start, block.starts["X"] - low["X"] - columns.start
                y0, x0 = max(top, 0), max(left, 0)
                y1, x1 = min(top + block.sizes["Y"], shape[1]), min(left + block.sizes["X"], shape[2])
                if y0 >= y1 or x0 >= x1:
                    continue
                with damage_named(file.uri, "CZI"):
                    part = _decoded(file, block)[y0 - top : y1 - top, x0 - left : x1 - left]
                for position, channel in enumerate(channels):
                    if is_rgb or channel == plane[0]:
                        pixels[position, y0:y1, x0:x1] = part[..., channel if is_rgb else 0]
        return pixels

    return stack_image(
        file.uri,
        {**{axis.lower(): length for axis, length in size.items()}, "c": count},
        dtype=dtype,
        channels=RGB_CHANNELS if is_rgb else _names(xml, count) or numbered_channels(count),
        is_rgb=is_rgb,
        pixel_size_um=_pixel_size_um(xml),
        read_planes=read_planes,
        scenes=scenes,
        scene=scene,
    )


def _places(file: StoredFile) -> tuple[int, int]:
    """Where the directory and the metadata begin."""
    name, _, _ = _SEGMENT.unpack(file.read(0, 32))
    if not name.startswith(b"ZISRAWFILE"):
        raise ValueError(f"it starts with {name[:10]!r}")
    *_, part, directory, metadata, _, _ = struct.unpack("<iiii16s16siqqiq", file.read(32, 112))
    if part != 0:
        raise ImageFileError(f"{file.uri} is part {part} of a CZI of several files; save it as one file")
    return directory, metadata


def _blocks(file: StoredFile, directory: int) -> list[Block]:
    name, _, used = _SEGMENT.unpack(file.read(directory, directory + 32))
    if not name.startswith(b"ZISRAWDIRECTORY"):
        raise ValueError("its directory is not where the header says")
    content = file.read(directory + 32, min(directory + 32 + used, file.size))
    (count,) = struct.unpack_from("<i", content)
    blocks, at = [], 128
    for _ in range(count):
        block, length = _block(content, at)
        blocks.append(block)
        at += length
    return blocks


def _block(content: bytes, at: int) -> tuple[Block, int]:
    schema, pixel_type, position, part, compression, _, _, _, count = _ENTRY.unpack_from(content, at)
    if schema != b"DV" or part != 0 or not 0 < count < 64:
        raise ValueError("an entry of its directory is of no known kind")
    if pixel_type not in _PIXEL_TYPES:
        raise ValueError(f"its pixels are of type {pixel_type}, expected grey or colour in whole numbers or floats")
    starts, sizes, is_full_size = {}, {}, True
    for number in range(count):
        name, start, size, _, stored = _DIMENSION.unpack_from(content, at + _ENTRY.size + number * _DIMENSION.size)
        axis = name.rstrip(b"\0").decode("ascii")
        starts[axis], sizes[axis] = start, size
        is_full_size = is_full_size and stored in (0, size) and size > 0
    if "X" not in sizes or "Y" not in sizes:
        raise ValueError("a block of it has no x or no y")
    length = _ENTRY.size + count * _DIMENSION.size
    return Block(starts, sizes, is_full_size, pixel_type, compression, position), length


def _decoded(file: StoredFile, block: Block) -> Shaped[np.ndarray, "y x sample"]:
    import imagecodecs

    start = block.position
    name, _, _ = _SEGMENT.unpack(file.read(start, start + 32))
    metadata_size, _, data_size = struct.unpack("<iiq", file.read(start + 32, start + 48))
    (count,) = struct.unpack("<i", file.read(start + 76, start + 80))
    if not name.startswith(b"ZISRAWSUBBLOCK") or metadata_size < 0:
        raise ValueError("a block is not where the directory says")
    entry_bytes = _ENTRY.size + count * _DIMENSION.size
    data = start + 48 + max(entry_bytes, 240) + metadata_size
    content = file.read(data, data + data_size)
    dtype = np.dtype(_PIXEL_TYPES[block.pixel_type][0])
    shape = (block.sizes["Y"], block.sizes["X"], block.samples)
    num_bytes = math.prod(shape) * dtype.itemsize
    check_memory(file.uri, num_bytes)
    if block.compression in (_JPEG, _JPEG_XR):
        if block.compression == _JPEG and block.samples > 1:
            raise ImageFileError(f"{file.uri} holds colour JPEG, which is not read here; save it as OME-TIFF")
        decode = imagecodecs.jpeg_decode if block.compression == _JPEG else imagecodecs.jpegxr_decode
        return np.asarray(decode(content)).reshape(shape)[..., :3]  # JPEG XR comes as RGB
    raw = _unpacked(content, block.compression, num_bytes, dtype)
    pixels = np.frombuffer(raw, dtype).reshape(shape)
    return pixels[..., 2::-1] if block.samples > 1 else pixels  # stored blue, green, red


def _unpacked(content: bytes, compression: int, num_bytes: int, dtype: np.dtype) -> bytes:
    import imagecodecs

    if compression == _UNCOMPRESSED:
        raw = content[:num_bytes]
    elif compression == _LZW:
        raw = bytes(imagecodecs.lzw_decode(content, out=num_bytes))
    elif compression == _ZSTD_0:
        raw = bytes(imagecodecs.zstd_decode(content, out=num_bytes))
    elif compression == _ZSTD_1:
        header = content[0]
        raw = bytes(imagecodecs.zstd_decode(content[header:], out=num_bytes))
        if header >= 3 and content[1] == 1 and content[2] & 1:
            # the low bytes of all pixels, then their high bytes
            halves = np.frombuffer(raw, np.uint8).reshape(2, -1)
            raw = np.ascontiguousarray(halves.T).tobytes()
    else:
        raise ValueError(f"a block is packed by method {compression}, expected 0, 1, 2, 4, 5 or 6")
    if len(raw) != num_bytes:
        raise ValueError(f"a block decodes to {len(raw)} bytes, expected {num_bytes}")
    return raw


def _metadata(file: StoredFile, position: int) -> ElementTree.Element | None:
    if position <= 0:
        return None
    name, _, _ = _SEGMENT.unpack(file.read(position, position + 32))
    (size,) = struct.unpack("<i", file.read(position + 32, position + 36))
    if not name.startswith(b"ZISRAWMETADATA") or size <= 0:
        raise ValueError("its metadata are not where the header says")
    return ElementTree.fromstring(file.read(position + 288, position + 288 + size))


def _names(xml: ElementTree.Element | None, count: int) -> tuple[str, ...] | None:
    if xml is None:
        return None
    found = xml.findall("./Metadata/Information/Image/Dimensions/Channels/Channel")
    names = tuple(str(channel.get("Name") or "").strip() for channel in found)
    return names if len(names) == count and all(names) else None


def _pixel_size_um(xml: ElementTree.Element | None) -> float | None:
    if xml is None:
        return None
    found: dict[str, Any] = {
        str(distance.get("Id")): distance.findtext("Value")
        for distance in xml.findall("./Metadata/Scaling/Items/Distance")
    }
    sizes = [float(found[axis]) * 1e6 for axis in "XY" if found.get(axis)]
    is_square = len(sizes) == 2 and sizes[0] > 0 and abs(sizes[0] - sizes[1]) <= 0.01 * sizes[0]
    return sizes[0] if is_square and math.isfinite(sizes[0]) else None
