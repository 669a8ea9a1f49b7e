"""Images that lie in several files: every file of a set gives its own planes, and no other file's under its name."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dinocell_io import open_image, read_image
from dinocell_io.folders.image_files import image_files

HEAD = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'


def uuid(name: str) -> str:
    return f"urn:uuid:{name}"


def described(name: str, files: Sequence[str], axis: str = "C", planes: str = 'PlaneCount="1"') -> str:
    """One image with a plane in each of the files, along an axis."""
    sizes = " ".join(f'Size{other}="{len(files) if other == axis else 1}"' for other in "ZCT")
    count = len(files) if axis == "C" else 1
    channels = "".join(f'<Channel ID="Channel:{name}:{c}" Name="stain {c}"/>' for c in range(count))
    references = "".join(
        f'<TiffData First{axis}="{number}" IFD="0" {planes}><UUID FileName="{file}">{uuid(file)}</UUID></TiffData>'
        for number, file in enumerate(files)
    )
    return (
        f'<Image ID="Image:{name}" Name="{name}"><Pixels ID="Pixels:{name}" DimensionOrder="XYCZT" Type="uint16" '
        f'SizeX="8" SizeY="6" {sizes}>{channels}{references}</Pixels></Image>'
    )


def write(path: Path, value: int, images: str, own: str | None) -> None:
    identity = "" if own is None else f' UUID="{uuid(own)}"'
    text = f"{HEAD}{identity}>{images}</OME>"
    tifffile.imwrite(path, np.full((6, 8), value, np.uint16), description=text, metadata=None, photometric=1)


WELLS = ("A1", "A2", "A3")


def write_plate(folder: Path, *, has_uuids: bool = True) -> list[Path]:
    """Each well in a file of its own, with the values 100, 200 and 300."""
    images = "".join(described(well, [f"{well}.ome.tif"]) for well in WELLS)
    paths = [folder / f"{well}.ome.tif" for well in WELLS]
    for number, path in enumerate(paths, start=1):
        write(path, 100 * number, images, path.name if has_uuids else None)
    return paths


def description_of(path: Path) -> str:
    with tifffile.TiffFile(path) as tif:
        return str(tif.ome_metadata)


def value_of(path: Path, scene: str | int | None = None) -> int:
    pixels = read_image(path, scene=scene).pixels
    assert pixels.min() == pixels.max()
    return int(pixels.max())


@pytest.mark.parametrize("has_uuids", [True, False])
def test_each_file_gives_its_own_well_and_any_file_gives_every_scene(tmp_path: Path, has_uuids: bool) -> None:
    paths = write_plate(tmp_path, has_uuids=has_uuids)
    for path, well, value in zip(paths, WELLS, (100, 200, 300), strict=True):
        image = open_image(path)
        assert (image.scene, image.scenes, image.files) == (well, WELLS, ())
        assert value_of(path) == value
        for number, scene in enumerate(WELLS):
            assert value_of(path, scene) == value_of(path, number) == 100 * (number + 1)
            expected = () if scene == well else (str(paths[number]),)
            assert open_image(path, scene=scene).files == expected


def test_mapped_and_compressed_planes_of_another_file_are_read_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_plate(tmp_path)
    monkeypatch.setattr("dinocell_io.formats.tiff.pages._MAP_FROM_BYTES", 1)
    assert value_of(paths[0], "A3") == 300
    text = description_of(paths[2])
    tifffile.imwrite(
        paths[2], np.full((6, 8), 9, np.uint16), description=text, metadata=None, compression="zlib", photometric=1
    )
    assert value_of(paths[0], "A3") == 9


def test_a_scene_whose_file_is_missing_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    paths = write_plate(tmp_path)
    paths[1].unlink()
    assert [value_of(paths[0], scene) for scene in (None, "A1", "A3", 2)] == [100, 100, 300, 300]
    problem = r"A1\.ome\.tif: no plane of the image A2 is there; .* in A2\.ome\.tif, which is not"
    with pytest.raises(ValueError, match=problem):
        open_image(paths[0], scene="A2")


def test_a_file_of_another_acquisition_under_the_same_name_is_missing(tmp_path: Path) -> None:
    paths = write_plate(tmp_path)
    write(paths[1], 999, described("other", ["A2.ome.tif"]).replace(uuid("A2.ome.tif"), uuid("x")), "x")
    with pytest.raises(ValueError, match=r"no plane of the image A2 is there"):
        open_image(paths[0], scene="A2")
    assert value_of(paths[1]) == 999


def test_files_that_were_swapped_are_known_by_their_uuids(tmp_path: Path) -> None:
    paths = write_plate(tmp_path)
    paths[0].rename(tmp_path / "x")
    paths[1].rename(paths[0])
    (tmp_path / "x").rename(paths[1])
    assert [open_image(path).scene for path in paths[:2]] == ["A2", "A1"]
    assert [value_of(path) for path in paths[:2]] == [200, 100]
    with pytest.raises(ValueError, match=r"no plane of the image A1 is there"):
        open_image(paths[0], scene="A1")


def test_files_that_hold_copies_of_one_text_are_known_by_their_names(tmp_path: Path) -> None:
    images = "".join(described(well, [f"{well}.ome.tif"]) for well in WELLS)
    for number, well in enumerate(WELLS, start=1):
        write(tmp_path / f"{well}.ome.tif", number, images, "A1.ome.tif")
    assert [value_of(tmp_path / f"{well}.ome.tif") for well in WELLS] == [1, 2, 3]
    assert value_of(tmp_path / "A3.ome.tif", "A2") == 2


def test_a_file_renamed_out_of_its_set_is_known_by_its_uuid_or_refused(tmp_path: Path) -> None:
    (with_uuid := tmp_path / "1").mkdir()
    renamed = write_plate(with_uuid)[1].rename(with_uuid / "best.ome.tif")
    assert value_of(renamed) == 200
    (without := tmp_path / "2").mkdir()
    renamed = write_plate(without, has_uuids=False)[1].rename(without / "best.ome.tif")
    with pytest.raises(ValueError, match=r"best\.ome\.tif is one file of a set of 3 files but has none of their names"):
        open_image(renamed)
    (taken := tmp_path / "3").mkdir()
    write_plate(taken)
    (taken / "A1.ome.tif").unlink()
    (taken / "A2.ome.tif").rename(taken / "A1.ome.tif")
    with pytest.raises(ValueError, match=r"says that it is A2\.ome\.tif of its set, but has the name of another file"):
        open_image(taken / "A1.ome.tif")


@pytest.mark.parametrize("has_uuids", [True, False])
@pytest.mark.parametrize("another_there", [True, False])
def test_a_renamed_file_keeps_its_axes_and_its_own_pixels(tmp_path: Path, has_uuids: bool, another_there: bool) -> None:
    planes = "".join(
        f'<TiffData FirstT="{t}" IFD="{t}" PlaneCount="1"><UUID FileName="run.ome.tif">{uuid("run")}</UUID></TiffData>'
        for t in range(3)
    )
    text = (
        HEAD
        + (f' UUID="{uuid("run")}">' if has_uuids else ">")
        + (
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="8" SizeY="6" '
            f'SizeZ="1" SizeC="1" SizeT="3"><Channel ID="Channel:0:0" Name="DAPI"/>{planes}</Pixels></Image></OME>'
        )
    )
    for name, first in (("best run.ome.tif", 1), *((("run.ome.tif", 50),) if another_there else ())):
        with tifffile.TiffWriter(tmp_path / name, ome=False) as writer:
            for t in range(3):
                description = text if t == 0 else None
                writer.write(np.full((6, 8), first + t, np.uint16), description=description, metadata=None)
    image = open_image(tmp_path / "best run.ome.tif")
    assert (image.axes, image.shape, image.channels, image.files) == ("tcyx", (3, 1, 6, 8), ("DAPI",), ())
    assert [int(image.read(t=t).max()) for t in range(3)] == [1, 2, 3]


def test_an_image_of_several_files_is_the_same_from_each_of_them(tmp_path: Path) -> None:
    names = ["z0.ome.tif", "z1.ome.tif"]
    for number, name in enumerate(names):
        write(tmp_path / name, number + 1, described("stack", names, axis="Z"), name)
    for name in names:
        image = open_image(tmp_path / name)
        assert (image.axes, image.scenes) == ("zcyx", ())
        assert [int(image.read(z=z).max()) for z in (0, 1)] == [1, 2]
        assert image_files(tmp_path / name) == (None, tuple(str(tmp_path / each) for each in names))
    write(tmp_path / "alone.ome.tif", 5, described("alone", ["alone.ome.tif"]), "alone.ome.tif")
    assert image_files(tmp_path / "alone.ome.tif") == (None, (str(tmp_path / "alone.ome.tif"),))
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((6, 8), np.uint8))
    assert image_files(tmp_path / "plain.tif") == (None, ())
    (tmp_path / names[1]).unlink()
    image = open_image(tmp_path / names[0])
    assert int(image.read(z=0).max()) == 1
    problem = r"z0\.ome\.tif lacks the plane Z=1: 1 of the 2 planes .* are in z1\.ome\.tif, which is not beside it"
    with pytest.raises(ValueError, match=problem):
        image.read(z=1)


def test_planes_of_another_size_or_type_in_another_file_of_the_set_are_refused(tmp_path: Path) -> None:
    names = ["z0.ome.tif", "z1.ome.tif"]
    for number, name in enumerate(names):
        write(tmp_path / name, number + 1, described("stack", names, axis="Z"), name)
    text = description_of(tmp_path / names[1])
    for pixels in (np.ones((5, 8), np.uint16), np.ones((6, 8), np.uint8)):
        tifffile.imwrite(tmp_path / names[1], pixels, description=text, metadata=None, photometric=1)
        with pytest.raises(ValueError, match=r"z0\.ome\.tif describes planes of uint16 \(6, 8\), but one of them is"):
            open_image(tmp_path / names[0]).read(z=1)


def test_a_name_with_folders_is_looked_for_beside_the_file(tmp_path: Path) -> None:
    (folder := tmp_path / "set").mkdir()
    write(tmp_path / "b.ome.tif", 9, described("b", ["b.ome.tif"]), "b.ome.tif")
    images = described("a", ["a.ome.tif"]) + described("b", ["../b.ome.tif"])
    write(folder / "a.ome.tif", 1, images, "a.ome.tif")
    with pytest.raises(ValueError, match=r"no plane of the image b is there; .* in b\.ome\.tif"):
        open_image(folder / "a.ome.tif", scene="b")


def write_with_companion(folder: Path, metadata_file: str) -> None:
    """Two files of one channel each, that leave their axes to another file."""
    for channel in (0, 1):
        reference = f'><BinaryOnly MetadataFile="{metadata_file}" UUID="{uuid("c")}"/>'
        text = f"{HEAD}{reference}</OME>"
        pixels = np.full((6, 8), channel + 1, np.uint16)
        tifffile.imwrite(folder / f"c{channel}.ome.tif", pixels, description=text, metadata=None, photometric=1)


def test_any_file_of_a_set_with_a_companion_opens_the_whole_image(tmp_path: Path) -> None:
    write_with_companion(tmp_path, "D:\\export\\set.companion.ome")  # where it was made
    names = ["c0.ome.tif", "c1.ome.tif"]
    (tmp_path / "set.companion.ome").write_text(f"{HEAD}>{described('set', names)}</OME>")
    for name in names:
        image = read_image(tmp_path / name)
        assert image.channels == ("stain 0", "stain 1")
        assert image.pixels.max(axis=(1, 2)).tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"set\.companion\.ome describes a set .* open one of these files"):
        read_image(tmp_path / "set.companion.ome")
    (tmp_path / "c1.ome.tif").unlink()
    assert open_image(tmp_path / "c0.ome.tif").read(channels=[0]).max() == 1
    with pytest.raises(ValueError, match=r"c0\.ome\.tif lacks the plane C=1"):
        read_image(tmp_path / "c0.ome.tif")


def test_each_file_of_a_set_with_a_companion_gives_its_own_image(tmp_path: Path) -> None:
    write_with_companion(tmp_path, "set.companion.ome")
    images = described("left", ["c0.ome.tif"]) + described("right", ["c1.ome.tif"])
    (tmp_path / "set.companion.ome").write_text(f"{HEAD}>{images}</OME>")
    assert [value_of(tmp_path / f"c{number}.ome.tif") for number in (0, 1)] == [1, 2]


def test_the_description_may_be_in_another_tiff_of_the_set(tmp_path: Path) -> None:
    write_with_companion(tmp_path, "first.ome.tif")
    images = described("first", ["first.ome.tif"]) + described("right", ["c1.ome.tif"])
    write(tmp_path / "first.ome.tif", 7, images, "first.ome.tif")
    assert [value_of(tmp_path / name) for name in ("first.ome.tif", "c1.ome.tif")] == [7, 2]


@pytest.mark.parametrize("metadata_file", ["set.companion.ome", "first.ome.tif", ""])
def test_a_file_without_its_companion_says_what_is_missing(tmp_path: Path, metadata_file: str) -> None:
    write_with_companion(tmp_path, metadata_file)
    named = re.escape(metadata_file) or "another file"
    with pytest.raises(ValueError, match=rf"c0\.ome\.tif is one file of a set that {named} describes, which is not"):
        read_image(tmp_path / "c0.ome.tif")


@pytest.mark.parametrize("is_tiled", [True, False])
def test_of_an_acquisition_that_was_stopped_the_stored_planes_are_read(tmp_path: Path, is_tiled: bool) -> None:
    text = HEAD + (
        '><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="16" SizeY="16" '
        'SizeZ="1" SizeC="1" SizeT="5"><Channel ID="Channel:0:0" Name="DAPI"/><TiffData/></Pixels></Image></OME>'
    )
    with tifffile.TiffWriter(tmp_path / "stopped.ome.tif", ome=False) as writer:
        for t in range(3):
            pixels = np.full((16, 16), t + 1, np.uint16)
            tile = (16, 16) if is_tiled else None
            writer.write(pixels, description=text if t == 0 else None, metadata=None, contiguous=False, tile=tile)
    image = open_image(tmp_path / "stopped.ome.tif")
    assert (image.axes, image.size_of("t")) == ("tcyx", 5)
    assert [int(image.read(t=t).max()) for t in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match=r"lacks the plane T=4: 3 of the 5 planes .*; its acquisition was stopped"):
        image.read(t=4)


def test_a_set_whose_description_does_not_fit_its_pages_is_refused(tmp_path: Path) -> None:
    images = "".join(described(well, [f"{well}.ome.tif"]) for well in WELLS).replace('SizeX="8"', 'SizeX="7"')
    for number, well in enumerate(WELLS, start=1):
        write(tmp_path / f"{well}.ome.tif", number, images, f"{well}.ome.tif")
    problem = r"A1\.ome\.tif: what the OME-XML of its set says of the image A2 does not fit"
    with pytest.raises(ValueError, match=problem):
        open_image(tmp_path / "A1.ome.tif", scene="A2")


def test_a_description_that_does_not_fit_the_pages_of_its_file_is_noted(tmp_path: Path) -> None:
    images = described("a", ["a.ome.tif"]).replace('SizeX="8"', 'SizeX="7"')
    write(tmp_path / "a.ome.tif", 3, images, None)
    image = open_image(tmp_path / "a.ome.tif")
    assert image.shape == (1, 6, 8)
    assert image.notes == ("its OME-XML does not fit its pages, which are read in the order in which they are stored",)


@pytest.mark.parametrize("is_bigtiff", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({"compression": "zlib"}, {"compression": "zlib", "predictor": True}, "predictor 2 and page 0 1"),
        ({"compression": "zlib", "predictor": True}, {"compression": "zlib"}, "predictor 1 and page 0 2"),
        ({}, {"photometric": "miniswhite"}, "photometric 0 and page 0 1"),
    ],
)
def test_pages_of_one_image_that_are_stored_otherwise_are_refused(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], told: str, is_bigtiff: bool
) -> None:
    text = f"{HEAD}>{described('a', ['a.ome.tif'] * 2, axis='Z')}</OME>"
    text = text.replace('FirstZ="1" IFD="0"', 'FirstZ="1" IFD="1"')
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=False, bigtiff=is_bigtiff) as writer:
        for z, choice in enumerate((first, second)):
            pixels = np.arange(48, dtype=np.uint16).reshape(6, 8) + z
            usual = {"photometric": "minisblack", "metadata": None, "contiguous": False}
            writer.write(pixels, description=text if z == 0 else None, **(usual | choice))
    image = open_image(tmp_path / "a.ome.tif")
    assert image.read(z=0).max() == 47
    with pytest.raises(ValueError, match=rf"a\.ome\.tif describes pages as planes of one image, but page 1 has {told}"):
        image.read(z=1)
