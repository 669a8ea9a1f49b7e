"""TIFF: every storage reads the same, axes are never guessed, damage is never black."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from dinocell_io import open_image, read_image, read_labels


@pytest.fixture
def field() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 60000, (3, 33, 47)).astype(np.uint16)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "packbits"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_every_storage_reads_the_same_pixels(
    tmp_path: Path, field: np.ndarray, compression: str | None, tile: tuple[int, int] | None, byteorder: str
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, field[0], compression=compression, tile=tile, byteorder=byteorder, photometric="minisblack")
    image = read_image(path)
    assert image.pixels.dtype == np.uint16
    assert image.pixels.dtype.isnative
    np.testing.assert_array_equal(image.pixels, field[:1])
    assert image.channels == ("C0",)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("predictor", [False, True])
def test_every_number_type_is_kept(tmp_path: Path, dtype: str, predictor: bool) -> None:
    pixels = (np.random.default_rng(1).standard_normal((20, 30)) * 40).astype(dtype)
    path = tmp_path / "a.tiff"
    tifffile.imwrite(path, pixels, compression="zlib", predictor=predictor, photometric="minisblack")
    image = read_image(path)
    assert image.pixels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(image.pixels[0], pixels)


def test_bigtiff_reads(tmp_path: Path, field: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.btf", field[0], bigtiff=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.btf").pixels[0], field[0])


def test_a_large_uncompressed_file_is_mapped_and_never_changed(
    tmp_path: Path, field: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, field, photometric="minisblack", metadata={"axes": "CYX"})
    before = path.read_bytes()
    assert not isinstance(read_image(path).pixels, np.memmap)
    monkeypatch.setattr("dinocell_io.formats.tiff.pages._MAP_FROM_BYTES", 1)
    pixels = read_image(path).pixels
    owners = [pixels]
    while isinstance(owners[-1].base, np.ndarray):
        owners.append(owners[-1].base)
    assert any(isinstance(owner, np.memmap) for owner in owners)
    np.testing.assert_array_equal(pixels, field)
    pixels[:] = 0
    assert path.read_bytes() == before


def test_plain_pages_are_channels(tmp_path: Path, field: np.ndarray) -> None:
    path = tmp_path / "pages.tif"
    tifffile.imwrite(path, field, photometric="minisblack", metadata=None)
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, field)
    assert image.channels == ("C0", "C1", "C2")
    assert not image.is_rgb


def test_more_than_16_plain_pages_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((16, 5, 6), np.uint8), photometric="minisblack", metadata=None)
    assert read_image(path).pixels.shape == (16, 5, 6)
    tifffile.imwrite(path, np.zeros((17, 5, 6), np.uint8), photometric="minisblack", metadata=None)
    what = r"one of its 17 pages, .* with z= or t=, on the command line --z or --t, or"
    with pytest.raises(ValueError, match=rf"stack\.tif has the axes I=17, Y=5, X=6.*{what}"):
        read_image(path)


def test_pages_of_different_sizes_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as writer:
        for side in (8, 9):
            writer.write(np.zeros((side, side), np.uint8), metadata=None, photometric="minisblack")
    with pytest.raises(ValueError, match=r"mixed\.tif holds 2 images: .*8, 8.*9, 9.*Choose one with scene="):
        read_image(tmp_path / "mixed.tif")


@pytest.mark.parametrize("step", [4, 5])
@pytest.mark.parametrize("first", ["image", "thumbnail"])
def test_a_thumbnail_page_is_not_the_image(tmp_path: Path, field: np.ndarray, step: int, first: str) -> None:
    pages = [(field[0], 0), (field[0, ::step, ::step], 1)]
    with tifffile.TiffWriter(tmp_path / "thumb.tif") as writer:
        for pixels, kind in pages if first == "image" else pages[::-1]:
            writer.write(pixels, metadata=None, photometric="minisblack", subfiletype=kind)
    np.testing.assert_array_equal(read_image(tmp_path / "thumb.tif").pixels[0], field[0])


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rgb_is_one_colour_image(tmp_path: Path, field: np.ndarray, planar: str, dtype: type) -> None:
    planes = field.astype(dtype)
    stored = planes if planar == "separate" else np.moveaxis(planes, 0, 2)
    tifffile.imwrite(tmp_path / "rgb.tif", stored, photometric="rgb", planarconfig=planar)
    image = read_image(tmp_path / "rgb.tif")
    np.testing.assert_array_equal(image.pixels, planes)
    assert image.pixels.flags.c_contiguous
    assert image.channels == ("red", "green", "blue")
    assert image.is_rgb


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_declared_alpha_is_dropped(tmp_path: Path, kind: str) -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (9, 8, 4)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "rgba.tif", pixels, photometric="rgb", extrasamples=[kind])
    image = read_image(tmp_path / "rgba.tif")
    np.testing.assert_array_equal(image.pixels, np.moveaxis(pixels[..., :3], 2, 0))
    tifffile.imwrite(
        tmp_path / "grey_alpha.tif",
        pixels[..., :2],
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=[kind],
    )
    image = read_image(tmp_path / "grey_alpha.tif")
    np.testing.assert_array_equal(image.pixels, pixels[None, ..., 0])


def test_samples_that_are_not_colour_are_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (9, 8, 5)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "five.tif", pixels, photometric="minisblack", planarconfig="contig")
    image = read_image(tmp_path / "five.tif")
    np.testing.assert_array_equal(image.pixels, np.moveaxis(pixels, 2, 0))
    assert not image.is_rgb


def test_jpeg_in_tiff_is_rgb(tmp_path: Path) -> None:
    pixels = np.full((32, 32, 3), (200, 40, 90), np.uint8)
    tifffile.imwrite(tmp_path / "lossy.tif", pixels, photometric="rgb", compression="jpeg")
    image = read_image(tmp_path / "lossy.tif")
    assert image.is_rgb
    assert np.abs(image.pixels[:, 5, 5].astype(int) - (200, 40, 90)).max() <= 6


def test_cmyk_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "ink.tif", np.zeros((8, 8, 4), np.uint8), photometric="separated")
    with pytest.raises(ValueError, match=r"ink\.tif has the colour space SEPARATED"):
        read_image(tmp_path / "ink.tif")


def test_white_is_zero_is_turned(tmp_path: Path) -> None:
    for dtype, top in ((np.uint8, 255), (np.uint16, 65535)):
        pixels = np.array([[0, 5], [7, top]], dtype)
        tifffile.imwrite(tmp_path / "white.tif", pixels, photometric="miniswhite")
        image = read_image(tmp_path / "white.tif")
        assert image.pixels.dtype == dtype
        np.testing.assert_array_equal(image.pixels[0], top - pixels)
    tifffile.imwrite(tmp_path / "white.tif", np.zeros((4, 4), np.float32), photometric="miniswhite")
    with pytest.raises(ValueError, match="white as zero, which has no defined black"):
        read_image(tmp_path / "white.tif")


def test_bilevel_becomes_0_and_255(tmp_path: Path) -> None:
    mask = np.eye(9, dtype=bool)
    tifffile.imwrite(tmp_path / "mask.tif", mask, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "mask.tif").pixels[0], mask * np.uint8(255))
    tifffile.imwrite(tmp_path / "mask.tif", mask, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "mask.tif").pixels[0], ~mask * np.uint8(255))


@pytest.mark.parametrize("compression", ["tiff_ccitt", "group3", "group4", "packbits"])
def test_bilevel_pages_of_every_compression_read_the_same(tmp_path: Path, compression: str) -> None:
    mask = np.random.default_rng(0).random((70, 90)) < 0.4
    PillowImage.fromarray(mask).save(tmp_path / "mask.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "mask.tif").pixels[0], mask * np.uint8(255))
    part = open_image(tmp_path / "mask.tif").read(np.s_[5:66, 11:87])
    np.testing.assert_array_equal(part[0], mask[5:66, 11:87] * np.uint8(255))
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.tif"), mask.astype(int))


def test_palette_is_a_colour_image_and_a_display_table_is_not(tmp_path: Path) -> None:
    indices = np.array([[0, 1], [2, 255]], np.uint8)
    green = np.zeros((3, 256), np.uint16)
    green[1] = np.arange(256) * 257
    tifffile.imwrite(tmp_path / "palette.tif", indices, photometric="palette", colormap=green, metadata=None)
    image = read_image(tmp_path / "palette.tif")
    assert image.is_rgb
    np.testing.assert_array_equal(image.pixels[1], indices)
    assert image.pixels[[0, 2]].max() == 0
    tifffile.imwrite(tmp_path / "lut.tif", indices, photometric="palette", colormap=green, imagej=True)
    image = read_image(tmp_path / "lut.tif")
    np.testing.assert_array_equal(image.pixels, indices[None])


def test_ome_names_axes_and_pixel_size_are_read(tmp_path: Path, field: np.ndarray) -> None:
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": ["DNA", "ER", "AGP"]},
        "PhysicalSizeX": 325.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.325,
        "PhysicalSizeYUnit": "µm",
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", field, metadata=metadata, photometric="minisblack")
    image = read_image(tmp_path / "a.ome.tif")
    assert image.channels == ("DNA", "ER", "AGP")
    assert image.pixel_size_um == pytest.approx(0.325)
    np.testing.assert_array_equal(image.pixels, field)


def test_ome_axes_in_another_order_with_single_planes_read(tmp_path: Path, field: np.ndarray) -> None:
    stored = field[:, None, None]  # C Z T Y X
    tifffile.imwrite(tmp_path / "a.ome.tif", stored, metadata={"axes": "CZTYX"}, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "a.ome.tif").pixels, field)


def test_ome_rgb_is_colour(tmp_path: Path) -> None:
    pixels = np.random.default_rng(4).integers(0, 255, (9, 8, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "rgb.ome.tif", pixels, metadata={"axes": "YXS"}, photometric="rgb")
    image = read_image(tmp_path / "rgb.ome.tif")
    assert image.is_rgb
    np.testing.assert_array_equal(image.pixels, np.moveaxis(pixels, 2, 0))


@pytest.mark.parametrize("num_pages", [2, 4, 20])
def test_of_several_rgb_pages_one_is_chosen(tmp_path: Path, num_pages: int) -> None:
    pixels = np.random.default_rng(5).integers(0, 255, (num_pages, 9, 8, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", metadata=None)
    with pytest.raises(ValueError, match=rf"choose one of its {num_pages} pages, which the file does not name"):
        read_image(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif", z=num_pages - 1)
    assert image.is_rgb
    np.testing.assert_array_equal(image.pixels, np.moveaxis(pixels[-1], 2, 0))


def test_several_rgb_channels_are_refused(tmp_path: Path) -> None:
    pixels = np.zeros((2, 9, 8, 3), np.uint8)
    tifffile.imwrite(tmp_path / "two.ome.tif", pixels, photometric="rgb", metadata={"axes": "CYXS"})
    with pytest.raises(ValueError, match=r"two\.ome\.tif holds 2 RGB channels, expected one"):
        read_image(tmp_path / "two.ome.tif")


@pytest.mark.parametrize("axes", ["ZYX", "TYX", "TCYX", "ZCYX"])
@pytest.mark.parametrize("kind", ["ome", "imagej", "shaped"])
def test_z_and_t_are_refused_with_their_sizes(tmp_path: Path, axes: str, kind: str) -> None:
    shape = {"Z": 4, "T": 5, "C": 2, "Y": 6, "X": 7}
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    tifffile.imwrite(
        path,
        np.zeros([shape[axis] for axis in axes], np.uint8),
        imagej=kind == "imagej",
        metadata={"axes": axes},
        photometric="minisblack",
    )
    expected = f"{axes[0]}={shape[axes[0]]}.*Y=6, X=7.*choose {axes[0].lower()}= \\(0 to {shape[axes[0]] - 1}\\)"
    with pytest.raises(ValueError, match=expected):
        read_image(path)


def test_imagej_channels_labels_and_unit_are_read(tmp_path: Path, field: np.ndarray) -> None:
    tifffile.imwrite(
        tmp_path / "ij.tif",
        field,
        imagej=True,
        resolution=(1 / 0.65, 1 / 0.65),
        metadata={"axes": "CYX", "unit": "um", "Labels": ["DNA", "Actin", "Tubulin"]},
    )
    image = read_image(tmp_path / "ij.tif")
    assert image.channels == ("DNA", "Actin", "Tubulin")
    assert image.pixel_size_um == pytest.approx(0.65)
    np.testing.assert_array_equal(image.pixels, field)


def test_too_few_channel_names_are_no_names(tmp_path: Path, field: np.ndarray) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": ["DNA", "", "AGP"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", field, metadata=metadata, photometric="minisblack")
    assert read_image(tmp_path / "a.ome.tif").channels == ("C0", "C1", "C2")


@pytest.mark.parametrize(
    ("um", "unit", "expected"),
    [(0.5, "CENTIMETER", 0.5), (0.325, "INCH", 0.325), (6.45, "CENTIMETER", None), (25400 / 72, "INCH", None)],
)
def test_resolution_tags_count_only_where_a_microscope_gives_them(
    tmp_path: Path, um: float, unit: str, expected: float | None
) -> None:
    per_unit = (10000 if unit == "CENTIMETER" else 25400) / um
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((4, 4), np.uint8), resolution=(per_unit, per_unit), resolutionunit=unit
    )
    size = read_image(tmp_path / "a.tif").pixel_size_um
    assert (
        size is expected if expected is None else size == pytest.approx(expected, rel=1e-5)
    )  # tifffile before 2026.2 writes it 3e-6 off


def test_pixels_that_are_not_square_have_no_size(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((4, 4), np.uint8), resolution=(20000, 10000), resolutionunit="CENTIMETER"
    )
    assert read_image(tmp_path / "a.tif").pixel_size_um is None


def test_complex_pixels_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "waves.tif", np.zeros((4, 4), np.complex64))
    with pytest.raises(ValueError, match=r"waves\.tif holds complex64 pixels"):
        read_image(tmp_path / "waves.tif")


def storages() -> list[dict[str, object]]:
    return [
        {"metadata": None},
        {"metadata": None, "compression": "zlib"},
        {"metadata": None, "compression": "lzw"},
        {"metadata": None, "compression": "zlib", "tile": (16, 16)},
        {"metadata": {"axes": "CYX"}},
        {"imagej": True, "metadata": {"axes": "CYX"}},
        {"ome": True, "metadata": {"axes": "CYX"}},
    ]


@pytest.mark.parametrize("storage", storages(), ids=lambda storage: "-".join(map(str, storage.values())))
def test_a_tiff_cut_anywhere_is_refused_or_whole(tmp_path: Path, storage: dict[str, object]) -> None:
    pixels = np.random.default_rng(5).integers(1, 60000, (3, 20, 24)).astype(np.uint16)
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, pixels, photometric=None if "imagej" in storage else "minisblack", **storage)
    content = path.read_bytes()
    num_refused = num_whole = 0
    for length in range(1, len(content), 41):
        path.write_bytes(content[:length])
        try:
            image = read_image(path)
        except ValueError as error:
            num_refused += "cut.tif" in str(error)
        else:
            np.testing.assert_array_equal(image.pixels, pixels)
            num_whole += 1
    # each is refused by name or whole; what may be missing is padding behind the last page
    assert num_refused + num_whole == len(range(1, len(content), 41))
    assert num_whole <= 1


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
def test_pixel_data_that_leave_the_file_are_refused_before_they_are_decoded(
    tmp_path: Path, compression: str | None
) -> None:
    path = tmp_path / "short.tif"
    pixels = np.random.default_rng(6).integers(0, 255, (40, 40)).astype(np.uint8)
    tifffile.imwrite(path, pixels, compression=compression, metadata=None)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match=r"short\.tif cannot be read as TIFF \(pixel data reach to byte \d+ of \d+\)"):
        read_image(path)


def test_a_page_list_that_leaves_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.tif"
    tifffile.imwrite(path, np.ones((2, 8, 8), np.uint8), photometric="minisblack", metadata=None)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        first, second = tif.pages[0].offset, tif.pages[1].offset
        num_tags = len(tif.pages[0].tags)
    next_page = first + 2 + 12 * num_tags
    assert struct.unpack_from("<I", content, next_page) == (second,)
    struct.pack_into("<I", content, next_page, len(content) + 999)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"list\.tif cannot be read as TIFF.*offset"):
        read_image(path)


def test_a_page_without_pixel_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    tifffile.imwrite(path, np.ones((8, 8), np.uint8), metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[0].tags["StripByteCounts"].overwrite(0)
        tif.pages[0].tags["StripOffsets"].overwrite(0)
    with pytest.raises(ValueError, match=r"sparse\.tif cannot be read as TIFF"):
        read_image(path)


@pytest.mark.parametrize("compression", [None, "lzw", "jpeg"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiles_that_a_page_lists_as_not_stored_are_0(tmp_path: Path, compression: str | None, byteorder: str) -> None:
    dtype = np.uint8 if compression == "jpeg" else np.uint16
    tiles = [np.full((16, 16), value, dtype) if value else None for value in (40, 0, 0, 80, 0, 0)]
    path = tmp_path / "gaps.tif"
    tifffile.imwrite(
        path, iter(tiles), shape=(30, 40), dtype=dtype, tile=(16, 16), compression=compression, metadata=None,
        byteorder=byteorder,
    )  # fmt: skip
    expected = np.zeros((30, 40), dtype)
    expected[:16, :16], expected[16:, :16] = 40, 80
    image = open_image(path)
    np.testing.assert_array_equal(image.read()[0], expected)
    for rows, columns in (
        (slice(0, 16), slice(16, 32)),
        (slice(10, 20), slice(10, 38)),
        (slice(29, 30), slice(39, 40)),
    ):
        np.testing.assert_array_equal(image.read((rows, columns))[0], expected[rows, columns])


@pytest.mark.parametrize(("no_data", "filled"), [("255", 255), ("-9999", 0), ("nan", 0), ("1e9", 0)])
def test_what_a_page_calls_no_data_fills_the_tiles_that_are_not_stored(
    tmp_path: Path, no_data: str, filled: int
) -> None:
    path = tmp_path / "gaps.tif"
    tiles = iter([np.full((16, 16), 5, np.uint8), None])
    tag = (42113, "s", 0, no_data, True)  # GDAL_NODATA
    tifffile.imwrite(path, tiles, shape=(16, 32), dtype=np.uint8, tile=(16, 16), metadata=None, extratags=[tag])
    assert read_image(path).pixels[0, 0, [0, 15, 16, 31]].tolist() == [5, 5, filled, filled]


def test_colour_tiles_and_planar_tiles_that_are_not_stored_are_0(tmp_path: Path) -> None:
    for planar in ("contig", "separate"):
        path = tmp_path / f"{planar}.tif"
        shape = (16, 16, 3) if planar == "contig" else (16, 16)
        stored = [np.full(shape, 9, np.uint8), None] * (1 if planar == "contig" else 3)
        tifffile.imwrite(
            path, iter(stored), shape=(16, 32, 3) if planar == "contig" else (3, 16, 32), dtype=np.uint8, tile=(16, 16),
            photometric="rgb", planarconfig=planar, metadata=None,
        )  # fmt: skip
        pixels = read_image(path).pixels
        assert (pixels[:, :, :16] == 9).all()
        assert (pixels[:, :, 16:] == 0).all()


@pytest.mark.parametrize(("layout", "not_stored"), [("tiles", (0, 1, 2, 3)), ("strips", (1,))])
def test_a_page_without_any_tile_and_strips_that_are_not_stored_are_refused(
    tmp_path: Path, layout: str, not_stored: tuple[int, ...]
) -> None:
    path = tmp_path / "gaps.tif"
    options: dict[str, Any] = {"tile": (16, 16)} if layout == "tiles" else {"rowsperstrip": 8}
    tifffile.imwrite(path, np.ones((32, 32), np.uint8), metadata=None, **options)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for name in ("ByteCounts", "Offsets"):
            tag = tif.pages[0].tags[f"{layout.title()[:-1]}{name}"]
            tag.overwrite(tuple(0 if index in not_stored else value for index, value in enumerate(tag.value)))
    with pytest.raises(ValueError, match=r"gaps\.tif cannot be read as TIFF \(page 0 lacks pixel data\)"):
        read_image(path)


def test_broken_ome_xml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.ones((2, 8, 8), np.uint8), metadata={"axes": "CYX"}, photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        xml = tif.ome_metadata
    tifffile.tiffcomment(path, xml.replace("<Pixels", "<Pix"))
    with pytest.raises(ValueError, match=r"a\.ome\.tif"):
        read_image(path)


def test_a_vendors_broken_private_tag_does_no_harm_but_a_lost_description_does(tmp_path: Path) -> None:
    for code, is_fatal in ((65000, False), (270, True)):
        path = tmp_path / f"tag{code}.tif"
        if code == 270:
            tifffile.imwrite(path, np.ones((8, 8), np.uint8), description="d" * 50, metadata=None)
        else:
            tag = (code, "s", 0, "v" * 50, True)
            tifffile.imwrite(path, np.ones((8, 8), np.uint8), extratags=[tag], metadata=None)
        with tifffile.TiffFile(path) as tif:
            entry = tif.pages[0].tags[code].offset
        content = bytearray(path.read_bytes())
        struct.pack_into("<I", content, entry + 8, 1 << 30)
        path.write_bytes(content)
        if is_fatal:
            with pytest.raises(ValueError, match=r"tag270\.tif cannot be read as TIFF"):
                read_image(path)
        else:
            assert read_image(path).pixels.sum() == 64


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    "text", ['{"shape": [3, 16, 18]}', '{"shape": [40, 40]}', '{"shape": [16, 18], "axes": "TCYX"}', '{"shape": "x"}']
)
def test_a_shape_text_that_does_not_fit_the_pages_does_no_harm_and_is_noted(
    tmp_path: Path, text: str, compression: str | None
) -> None:
    pixels = np.arange(2 * 16 * 18, dtype=np.uint16).reshape(2, 16, 18)
    for planes in (pixels, pixels[:1]):
        path = tmp_path / "cropped.tif"
        tifffile.imwrite(path, planes, photometric=1, description=text, metadata=None, compression=compression)
        image = read_image(path)
        np.testing.assert_array_equal(image.pixels, planes)
        assert image.notes == (
            "its shape text does not fit its pages, which are read in the order in which they are stored",
        )


def test_a_plane_that_is_a_channel_is_chosen_as_one(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((10, 5, 6), np.uint8), photometric=1, metadata=None)
    hint = (
        r"has no z axis, got z=3; C=10, .* channels \(C0, C1, C2, C3 and 6 more\): .* on the command line --channel 3"
    )
    with pytest.raises(ValueError, match=hint):
        read_image(tmp_path / "a.tif", z=3)


def test_an_array_with_its_channels_last_is_told_to_have_them_in_front(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((60, 80, 2), np.uint8))
    with pytest.raises(ValueError, match=r"pages of 2 columns may be an array \[y x channel\] .* channels in front"):
        read_image(tmp_path / "a.tif")
