"""Micro-Manager's stacks: positions are scenes, of which each file gives its own."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinocell_io import open_image, read_image
from dinocell_io.folders.image_files import image_files

SIDE = 16


def write_stack(path: Path, planes: Sequence[tuple[int, int, int]], **summary: Any) -> Path:
    """A file after the layout of MMStack, with a plane for each (channel, position, value)."""
    facts = {"MicroManagerVersion": "2.0.0", "Slices": 1, "Frames": 1, "TimeFirst": False, "SlicesFirst": False}
    text = json.dumps({**facts, **summary}).encode()
    text += b" " * (len(text) % 2)
    body, index, start = b"", b"", 40 + len(text)
    for number, (channel, position, value) in enumerate(planes):
        pixels = np.full((SIDE, SIDE), value, np.uint16).tobytes()
        metadata = json.dumps({"PixelSizeUm": 0.65}).encode()
        metadata += b" " * (len(metadata) % 2)
        at = start + len(body)
        data = at + 162  # where tifffile, as Micro-Manager, expects them
        after = data + len(pixels)
        following = after + 16 + len(metadata)
        entries = [
            *((256, 4, 1, SIDE), (257, 4, 1, SIDE), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)),
            *((273, 4, 1, data), (277, 3, 1, 1), (278, 4, 1, SIDE), (279, 4, 1, len(pixels))),
            *((282, 5, 1, after), (283, 5, 1, after + 8), (296, 3, 1, 3), (51123, 2, len(metadata), after + 16)),
        ]
        directory = struct.pack("<H", 13) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        directory += struct.pack("<I", following if number + 1 < len(planes) else 0)
        page = directory + pixels + struct.pack("<IIII", 15385, 1, 15385, 1) + metadata
        index += struct.pack("<5I", channel, 0, 0, position, at)
        body += page
    end = start + len(body)
    index = struct.pack("<II", 3453623, len(planes)) + index
    display, comments = struct.pack("<II", 347834724, 2) + b"[]", struct.pack("<II", 84720485, 2) + b"{}"
    header = b"II*\0" + struct.pack("<I", start) + struct.pack("<II", 54773648, end)
    header += struct.pack("<IIII", 483765892, end + len(index), 99384722, end + len(index) + len(display))
    header += struct.pack("<II", 2355492, len(text))
    path.write_bytes(header + text + body + index + display + comments)
    return path


def test_one_position_for_each_file_reads_from_each(tmp_path: Path) -> None:
    facts = {"Prefix": "scan_1", "Channels": 2, "Positions": 2, "ChNames": ["DAPI", "GFP"]}
    paths = [
        write_stack(tmp_path / f"scan_1_MMStack_Pos{p}.ome.tif", [(0, p, 10 * p + 1), (1, p, 10 * p + 2)], **facts)
        for p in (0, 1)
    ]
    for position, path in enumerate(paths):
        image = read_image(path)
        assert image.pixels.max(axis=(1, 2)).tolist() == [10 * position + 1, 10 * position + 2]
        assert image.channels == ("DAPI", "GFP")
        assert image.pixel_size_um == pytest.approx(0.65)
        assert image_files(path) == (f"Pos{position}", (str(path),))
        for chosen, scene in ((0, "Pos0"), (1, 1)):
            assert read_image(path, scene=scene).pixels[0].max() == 10 * chosen + 1
    assert open_image(paths[0], scene=1).files == (str(paths[1]),)
    paths[0].unlink()
    image = read_image(paths[1])
    assert (image.pixels[1].max(), image.channels) == (12, ("DAPI", "GFP"))
    assert image.pixel_size_um == pytest.approx(0.65)


def test_several_positions_in_one_file_are_scenes_with_the_names_of_the_stage(tmp_path: Path) -> None:
    stage = [{"Label": "left"}, {"Label": "right"}]
    planes = [(0, position, position + 1) for position in (0, 1)]
    path = tmp_path / "scan_MMStack.ome.tif"
    write_stack(path, planes, Prefix="scan", Channels=1, Positions=2, ChNames=["DAPI"], StagePositions=stage)
    with pytest.raises(ValueError, match=r"holds 2 images: left; right\. Choose one with scene="):
        read_image(path)
    assert [read_image(path, scene=scene).pixels.max() for scene in ("left", "right", 0, 1)] == [1, 2, 1, 2]
    assert open_image(path, scene="right").scenes == ("left", "right")


def test_a_plane_that_the_stopped_acquisition_lacks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scan_MMStack.ome.tif"
    write_stack(path, [(0, 0, 1), (1, 0, 2), (0, 1, 3)], Prefix="scan", Channels=2, Positions=2)
    assert read_image(path, scene=0).pixels.max(axis=(1, 2)).tolist() == [1, 2]
    image = open_image(path, scene=1)
    assert image.read(channels=[0]).max() == 3
    with pytest.raises(ValueError, match=r"lacks the plane R=1, C=1: 3 of the 4 planes"):
        image.read(channels=[1])
