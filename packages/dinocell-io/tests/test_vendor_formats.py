"""LIF and ND2 through their libraries, and what is said where a library is missing."""

import struct
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

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
    with pytest.raises(ValueError, match=r"holds 2 images: one; two\. Choose one with scene="):
        open_image(tmp_path / "a.lif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.lif", scene="two").pixels, stack[1, 0])


def test_a_cut_lif_is_refused(tmp_path: Path, stack: np.ndarray) -> None:
    pytest.importorskip("liffile", reason="the extra lif")
    path = tmp_path / "cut.lif"
    write_lif(path, [lif_image("one", stack[:1, :1], ("Blue", "Green"), 0.5)])
    content = path.read_bytes()
    for length in range(1, len(content), 173):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.lif"):
            read_image(path)


@pytest.fixture
def nd2_library(monkeypatch: pytest.MonkeyPatch, stack: np.ndarray) -> type:
    """A stand-in for the library nd2, with the part of its interface that is used: no ND2 file can be written here."""

    class Lazy:
        def __init__(self, pixels: np.ndarray) -> None:
            self.pixels = pixels

        def __getitem__(self, index: Any) -> "Lazy":
            return Lazy(self.pixels[index])

        def compute(self) -> np.ndarray:
            return self.pixels

    class ND2File:
        sizes: ClassVar = {"T": 1, "P": 2, "Z": 3, "C": 2, "Y": 20, "X": 30}
        pixels = stack[None]  # t p z c y x
        dtype = np.dtype(np.uint16)

        def __init__(self, path: str) -> None:
            if not Path(path).read_bytes().startswith(b"ND2"):
                raise OSError("file not recognized as ND2")

        def __enter__(self) -> "ND2File":
            return self

        def __exit__(self, *_: object) -> None: ...

        @property
        def metadata(self) -> types.SimpleNamespace:
            channels = [types.SimpleNamespace(channel=types.SimpleNamespace(name=name)) for name in ("DAPI", "FITC")]
            return types.SimpleNamespace(channels=channels)

        def voxel_size(self) -> types.SimpleNamespace:
            return types.SimpleNamespace(x=0.65, y=0.65, z=2.0)

        def to_dask(self) -> Lazy:
            return Lazy(self.pixels)

    module = types.ModuleType("nd2")
    module.ND2File = ND2File  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nd2", module)
    return ND2File


def test_positions_of_an_nd2_are_scenes(tmp_path: Path, stack: np.ndarray, nd2_library: type) -> None:
    (tmp_path / "a.nd2").write_bytes(b"ND2")
    with pytest.raises(ValueError, match=r"holds 2 images: 0; 1"):
        open_image(tmp_path / "a.nd2")
    image = open_image(tmp_path / "a.nd2", scene=1)
    assert (image.axes, image.shape, image.channels) == ("zcyx", (3, 2, 20, 30), ("DAPI", "FITC"))
    assert image.pixel_size_um == pytest.approx(0.65)
    np.testing.assert_array_equal(image.read(np.s_[2:9, 3:30], channels=[1, 0], z=2), stack[1, 2, ::-1, 2:9, 3:30])
    (tmp_path / "bad.nd2").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"bad\.nd2 cannot be read as ND2 \(file not recognized as ND2\)"):
        open_image(tmp_path / "bad.nd2")


def test_colour_of_an_nd2_is_three_channels(tmp_path: Path, nd2_library: type, monkeypatch: pytest.MonkeyPatch) -> None:
    colour = np.random.default_rng(1).integers(0, 255, (2, 8, 9, 3)).astype(np.uint8)
    monkeypatch.setattr(nd2_library, "sizes", {"T": 2, "Y": 8, "X": 9, "S": 3})
    monkeypatch.setattr(nd2_library, "pixels", colour)
    monkeypatch.setattr(nd2_library, "dtype", np.dtype(np.uint8))
    (tmp_path / "a.nd2").write_bytes(b"ND2")
    image = open_image(tmp_path / "a.nd2")
    assert (image.axes, image.is_rgb) == ("tcyx", True)
    np.testing.assert_array_equal(image.read(t=1), np.moveaxis(colour[1], 2, 0))


@pytest.mark.parametrize(("suffix", "module"), [("nd2", "nd2"), ("lif", "liffile")])
def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / f"a.{suffix}").write_bytes(b"x")
    message = rf"a\.{suffix} is read by the library {module}, .*pip install 'dinocell-io\[{suffix}\]'"
    with pytest.raises(ValueError, match=message):
        open_image(tmp_path / f"a.{suffix}")
