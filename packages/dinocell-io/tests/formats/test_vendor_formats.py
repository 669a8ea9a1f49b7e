"""LIF and ND2 through their libraries, from files made after their layouts; and what is said without a library."""

import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinocell_io import open_image, read_image


def lif_image(name: str, stack: np.ndarray, channel_names: tuple[str, ...], um: float) -> tuple[str, bytes]:
    """The XML and the memory of one image [t z c y x], after Leica's description of the format."""
    num_t, num_z, num_c, height, width = stack.shape
    plane = height * width * 2
    channels = "".join(
        '<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" NameOfMeasuredQuantity="" Min="0" Max="65535" '
        f'Unit="" LUTName="{lut}" IsLUTInverted="0" BytesInc="{plane * index}" BitInc="0"/>'
        for index, lut in enumerate(channel_names)
    )
    sizes = [
        (1, width, 2, um * 1e-6 * (width - 1), "m"),
        (2, height, width * 2, um * 1e-6 * (height - 1), "m"),
        (3, num_z, plane * num_c, 1e-6 * (num_z - 1), "m"),
        (4, num_t, plane * num_c * num_z, float(num_t - 1), "s"),
    ]
    dimensions = "".join(
        f'<DimensionDescription DimID="{number}" NumberOfElements="{count}" Origin="0" Length="{length!r}" '
        f'Unit="{unit}" BytesInc="{step}" BitInc="0"/>'
        for number, count, step, length, unit in sizes
        if count > 1
    )
    xml = (
        f'<Element Name="{name}" Visibility="1" UniqueID="{name}"><Data><Image><ImageDescription>'
        f"<Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
        f'<Memory Size="{stack.nbytes}" MemoryBlockID="Mem_{name}"/></Element>'
    )
    memory_id = f"Mem_{name}".encode("utf-16-le")
    head = struct.pack("<IIBQBI", 0x70, len(memory_id) + 14, 0x2A, stack.nbytes, 0x2A, len(memory_id) // 2)
    return xml, head + memory_id + stack.astype("<u2").tobytes()


def write_lif(path: Path, images: list[tuple[str, bytes]]) -> None:
    elements = "".join(xml for xml, _ in images)
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="root" Visibility="1" UniqueID="0"><Data/><Memory Size="0" '
        f'MemoryBlockID="MemBlock_0"/><Children>{elements}</Children></Element></LMSDataContainerHeader>'
    ).encode("utf-16-le")
    head = struct.pack("<IIBI", 0x70, len(xml) + 5, 0x2A, len(xml) // 2)
    path.write_bytes(head + xml + b"".join(memory for _, memory in images))


@pytest.fixture
def stack() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 60000, (2, 3, 2, 20, 30)).astype(np.uint16)


def test_a_lif_stack_is_read_plane_by_plane(tmp_path: Path, stack: np.ndarray) -> None:
    pytest.importorskip("liffile", reason="the extra lif")
    write_lif(tmp_path / "a.lif", [lif_image("one", stack, ("Blue", "Green"), 0.5)])
    image = open_image(tmp_path / "a.lif")
    assert (image.axes, image.shape, image.dtype) == ("tzcyx", stack.shape, np.uint16)
    assert image.pixel_size_um == pytest.approx(0.5)
    for t in range(2):
        for z in range(3):
            np.testing.assert_array_equal(image.read(z=z, t=t), stack[t, z])
    np.testing.assert_array_equal(image.read(np.s_[3:9, 4:30], channels=[1], z=2, t=0), stack[0, 2, 1:, 3:9, 4:30])


def test_the_images_of_a_lif_are_scenes(tmp_path: Path, stack: np.ndarray) -> None:
    pytest.importorskip("liffile", reason="the extra lif")
    images = [lif_image(name, stack[t : t + 1, :1], ("Blue", "Green"), 0.5) for t, name in enumerate(("one", "two"))]
    write_lif(tmp_path / "a.lif", images)
    with pytest.raises(
        ValueError, match=r"2 images: one; two\. Choose one with scene=, on the command line --scene, by"
    ):
        open_image(tmp_path / "a.lif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.lif", scene="two").pixels, stack[1, 0])


def test_an_image_that_a_lif_stores_in_part_is_refused_and_the_others_are_read(
    tmp_path: Path, stack: np.ndarray
) -> None:
    pytest.importorskip("liffile", reason="the extra lif")
    whole = lif_image("whole", stack[:1, :1], ("Blue", "Green"), 0.5)
    xml, _ = lif_image("stopped", stack[:1], ("Blue", "Green"), 0.5)  # says three planes, and stores one
    _, memory = lif_image("stopped", stack[:1, :1], ("Blue", "Green"), 0.5)
    write_lif(tmp_path / "a.lif", [(xml, memory), whole])
    with pytest.raises(
        ValueError, match=r"a\.lif stores 2400 of the 7200 bytes of its image stopped, as after an acqui"
    ):
        open_image(tmp_path / "a.lif", scene="stopped")
    np.testing.assert_array_equal(read_image(tmp_path / "a.lif", scene="whole").pixels, stack[0, 0])


def test_a_cut_lif_is_refused(tmp_path: Path, stack: np.ndarray) -> None:
    pytest.importorskip("liffile", reason="the extra lif")
    path = tmp_path / "cut.lif"
    write_lif(path, [lif_image("one", stack[:1, :1], ("Blue", "Green"), 0.5)])
    content = path.read_bytes()
    for length in range(1, len(content), 173):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.lif"):
            read_image(path)


def nd2_item(name: str, value: Any) -> str:
    """One entry of Nikon's XML; `name#1`, `name#2` are entries of one name."""
    name = name.partition("#")[0]
    if isinstance(value, dict):
        inside = "".join(nd2_item(key, entry) for key, entry in value.items())
        return f'<{name} runtype="CLxListVariant">{inside}</{name}>'
    runtype = {bool: "bool", int: "lx_uint32", float: "double", str: "CLxStringW"}[type(value)]
    return f'<{name} runtype="{runtype}" value="{str(value).lower() if isinstance(value, bool) else value}"/>'


def nd2_loops(num_t: int, num_p: int, num_z: int) -> dict[str, Any]:
    """The loops of an experiment, from the innermost outwards."""
    every = [f"no_name#{number}" for number in range(num_p)]
    z = {"uiCount": num_z, "dZLow": 0.0, "dZHigh": float(num_z), "dZStep": 1.0}
    points = {"uiCount": num_p, "Points": {name: {"dPosX": 0.0, "dPosY": 0.0, "dPosZ": 0.0} for name in every}}
    t = {"uiCount": num_t, "dStart": 0.0, "dPeriod": 1.0, "dDuration": 1.0}
    found: dict[str, Any] = {}
    for kind, count, parameters in ((4, num_z, z), (2, num_p, points), (1, num_t, t)):
        if count > 1:
            inner = {"ppNextLevelEx": {"no_name": found}} if found else {}
            valid = {"pItemValid": dict.fromkeys(every, True)} if kind == 2 else {}
            found = {"eType": kind, "uLoopPars": parameters, **valid, **inner}
    return found


def write_nd2(
    path: Path,
    frames: np.ndarray,
    names: tuple[str, ...],
    *,
    loops: tuple[int, int, int] = (1, 1, 1),
    um: float | None = 0.65,
    left_out: tuple[int, ...] = (),
    is_packed: bool = False,
) -> None:
    """Frames [frame y x component] as an ND2 of version 2.1: chunks, then the table of them."""
    count, height, width, components = frames.shape
    bits = 8 * frames.itemsize
    attributes = {
        "uiWidth": width, "uiWidthBytes": width * components * frames.itemsize, "uiHeight": height,
        "uiComp": components, "uiBpcInMemory": bits, "uiBpcSignificant": bits, "uiSequenceCount": count,
        "eCompression": 0 if is_packed else 2,
    }  # fmt: skip
    planes = {
        f"a{number}": {
            "sDescription": name, "uiCompCount": components // len(names), "uiModalityMask": 1,
            "pFluorescentProbe": {"uiColor": 0},
        }
        for number, name in enumerate(names)
    }  # fmt: skip
    metadata = {
        "bCalibrated": um is not None, "dCalibration": 1.0 if um is None else um,
        "sPicturePlanes": {"uiCount": len(names), "sPlaneNew": planes},
    }  # fmt: skip
    described = {
        b"ImageAttributes!": attributes,
        b"ImageMetadataSeq|0!": metadata,
        b"ImageMetadata!": nd2_loops(*loops),
    }
    chunks = {
        name: f'<variant version="1.0">{nd2_item("no_name", value)}</variant>'.encode()
        for name, value in described.items()
        if value
    }
    for number, frame in enumerate(frames):
        if number not in left_out:
            pixels = zlib.compress(frame.tobytes()) if is_packed else frame.tobytes()
            chunks[b"ImageDataSeq|%d!" % number] = bytes(8) + pixels  # the time, then the pixels
    signature = b"ND2 FILE SIGNATURE CHUNK NAME01!"
    content, table = struct.pack("<IIQ32s64s", 0x0ABECEDA, 32, 64, signature, b"Ver2.1"), b""
    for name, data in chunks.items():
        table += name + struct.pack("<QQ", len(content), len(data))
        # pixels begin 4096 bytes after their chunk
        padded = name.ljust(4072 if name.startswith(b"ImageDataSeq") else len(name) + 20, b"\0")
        content += struct.pack("<IIQ", 0x0ABECEDA, len(padded), len(data)) + padded + data
    table += b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", len(content))
    name = b"ND2 FILEMAP SIGNATURE NAME 0001!" + bytes(20)
    path.write_bytes(content + struct.pack("<IIQ", 0x0ABECEDA, len(name), len(table)) + name + table)


@pytest.fixture
def frames(stack: np.ndarray) -> np.ndarray:
    """Frames of two times, two positions and three planes, two channels each."""
    pytest.importorskip("nd2", reason="the extra nd2")
    return np.moveaxis(np.stack([stack, stack[::-1] + 1], axis=1), 3, 5).reshape(12, 20, 30, 2)


@pytest.mark.parametrize("is_packed", [False, True])
def test_positions_of_an_nd2_are_scenes_read_plane_by_plane(
    tmp_path: Path, frames: np.ndarray, is_packed: bool
) -> None:
    path = tmp_path / "a.nd2"
    write_nd2(path, frames, ("DAPI", "FITC"), loops=(2, 2, 3), is_packed=is_packed)
    with pytest.raises(ValueError, match=r"holds 2 images: 0; 1"):
        open_image(path)
    by_place = frames.reshape(2, 2, 3, 20, 30, 2)
    for position in range(2):
        image = open_image(path, scene=position)
        assert (image.axes, image.shape, image.channels) == ("tzcyx", (2, 3, 2, 20, 30), ("DAPI", "FITC"))
        assert (image.pixel_size_um, image.dtype) == (0.65, np.uint16)
        for t in range(2):
            for z in range(3):
                expected = np.moveaxis(by_place[t, position, z], 2, 0)
                np.testing.assert_array_equal(image.read(t=t, z=z), expected)
                part = image.read(np.s_[2:9, 3:30], channels=[1, 0], t=t, z=z)
                np.testing.assert_array_equal(part, expected[::-1, 2:9, 3:30])


def test_an_nd2_of_one_channel_and_no_calibration_is_read(tmp_path: Path, frames: np.ndarray) -> None:
    write_nd2(tmp_path / "a.nd2", frames[:1, ..., :1], ("DAPI",), um=None)
    image = read_image(tmp_path / "a.nd2")
    assert (image.channels, image.pixel_size_um) == (("DAPI",), None)
    np.testing.assert_array_equal(image.pixels[0], frames[0, ..., 0])


def test_colour_of_an_nd2_is_turned_from_blue_green_red(tmp_path: Path) -> None:
    pytest.importorskip("nd2", reason="the extra nd2")
    colour = np.random.default_rng(1).integers(0, 255, (2, 8, 9, 3)).astype(np.uint8)
    write_nd2(tmp_path / "a.nd2", colour, ("Brightfield",), loops=(2, 1, 1))
    image = open_image(tmp_path / "a.nd2")
    assert (image.axes, image.is_rgb, image.channels) == ("tcyx", True, ("red", "green", "blue"))
    np.testing.assert_array_equal(image.read(t=1), np.moveaxis(colour[1, ..., ::-1], 2, 0))
    np.testing.assert_array_equal(image.read(channels=[2], t=0)[0], colour[0, ..., 0])


def test_a_frame_that_an_nd2_lacks_is_refused_and_a_black_one_is_read(tmp_path: Path, frames: np.ndarray) -> None:
    frames[4] = 0
    path = tmp_path / "stopped.nd2"
    write_nd2(path, frames, ("DAPI", "FITC"), loops=(2, 2, 3), left_out=(5,))
    image = open_image(path, scene=1)
    assert not image.read(t=0, z=1).any()
    with pytest.raises(ValueError, match=r"stopped\.nd2 lacks frame 5; its acquisition was stopped before"):
        image.read(t=0, z=2)


def test_a_damaged_nd2_is_refused(tmp_path: Path, frames: np.ndarray) -> None:
    path = tmp_path / "cut.nd2"
    write_nd2(path, frames[:1], ("DAPI", "FITC"))
    content = path.read_bytes()
    for length in range(1, len(content), 977):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.nd2 cannot be read as ND2"):
            read_image(path)
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match=r"cut\.nd2 cannot be read as ND2"):
        open_image(path)


@pytest.mark.parametrize(("suffix", "module"), [("nd2", "nd2"), ("lif", "liffile")])
def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / f"a.{suffix}").write_bytes(b"x")
    message = rf"a\.{suffix} is read by the library {module}, .*pip install 'dinocell-io\[{suffix}\]'"
    with pytest.raises(ValueError, match=message):
        open_image(tmp_path / f"a.{suffix}")
