"""Images that are opened now and read later: regions, levels, planes, scenes, and how little is read for them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from dinocell_io import open_image, read_image
from dinocell_io.stores.store import NotFound, ObjectInfo


class RecordingStore:
    """A store in memory that writes down which bytes were asked for."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.requests: list[tuple[str, int, int]] = []

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise NotFound(key, "there is no such object")
        self.requests.append((key, 0, len(self.objects[key])))
        return self.objects[key]

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        assert 0 <= start < stop <= len(self.objects[key])
        self.requests.append((key, start, stop))
        return self.objects[key][start:stop]

    def size(self, key: str) -> int:
        if key not in self.objects:
            raise NotFound(key, "there is no such object")
        return len(self.objects[key])

    def list(self, prefix: str, *, delimiter: str | None = None) -> Iterator[ObjectInfo]:
        raise NotImplementedError

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    @property
    def num_bytes(self) -> int:
        return sum(stop - start for _, start, stop in self.requests)


@pytest.fixture
def stack() -> np.ndarray:
    """[t z c y x] with a different number at every place."""
    shape = (2, 3, 2, 40, 50)
    return np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)


@pytest.mark.parametrize("kind", ["ome", "imagej", "shaped"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_plane_of_a_stack_is_chosen_by_z_and_t(
    tmp_path: Path, stack: np.ndarray, kind: str, compression: str | None
) -> None:
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    tifffile.imwrite(
        path,
        stack,
        imagej=kind == "imagej",
        metadata={"axes": "TZCYX"},
        photometric="minisblack",
        compression=compression if kind != "imagej" else None,
    )
    image = open_image(path)
    assert (image.axes, image.shape, image.dtype) == ("tzcyx", stack.shape, np.uint16)
    for t in range(2):
        for z in range(3):
            np.testing.assert_array_equal(image.read(z=z, t=t), stack[t, z])
            np.testing.assert_array_equal(read_image(path, z=z, t=t).pixels, stack[t, z])
    np.testing.assert_array_equal(image.read(np.s_[3:20, 7:9], channels=[1], z=2, t=1), stack[1, 2, 1:, 3:20, 7:9])
    with pytest.raises(ValueError, match=r"T=2, Z=3, C=2, Y=40, X=50.*choose t= \(0 to 1\)"):
        image.read(z=1)
    with pytest.raises(ValueError, match=r"has z from 0 to 2, got 3"):
        image.read(z=3, t=0)


@pytest.mark.parametrize("order", ["CZTYX", "ZTCYX", "TCZYX"])
def test_axes_come_in_one_order_whatever_the_files(tmp_path: Path, stack: np.ndarray, order: str) -> None:
    stored = stack.transpose(["TZCYX".index(axis) for axis in order])
    tifffile.imwrite(tmp_path / "a.tif", stored, metadata={"axes": order}, photometric="minisblack")
    image = open_image(tmp_path / "a.tif")
    assert image.shape == stack.shape
    np.testing.assert_array_equal(image.read(z=2, t=1), stack[1, 2])


def test_planes_stored_across_pages_are_read(tmp_path: Path, stack: np.ndarray) -> None:
    stored = stack[0, 0].transpose(1, 2, 0)  # y x c: no page is a plane
    tifffile.imwrite(tmp_path / "a.tif", stored, metadata={"axes": "YXC"}, photometric="minisblack")
    image = open_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.read(), stack[0, 0])
    np.testing.assert_array_equal(image.read(np.s_[5:9, 1:50], channels=[1, 0]), stack[0, 0, ::-1, 5:9, 1:50])


def test_one_page_of_a_stack_without_names_is_chosen_by_z_or_t(tmp_path: Path) -> None:
    pages = np.arange(20 * 30, dtype=np.uint16).reshape(20, 5, 6)
    tifffile.imwrite(tmp_path / "pages.tif", pages, photometric="minisblack", metadata=None)
    image = open_image(tmp_path / "pages.tif")
    assert image.axes == "icyx"
    np.testing.assert_array_equal(image.read(z=7), pages[7:8])
    np.testing.assert_array_equal(image.read(t=19), pages[19:])
    for choice in ({}, {"z": 1, "t": 1}):
        with pytest.raises(ValueError, match=r"one of its 20 pages, which the file does not name"):
            image.read(**choice)
    with pytest.raises(ValueError, match="got 20"):
        image.read(z=20)


def test_an_image_without_z_takes_only_z_0(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 5), np.uint8))
    assert read_image(tmp_path / "a.tif", z=0, t=0).pixels.sum() == 20
    with pytest.raises(ValueError, match=r"has no z axis, got z=2; Y=4, X=5; leave the choice out"):
        read_image(tmp_path / "a.tif", z=2)


STORAGES = [
    {"tile": (16, 32), "compression": "zlib", "predictor": True},
    {"tile": (16, 16)},
    {"compression": "lzw", "rowsperstrip": 7},
    {"rowsperstrip": 9},
    {"byteorder": ">"},
    {"planarconfig": "separate", "photometric": "rgb", "compression": "zlib", "tile": (16, 16)},
    {"planarconfig": "separate", "photometric": "rgb"},
    {"planarconfig": "contig", "photometric": "rgb", "compression": "zlib", "tile": (32, 16)},
    {"planarconfig": "contig", "photometric": "rgb"},
]


@pytest.mark.parametrize("is_mapped", [False, True])
@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_any_region_of_any_storage_is_that_part_of_the_whole(
    tmp_path: Path, storage: dict[str, object], is_mapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_mapped:
        monkeypatch.setattr("dinocell_io.formats.tiff.pages._MAP_FROM_BYTES", 1)
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 60000, (3, 53, 71)).astype(np.uint16)
    stored = np.moveaxis(planes, 0, 2) if storage.get("planarconfig") == "contig" else planes
    options = {"photometric": "minisblack", "metadata": None} | storage
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    image = open_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.read(), planes)
    for _ in range(12):
        top, left = int(rng.integers(0, 52)), int(rng.integers(0, 70))
        bottom, right = int(rng.integers(top + 1, 54)), int(rng.integers(left + 1, 72))
        channels = [int(c) for c in rng.permutation(3)[: rng.integers(1, 4)]]
        part = image.read(np.s_[top:bottom, left:right], channels=channels)
        np.testing.assert_array_equal(part, planes[channels, top:bottom, left:right])
        assert part.dtype == np.uint16
        assert part.dtype.isnative


def test_a_region_outside_the_image_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((10, 20), np.uint8))
    image = open_image(tmp_path / "a.tif")
    for region in (np.s_[0:11, 0:5], np.s_[-1:5, 0:5], np.s_[5:5, 0:5], np.s_[0:8:2, 0:5]):
        with pytest.raises(ValueError, match=r"is not inside 10 x 20 pixels"):
            image.read(region)
    with pytest.raises(ValueError, match="has the channels 0 to 0, got"):
        image.read(channels=[1])
    with pytest.raises(ValueError, match="has the levels 0 to 0, got 1"):
        image.read(level=1)


def write_pyramid(path: Path, full: np.ndarray, **options: object) -> list[np.ndarray]:
    levels = [full, full[:, ::2, ::2], full[:, ::4, ::4]]
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        common = {"tile": (64, 64), "compression": "zlib", "photometric": "minisblack", **options}
        writer.write(full, subifds=2, metadata={"axes": "CYX", "Channel": {"Name": ["DNA", "ER"]}}, **common)
        for level in levels[1:]:
            writer.write(level, subfiletype=1, **common)
    return levels


def test_the_levels_of_a_pyramidal_ome_tiff_are_read(tmp_path: Path) -> None:
    full = np.random.default_rng(1).integers(0, 9, (2, 300, 260)).astype(np.uint16)
    levels = write_pyramid(tmp_path / "a.ome.tif", full)
    image = open_image(tmp_path / "a.ome.tif")
    assert [(level.height, level.width, level.downsample) for level in image.levels] == [
        (300, 260, 1.0),
        (150, 130, 2.0),
        (75, 65, 4.0),
    ]
    assert image.channels == ("DNA", "ER")
    assert image.scenes == ()
    for number, level in enumerate(levels):
        np.testing.assert_array_equal(image.read(level=number), level)
        np.testing.assert_array_equal(image.read(np.s_[10:60, 20:65], level=number), level[:, 10:60, 20:65])


@pytest.mark.parametrize("metadata", [None, {"axes": "YX"}])
def test_smaller_copies_as_pages_are_levels(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    full = np.random.default_rng(2).integers(0, 255, (256, 320)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for step, kind in ((1, 0), (2, 1), (4, 1)):
            writer.write(full[::step, ::step], tile=(64, 64), subfiletype=kind, metadata=metadata)
    image = open_image(tmp_path / "a.tif")
    assert [level.downsample for level in image.levels] == [1.0, 2.0, 4.0]
    np.testing.assert_array_equal(image.read(level=2)[0], full[::4, ::4])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels[0], full)


def test_a_region_of_a_large_file_in_a_store_costs_its_tiles_and_the_header(tmp_path: Path) -> None:
    full = np.random.default_rng(3).integers(0, 65535, (2, 2048, 2048)).astype(np.uint16)
    write_pyramid(tmp_path / "a.ome.tif", full, compression=None)
    content = (tmp_path / "a.ome.tif").read_bytes()
    store = RecordingStore({"plate/a.ome.tif": content})
    image = open_image("plate/a.ome.tif", store=store)
    header_bytes = store.num_bytes
    assert header_bytes < len(content) / 4
    np.testing.assert_array_equal(image.read(np.s_[100:140, 500:570], channels=[1]), full[1:, 100:140, 500:570])
    tiles = 3 * 2 * 64 * 64 * 2  # rows 64 to 191, columns 448 to 575, 2 bytes each
    assert store.num_bytes - header_bytes <= tiles
    store.requests.clear()
    np.testing.assert_array_equal(image.read(level=2), full[:, ::4, ::4])
    assert store.num_bytes <= 2 * 512 * 512 * 2


@pytest.mark.parametrize("suffix", ["tif", "png", "jpg", "npy"])
def test_a_small_file_of_a_store_is_fetched_once(tmp_path: Path, suffix: str) -> None:
    plane = np.random.default_rng(4).integers(0, 255, (32, 40)).astype(np.uint8)
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, plane)
    elif suffix == "tif":
        tifffile.imwrite(path, plane, compression="zlib")
    else:
        PillowImage.fromarray(plane).save(path)
    store = RecordingStore({f"key/a.{suffix}": path.read_bytes()})
    image = read_image(f"key/a.{suffix}", store=store)
    np.testing.assert_array_equal(image.pixels, read_image(path).pixels)
    assert image.uri == f"key/a.{suffix}"
    assert len(store.requests) == 1


def test_failures_of_the_store_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"a\.tif: there is no such object"):
        open_image("a.tif", store=RecordingStore({}))
    with pytest.raises(ValueError, match=r"a\.tif is empty"):
        open_image("a.tif", store=RecordingStore({"a.tif": b""}))

    class Broken(RecordingStore):
        def get(self, key: str) -> bytes:
            raise NotFound(key, "it went away")

    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 4), np.uint8))
    with pytest.raises(NotFound, match="it went away"):
        open_image("a.tif", store=Broken({"a.tif": (tmp_path / "a.tif").read_bytes()}))


def test_several_images_in_one_file_are_scenes(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        for name, value, size in (("left", 1, 0.5), ("right", 2, 0.25)):
            metadata = {
                "axes": "CYX",
                "Name": name,
                "Channel": {"Name": [f"{name} DNA", f"{name} ER"]},
                "PhysicalSizeX": size,
                "PhysicalSizeY": size,
            }
            writer.write(np.full((2, 8, 9 + value), value, np.uint8), metadata=metadata, photometric="minisblack")
    with pytest.raises(ValueError, match=r"holds 2 images: left .*; right .*Choose one with scene="):
        open_image(tmp_path / "a.ome.tif")
    right = open_image(tmp_path / "a.ome.tif", scene="right")
    assert (right.scene, right.scenes, right.shape) == ("right", ("left", "right"), (2, 8, 11))
    assert right.channels == ("right DNA", "right ER")
    assert right.pixel_size_um == 0.25
    assert (right.read() == 2).all()
    assert open_image(tmp_path / "a.ome.tif", scene=0).scene == "left"
    with pytest.raises(ValueError, match=r"has no scene 'middle'; it holds left"):
        open_image(tmp_path / "a.ome.tif", scene="middle")
    with pytest.raises(ValueError, match=r"has no scene 2; it holds"):
        read_image(tmp_path / "a.ome.tif", scene=2)


def test_the_levels_and_the_pixel_size_of_an_aperio_slide_are_read_and_its_label_is_not(tmp_path: Path) -> None:
    """Written after the layout that tifffile's reader documents; no scanner made it."""
    rng = np.random.default_rng(5)
    full = rng.integers(0, 255, (512, 768, 3)).astype(np.uint8)
    stated = "Aperio Image Library v11.2.1 \r\n768x512 [0,0 768x512] (256x256) |AppMag = 20|MPP = 0.4990"
    with tifffile.TiffWriter(tmp_path / "slide.svs") as writer:
        common = {"photometric": "rgb", "metadata": None}
        tiled = common | {"tile": (256, 256), "compression": "zlib"}
        writer.write(full, description=stated, **tiled)
        writer.write(full[::8, ::8], description="Aperio Image Library v11.2.1 \r\nthumbnail", **common)
        writer.write(full[::4, ::4], description="Aperio Image Library v11.2.1 \r\nlevel", **tiled)
        writer.write(
            full[:100, :90], description="Aperio Image Library v11.2.1 \r\nlabel 90x100", **common, subfiletype=1
        )
        writer.write(
            full[:80, :200], description="Aperio Image Library v11.2.1 \r\nmacro 200x80", **common, subfiletype=9
        )
    image = open_image(tmp_path / "slide.svs")
    assert image.is_rgb
    assert image.pixel_size_um == pytest.approx(0.499)
    assert [level.downsample for level in image.levels] == [1.0, 4.0]
    np.testing.assert_array_equal(image.read(np.s_[200:300, 250:600]), np.moveaxis(full[200:300, 250:600], 2, 0))
    np.testing.assert_array_equal(image.read(level=1), np.moveaxis(full[::4, ::4], 2, 0))


def test_an_image_larger_than_memory_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((400, 400), np.uint8), compression="zlib", tile=(64, 64))
    monkeypatch.setattr("dinocell_io.system.memory.total_memory_bytes", lambda: 100_000)
    image = open_image(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif needs .* GB as an array.*read regions"):
        image.read()
    assert image.read(np.s_[0:50, 0:50]).shape == (1, 50, 50)


def test_an_npy_is_a_plane_or_channels(tmp_path: Path) -> None:
    channels = np.random.default_rng(6).normal(size=(3, 20, 30)).astype(">f4")
    np.save(tmp_path / "a.npy", channels)
    image = open_image(tmp_path / "a.npy")
    assert (image.axes, image.shape, image.channels) == ("cyx", (3, 20, 30), ("C0", "C1", "C2"))
    np.testing.assert_array_equal(image.read(np.s_[2:9, 4:6], channels=[2, 0]), channels[[2, 0], 2:9, 4:6])
    assert image.read().dtype == np.float32
    np.save(tmp_path / "a.npy", channels[0])
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy").pixels, channels[:1])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((50, 40, 3)), r"shape \(50, 40, 3\), which does not say.*moveaxis"),
        (np.zeros((2, 3, 4, 5)), r"float64 of shape \(2, 3, 4, 5\)"),
        (np.zeros(7), r"float64 of shape \(7,\)"),
        (np.zeros((0, 7)), r"float64 of shape \(0, 7\)"),
        (np.zeros((4, 5), complex), r"complex128 of shape \(4, 5\)"),
        (np.asfortranarray(np.zeros((4, 5))), "Fortran order"),
        (np.array([[{}]]), "it is pickled"),
    ],
)
def test_an_npy_that_is_no_image_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=rf"a\.npy .*{message}"):
        read_image(tmp_path / "a.npy")


def test_large_npy_files_are_mapped_and_never_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", np.arange(600).reshape(2, 15, 20))
    before = (tmp_path / "a.npy").read_bytes()
    monkeypatch.setattr("dinocell_io.formats.npy._MAP_FROM_BYTES", 1)
    pixels = read_image(tmp_path / "a.npy").pixels
    assert isinstance(pixels, np.memmap)
    pixels[:] = 0
    assert (tmp_path / "a.npy").read_bytes() == before
    part = open_image(tmp_path / "a.npy").read(np.s_[3:5, 2:9], channels=[1])
    np.testing.assert_array_equal(part[0], np.arange(600).reshape(2, 15, 20)[1, 3:5, 2:9])


def test_black_and_white_is_0_and_255_in_every_format(tmp_path: Path) -> None:
    mask = np.eye(9, dtype=bool)
    np.save(tmp_path / "a.npy", mask)
    tifffile.imwrite(tmp_path / "a.tif", mask, photometric="minisblack")
    PillowImage.fromarray(mask).save(tmp_path / "a.png")
    for suffix in ("npy", "tif", "png"):
        pixels = read_image(tmp_path / f"a.{suffix}").pixels
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels[0], mask * np.uint8(255))


def test_a_black_bilevel_image_packs_better_than_its_pixels_as_bytes_could(tmp_path: Path) -> None:
    mask = np.zeros((3000, 4000), bool)
    tifffile.imwrite(tmp_path / "a.tif", mask, compression="zlib", photometric="minisblack", rowsperstrip=3000)
    assert (tmp_path / "a.tif").stat().st_size < 3000
    assert read_image(tmp_path / "a.tif").pixels.max() == 0
