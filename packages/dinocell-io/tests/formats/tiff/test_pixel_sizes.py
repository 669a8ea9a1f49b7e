"""Pixel sizes and channel names in the dialects of vendors."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from dinocell_io import read_image
from dinocell_io.images.length_units import positive, um_per_unit


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("µm", 1.0), ("μm", 1.0), ("um", 1.0), ("nm", 1e-3), ("mm", 1e3), ("Mm", 1e12), ("dm", 1e5), ("pm", 1e-6)),
        *(("m", 1e6), ("km", 1e9), ("Å", 1e-4), ("in", 25400.0), ("ft", 304800.0), ("thou", 25.4), ("pt", 25400 / 72)),
        *(("micron", 1.0), ("Microns", 1.0), ("micrometer", 1.0), ("Micrometre", 1.0), ("micrometers", 1.0)),
        *(("meter", 1e6), ("metres", 1e6), ("nanometers", 1e-3), ("millimetre", 1e3), ("centimeter", 1e4)),
        *(("inch", 25400.0), ("\\u00B5m", 1.0), (" um ", 1.0), ("UM", 1.0), ("NM", 1e-3)),
        *(("pixel", None), ("pixels", None), ("reference frame", None), ("", None), ("sec", None), ("furlong", None)),
    ],
)
def test_units_of_length(name: str, expected: float | None) -> None:
    assert um_per_unit(name) == (None if expected is None else pytest.approx(expected))


def test_a_length_is_a_positive_number_or_unknown() -> None:
    assert [positive(text, 1.0) for text in ("0.5", "0,4990", " 1e-1 ", 2)] == [0.5, 0.499, 0.1, 2.0]
    assert [positive(text, 1.0) for text in ("", "abc", "-1", "0", "nan", "inf", None, (1, 2))] == [None] * 8


@pytest.mark.parametrize(
    ("unit", "size"), [("micrometre", 0.325), ("meter", 0.325e-6), ("micron", 0.325), ("nm", 325.0)]
)
def test_imagejs_units(tmp_path: Path, unit: str, size: float) -> None:
    pixels = np.zeros((5, 6), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, resolution=(1 / size, 1 / size), metadata={"unit": unit})
    assert read_image(tmp_path / "a.tif").pixel_size_um == pytest.approx(0.325, rel=1e-3)


@pytest.mark.parametrize(
    ("unit", "size", "expected"), [("dm", 3.25e-6, 0.325), ("Mm", 0.325, 0.325e12), ("mm", "0,000325", 0.325)]
)
def test_omes_units(tmp_path: Path, unit: str, size: float | str, expected: float) -> None:
    text = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="6" SizeY="5" SizeZ="1" SizeC="1" SizeT="1" '
        f'PhysicalSizeX="{size}" PhysicalSizeXUnit="{unit}" PhysicalSizeY="{size}" PhysicalSizeYUnit="{unit}">'
        "<TiffData/></Pixels></Image></OME>"
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((5, 6), np.uint8), description=text, metadata=None)
    assert read_image(tmp_path / "a.ome.tif").pixel_size_um == pytest.approx(expected)


@pytest.mark.parametrize("stated", ["0.4990", "0,4990"])
def test_aperios_size_may_have_a_decimal_comma(tmp_path: Path, stated: str) -> None:
    text = f"Aperio Image Library v10.0.50\r\n32x32 (32x32) J2K/YUV16 Q=30|AppMag = 20|MPP = {stated}"
    tifffile.imwrite(
        tmp_path / "a.svs", np.zeros((32, 32, 3), np.uint8), description=text, tile=(16, 16), metadata=None
    )
    assert read_image(tmp_path / "a.svs").pixel_size_um == pytest.approx(0.499)


@pytest.mark.parametrize(
    ("state", "unit", "expected"),
    [("on", "um", 0.325), ("on", "microns", 0.325), ("off", "um", None), ("on", "pixel", None)],
)
def test_metaxpress_calibration(tmp_path: Path, state: str, unit: str, expected: float | None) -> None:
    properties = {"spatial-calibration-state": state, "spatial-calibration-units": unit}
    properties |= {"spatial-calibration-x": "0.325", "spatial-calibration-y": "0.325"}
    lines = "".join(f'<prop id="{key}" type="string" value="{value}"/>' for key, value in properties.items())
    text = f"<MetaData><PlaneInfo>{lines}</PlaneInfo></MetaData>"
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((5, 6), np.uint16), description=text, software="MetaSeries", metadata=None
    )
    assert read_image(tmp_path / "a.tif").pixel_size_um == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["DAPI", "GFP"], ("DAPI", "GFP")),
        (["c:1/2 z:3/9 - exp07.nd2 (series 1)", "c:2/2 z:3/9 - exp07.nd2 (series 1)"], ("C0", "C1")),
        (["field 3.tif", "field 4.tif"], ("C0", "C1")),
        (["exp07", "exp07"], ("C0", "C1")),
        (["c:1/2 z:3/9 - exp07"], ("C0",)),
        (["DAPI"], ("C0",)),
    ],
)
def test_slice_labels_that_are_no_channel_names(tmp_path: Path, labels: list[str], expected: tuple[str, ...]) -> None:
    pixels = np.zeros((len(labels), 5, 6), np.uint16)
    metadata = {"Labels": labels, "axes": "CYX"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata=metadata)
    assert read_image(tmp_path / "a.tif").channels == expected


def test_perkin_elmers_channel_names(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "slide.qptiff") as writer:
        for name in ("DAPI", "Opal 520"):
            text = (
                "<?xml version='1.0' encoding='utf-8'?><PerkinElmer-QPI-ImageDescription>"
                f"<ImageType>FullResolution</ImageType><Name>{name}</Name></PerkinElmer-QPI-ImageDescription>"
            )
            writer.write(
                np.zeros((16, 16), np.uint16), description=text, software="PerkinElmer-QPI", metadata=None,
                resolution=(20000, 20000), resolutionunit=3, contiguous=False,
            )  # fmt: skip
    image = read_image(tmp_path / "slide.qptiff")
    assert image.channels == ("DAPI", "Opal 520")
    assert image.pixel_size_um == pytest.approx(0.5)
