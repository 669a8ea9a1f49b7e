"""CZI files, written here block by block after ZEISS's description of the format; no microscope made them.

The library czifile reads the same files, as the second opinion.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from dinocell_io import open_image, read_image

PIXEL_TYPES = {("u1", 1): 0, ("u2", 1): 1, ("f4", 1): 2, ("u1", 3): 3, ("u2", 3): 4, ("u1", 4): 9}


@dataclass
class BlockToWrite:
    pixels: np.ndarray  # [y x] or [y x sample], red first
    starts: dict[str, int] = field(default_factory=dict)
    compression: int = 0
    scale: int = 1  # above 1: a smaller copy

    def entry(self, position: int) -> bytes:
        samples = 1 if self.pixels.ndim == 2 else self.pixels.shape[2]
        kind = PIXEL_TYPES[(self.pixels.dtype.str[1:], samples)]
        height, width = self.pixels.shape[:2]
        stored = {"X": width, "Y": height}
        starts = {"X": 0, "Y": 0} | self.starts
        dimensions = b"".join(
            struct.pack(
                "<4siifi",
                axis.encode(),
                start,
                stored.get(axis, 1) * (self.scale if axis in "XY" else 1),
                0.0,
                stored.get(axis, 1),
            )
            for axis, start in starts.items()
        )
        head = struct.pack(
            "<2siqiiBB4si", b"DV", kind, position, 0, self.compression, int(self.scale > 1), 0, b"", len(starts)
        )
        return head + dimensions

    def data(self) -> bytes:
        stored = self.pixels[..., ::-1] if self.pixels.ndim == 3 else self.pixels
        raw = np.ascontiguousarray(stored).tobytes()
        if self.compression == 2:
            return imagecodecs.lzw_encode(raw)
        if self.compression == 4:
            return imagecodecs.jpegxr_encode(self.pixels, level=1.0)
        if self.compression == 5:
            return imagecodecs.zstd_encode(raw)
        if self.compression == 6:
            halves = np.frombuffer(raw, np.uint8).reshape(-1, 2).T
            return b"\x03\x01\x01" + imagecodecs.zstd_encode(np.ascontiguousarray(halves).tobytes())
        return raw


def segment(name: bytes, content: bytes) -> bytes:
    return struct.pack("<16sqq", name, len(content), len(content)) + content


def write_czi(
    path: Path, blocks: list[BlockToWrite], *, channels: tuple[str, ...] = (), um: float | None = None
) -> None:
    items = "".join(f'<Distance Id="{axis}"><Value>{um * 1e-6!r}</Value></Distance>' for axis in "XY") if um else ""
    names = "".join(f'<Channel Id="Channel:{i}" Name="{name}"/>' for i, name in enumerate(channels))
    xml = (
        "<ImageDocument><Metadata><Information><Image><Dimensions><Channels>"
        f"{names}</Channels></Dimensions></Image></Information><Scaling><Items>{items}</Items></Scaling>"
        "</Metadata></ImageDocument>"
    ).encode()
    content = bytes(112)
    metadata_at = len(content)
    content += segment(b"ZISRAWMETADATA", struct.pack("<ii", len(xml), 0) + bytes(248) + xml)
    entries = b""
    for block in blocks:
        entry = block.entry(len(content))
        entries += entry
        about = b"<METADATA/>"
        data = block.data()
        fixed = struct.pack("<iiq", len(about), 0, len(data)) + entry
        content += segment(b"ZISRAWSUBBLOCK", fixed.ljust(256, b"\0") + about + data)
    directory_at = len(content)
    content += segment(b"ZISRAWDIRECTORY", struct.pack("<i", len(blocks)) + bytes(124) + entries)
    header = struct.pack("<iiii16s16siqqiq", 1, 0, 0, 0, bytes(16), bytes(16), 0, directory_at, metadata_at, 0, 0)
    path.write_bytes(segment(b"ZISRAWFILE", header) + content[112:])


def noise(*shape: int, dtype: str = "u2") -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 250, shape).astype(dtype)


def test_planes_channels_names_and_pixel_size_are_read(tmp_path: Path) -> None:
    stack = noise(2, 3, 2, 20, 30)
    blocks = [
        BlockToWrite(stack[t, z, c], {"C": c, "Z": z, "T": t, "S": 0})
        for t in range(2)
        for z in range(3)
        for c in range(2)
    ]
    write_czi(tmp_path / "a.czi", blocks, channels=("DAPI", "GFP"), um=0.325)
    image = open_image(tmp_path / "a.czi")
    assert (image.axes, image.shape, image.dtype) == ("tzcyx", (2, 3, 2, 20, 30), np.uint16)
    assert image.channels == ("DAPI", "GFP")
    assert image.pixel_size_um == pytest.approx(0.325)
    for t in range(2):
        for z in range(3):
            np.testing.assert_array_equal(image.read(z=z, t=t), stack[t, z])
    np.testing.assert_array_equal(image.read(np.s_[5:9, 7:30], channels=[1], z=1, t=1), stack[1, 1, 1:, 5:9, 7:30])
    with pytest.raises(
        ValueError, match=r"choose z= \(0 to 2\) and t= \(0 to 1\), on the command line --z and --t, or"
    ):
        read_image(tmp_path / "a.czi")


@pytest.mark.filterwarnings("ignore")  # czifile is of 2019
def test_czifile_reads_the_same(tmp_path: Path) -> None:
    czifile = pytest.importorskip("czifile", reason="czifile is the second opinion")
    # overlapping tiles that leave no gap: there czifile's array is not initialised
    blocks = [
        BlockToWrite(noise(20, 30 + row), {"Y": 15 * row, "X": 25 * column, "C": c, "M": 2 * row + column})
        for row in range(2)
        for column in range(2)
        for c in range(2)
    ]
    blocks[-1].pixels = blocks[-1].pixels[:, :30]
    blocks[-2].pixels = blocks[-2].pixels[:, :30]
    write_czi(tmp_path / "a.czi", blocks)
    with czifile.CziFile(str(tmp_path / "a.czi")) as opened:
        expected = opened.asarray(max_workers=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.czi").pixels, np.squeeze(expected))


@pytest.mark.parametrize("compression", [0, 2, 4, 5, 6])
def test_every_packing_reads_the_same(tmp_path: Path, compression: int) -> None:
    pixels = noise(24, 40)
    write_czi(tmp_path / "a.czi", [BlockToWrite(pixels, compression=compression)])
    np.testing.assert_array_equal(read_image(tmp_path / "a.czi").pixels[0], pixels)


@pytest.mark.parametrize("compression", [0, 4, 5])
@pytest.mark.parametrize("samples", [3, 4])
def test_colour_is_red_green_blue(tmp_path: Path, compression: int, samples: int) -> None:
    pixels = noise(20, 30, samples, dtype="u1")
    if samples == 4:
        # stored blue, green, red, alpha
        stored = BlockToWrite(np.ascontiguousarray(pixels[..., [3, 0, 1, 2]]), compression=compression)
        if compression == 4:
            pytest.skip("colour with alpha in JPEG XR has no one order")
    else:
        stored = BlockToWrite(pixels, compression=compression)
    write_czi(tmp_path / "a.czi", [stored])
    image = read_image(tmp_path / "a.czi")
    assert image.is_rgb
    np.testing.assert_array_equal(image.pixels, np.moveaxis(pixels[..., :3], 2, 0))


def test_a_mosaic_is_put_together_and_its_gaps_are_0(tmp_path: Path) -> None:
    tiles = [(noise(10, 12) + 1, {"Y": -4, "X": 100, "M": 0}), (noise(11, 13) + 1, {"Y": 2, "X": 108, "M": 1})]
    write_czi(tmp_path / "a.czi", [BlockToWrite(pixels, starts) for pixels, starts in reversed(tiles)])
    expected = np.zeros((17, 21), np.uint16)
    expected[:10, :12] = tiles[0][0]
    expected[6:, 8:] = tiles[1][0]
    image = open_image(tmp_path / "a.czi")
    np.testing.assert_array_equal(image.read()[0], expected)
    for region in (np.s_[0:17, 0:5], np.s_[5:8, 7:14], np.s_[0:3, 15:21]):
        np.testing.assert_array_equal(image.read(region)[0], expected[region])


def test_scenes_are_chosen_and_smaller_copies_left_out(tmp_path: Path) -> None:
    blocks = [BlockToWrite(noise(20, 30 + scene), {"X": 50 * scene, "S": scene}) for scene in range(2)]
    blocks.append(BlockToWrite(noise(10, 15), {"S": 0}, scale=2))
    write_czi(tmp_path / "a.czi", blocks)
    with pytest.raises(ValueError, match=r"holds 2 images: 0; 1\. Choose one with scene="):
        open_image(tmp_path / "a.czi")
    image = open_image(tmp_path / "a.czi", scene="1")
    assert (image.scene, image.scenes, image.shape) == ("1", ("0", "1"), (1, 20, 31))
    np.testing.assert_array_equal(image.read()[0], blocks[1].pixels)


def test_a_plane_that_is_missing_is_refused(tmp_path: Path) -> None:
    blocks = [BlockToWrite(noise(8, 9), {"C": c, "Z": z}) for c, z in ((0, 0), (0, 1), (1, 0))]
    write_czi(tmp_path / "a.czi", blocks)
    with pytest.raises(ValueError, match=r"a\.czi lacks the plane of channel 1, z=1, t=0; it is not whole"):
        read_image(tmp_path / "a.czi", z=1)


def test_axes_that_are_not_known_are_refused(tmp_path: Path) -> None:
    write_czi(tmp_path / "a.czi", [BlockToWrite(noise(8, 9), {"R": rotation}) for rotation in range(2)])
    with pytest.raises(ValueError, match=r"a\.czi has the axes R beside"):
        open_image(tmp_path / "a.czi")


def test_a_czi_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.czi"
    write_czi(path, [BlockToWrite(noise(20, 30), {"C": c}, compression=5) for c in range(2)], um=0.5)
    content = path.read_bytes()
    for length in range(1, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.czi (cannot be read as CZI|has \d+ bytes?, but)"):
            read_image(path)


def test_a_czi_with_flipped_bytes_is_refused_or_read(tmp_path: Path) -> None:
    path = tmp_path / "flipped.czi"
    pixels = noise(20, 30)
    write_czi(path, [BlockToWrite(pixels, {"C": c}, compression=5) for c in range(2)], channels=("a", "b"), um=0.5)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(content)
        damaged[int(rng.integers(len(content)))] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            image = read_image(path)
        except ValueError as error:
            named = "flipped.czi" in str(error)
        else:
            named = image.pixels.size > 0
        assert named


@pytest.mark.parametrize("packed", [None, "zstd0:ExplicitLevel=3", "zstd1:ExplicitLevel=3;PreProcess=HiLoByteUnpack"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_what_zeiss_own_library_writes_is_read(tmp_path: Path, packed: str | None, dtype: type) -> None:
    library = pytest.importorskip("pylibCZIrw.czi", reason="pylibCZIrw, ZEISS's own writer, is LGPL and no extra")
    path = tmp_path / "a.czi"
    pixels = np.random.default_rng(0).integers(0, 250, (2, 3, 2, 20, 30)).astype(dtype)
    with library.create_czi(str(path), compression_options=packed) as written:
        for t, z, c in np.ndindex(2, 3, 2):
            written.write(pixels[t, z, c][..., None], location=(-7, 5), plane={"T": t, "Z": z, "C": c})
        written.write_metadata(channel_names={0: "DAPI", 1: "EGFP"}, scale_x=0.325e-6, scale_y=0.325e-6)
    image = open_image(path)
    assert (image.axes, image.shape, image.channels) == ("tzcyx", pixels.shape, ("DAPI", "EGFP"))
    assert image.pixel_size_um == pytest.approx(0.325)
    for t, z in np.ndindex(2, 3):
        np.testing.assert_array_equal(image.read(t=t, z=z), pixels[t, z])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_colour_mosaic_of_zeiss_own_library_is_put_together_as_it_does(tmp_path: Path, dtype: type) -> None:
    library = pytest.importorskip("pylibCZIrw.czi", reason="pylibCZIrw, ZEISS's own writer, is LGPL and no extra")
    path = tmp_path / "a.czi"
    tiles = np.random.default_rng(0).integers(1, 250, (3, 20, 30, 3)).astype(dtype)
    with library.create_czi(str(path)) as written:
        for tile, place in zip(tiles, ((-10, 5), (15, 5), (60, 30)), strict=True):  # the second lies on the first
            written.write(tile, location=place)
        written.write_metadata("mosaic")
    with library.open_czi(str(path)) as theirs:
        blue_green_red = theirs.read(plane={"C": 0})
    np.testing.assert_array_equal(read_image(path).pixels, np.moveaxis(blue_green_red[..., ::-1], 2, 0))
