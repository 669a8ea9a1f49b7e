"""OME-Zarr: axes, names, levels, scenes and planes of NGFF 0.1 to 0.5, and labels written into it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinocell_io import LocalStore, open_image, read_image, read_labels, write_label_rows, write_labels

zarr = pytest.importorskip("zarr", reason="zarr-python writes the images and is the oracle")

AXES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def write_ome_zarr(
    folder: Path,
    levels: list[np.ndarray],
    axes: str,
    *,
    version: str = "0.4",
    unit: str | None = "micrometer",
    scale: float = 0.65,
    labels: list[str] | None = None,
    **extra: Any,
) -> None:
    zarr_format = 3 if version == "0.5" else 2
    for number, level in enumerate(levels):
        array = zarr.create_array(
            folder / str(number),
            shape=level.shape,
            chunks=(1,) * (level.ndim - 2) + (32, 32),
            dtype=level.dtype,
            zarr_format=zarr_format,
            chunk_key_encoding={"name": "default" if zarr_format == 3 else "v2", "separator": "/"},
        )
        array[:] = level
    described = [
        {"name": axis, "type": AXES[axis], **({"unit": unit} if unit and AXES[axis] == "space" else {})}
        for axis in axes
    ]
    datasets = [
        {
            "path": str(number),
            "coordinateTransformations": [
                {"type": "scale", "scale": [scale * 2**number if axis in "yx" else 1.0 for axis in axes]}
            ],
        }
        for number in range(len(levels))
    ]
    multiscale = {
        **({} if version == "0.5" else {"version": version}),
        "axes": described,
        "datasets": datasets,
        "name": "image",
    }
    omero = {"omero": {"channels": [{"label": label} for label in labels]}} if labels else {}
    write_group(folder, version, multiscales=[multiscale], **omero, **extra)


def write_group(folder: Path, version: str, **attributes: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if version == "0.5":
        nested = {"ome": {"version": "0.5", **attributes}}
        content = {"zarr_format": 3, "node_type": "group", "attributes": nested}
        (folder / "zarr.json").write_text(json.dumps(content))
    else:
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(attributes))


@pytest.fixture
def stack() -> np.ndarray:
    """[t c z y x] with a different number at every place."""
    shape = (2, 3, 4, 50, 70)
    return np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_axes_names_size_and_levels_come_from_the_metadata(tmp_path: Path, stack: np.ndarray, version: str) -> None:
    levels = [stack, stack[..., ::2, ::2]]
    write_ome_zarr(tmp_path / "a.zarr", levels, "tczyx", version=version, labels=["DNA", "ER", "AGP"])
    image = open_image(tmp_path / "a.zarr")
    assert (image.axes, image.shape) == ("tzcyx", (2, 4, 3, 50, 70))
    assert (image.channels, image.pixel_size_um, image.dtype) == (("DNA", "ER", "AGP"), 0.65, np.uint32)
    assert [(level.height, level.width, level.downsample) for level in image.levels] == [(50, 70, 1.0), (25, 35, 2.0)]
    np.testing.assert_array_equal(image.read(t=1, z=3), stack[1, :, 3])
    np.testing.assert_array_equal(image.read(t=0, z=2, level=1), stack[0, :, 2, ::2, ::2])
    region = image.read(np.s_[30:50, 31:33], channels=[2, 0], t=1, z=0)
    np.testing.assert_array_equal(region, stack[1, [2, 0], 0, 30:50, 31:33])
    np.testing.assert_array_equal(read_image(tmp_path / "a.zarr", t=1, z=1).pixels, stack[1, :, 1])
    with pytest.raises(ValueError, match=r"T=2, Z=4, C=3.*choose z= \(0 to 3\) and t= \(0 to 1\)"):
        read_image(tmp_path / "a.zarr")


@pytest.mark.parametrize("axes", ["yx", "cyx", "zyx", "zcyx"])
def test_fewer_axes_are_read(tmp_path: Path, stack: np.ndarray, axes: str) -> None:
    stored = {"yx": stack[0, 0, 0], "cyx": stack[0, :, 0], "zyx": stack[0, 0], "zcyx": stack[0].swapaxes(0, 1)}[axes]
    write_ome_zarr(tmp_path / "a.zarr", [stored], axes)
    image = open_image(tmp_path / "a.zarr")
    z = 3 if "z" in axes else 0
    expected = stack[0, :, z] if "c" in axes else stack[0, :1, z]
    np.testing.assert_array_equal(image.read(z=z), expected)


@pytest.mark.parametrize(
    ("unit", "scale", "expected"), [("nanometer", 325, 0.325), (None, 0.5, None), ("inch", 1, None)]
)
def test_the_pixel_size_needs_a_unit_of_length(
    tmp_path: Path, stack: np.ndarray, unit: str | None, scale: float, expected: float | None
) -> None:
    write_ome_zarr(tmp_path / "a.zarr", [stack[0, 0, 0]], "yx", unit=unit, scale=scale)
    size = open_image(tmp_path / "a.zarr").pixel_size_um
    assert size == (None if expected is None else pytest.approx(expected))


def test_ngff_0_2_has_five_axes_by_its_specification(tmp_path: Path, stack: np.ndarray) -> None:
    write_ome_zarr(tmp_path / "a.zarr", [stack], "tczyx", version="0.2")
    described = json.loads((tmp_path / "a.zarr" / ".zattrs").read_text())
    del described["multiscales"][0]["axes"]
    (tmp_path / "a.zarr" / ".zattrs").write_text(json.dumps(described))
    assert open_image(tmp_path / "a.zarr").axes == "tzcyx"
    described["multiscales"][0]["version"] = "0.4"
    (tmp_path / "a.zarr" / ".zattrs").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"a\.zarr names 0 axes for an array of 5"):
        open_image(tmp_path / "a.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_field_of_a_plate_is_chosen_by_well_and_field(tmp_path: Path, stack: np.ndarray, version: str) -> None:
    wells = [{"path": "A/1"}, {"path": "B/2"}]
    write_group(tmp_path / "p.zarr", version, plate={"wells": wells})
    write_group(tmp_path / "p.zarr" / "B" / "2", version, well={"images": [{"path": "0"}, {"path": "1"}]})
    for field in range(2):
        write_ome_zarr(tmp_path / "p.zarr" / "B" / "2" / str(field), [stack[field, :, 0]], "cyx", version=version)
    with pytest.raises(ValueError, match=r'plate of 2 wells \(A/1, B/2\).*--scene, .*"A/1/0"'):
        open_image(tmp_path / "p.zarr")
    np.testing.assert_array_equal(open_image(tmp_path / "p.zarr", scene="B/2/1").read(), stack[1, :, 0])
    well = tmp_path / "p.zarr" / "B" / "2"
    with pytest.raises(ValueError, match=r"holds 2 images: 0; 1\. Choose one with scene="):
        open_image(well)
    chosen = open_image(well, scene="0")
    assert (chosen.scene, chosen.scenes) == ("0", ("0", "1"))
    np.testing.assert_array_equal(chosen.read(), stack[0, :, 0])
    np.testing.assert_array_equal(open_image(well / "1").read(), stack[1, :, 0])


@pytest.mark.parametrize("listed", [True, False])
def test_the_series_of_a_bioformats2raw_layout_are_scenes(tmp_path: Path, stack: np.ndarray, listed: bool) -> None:
    write_group(tmp_path / "a.zarr", "0.4", **{"bioformats2raw.layout": 3})
    for series in range(2):
        write_ome_zarr(tmp_path / "a.zarr" / str(series), [stack[series, 0, 0]], "yx")
    if listed:
        write_group(tmp_path / "a.zarr" / "OME", "0.4", series=["0", "1"])
    with pytest.raises(ValueError, match=r"holds 2 images: 0; 1"):
        open_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(open_image(tmp_path / "a.zarr", scene="1").read()[0], stack[1, 0, 0])


def test_a_plain_array_is_read_if_it_says_or_shows_its_axes(tmp_path: Path, stack: np.ndarray) -> None:
    folder = tmp_path / "a.zarr"
    for name, shape, names in (
        ("plane", (50, 70), None),
        ("few", (3, 50, 70), None),
        ("many", (17, 50, 70), None),
        ("named", (17, 50, 70), ["z", "y", "x"]),
        ("odd", (17, 50, 70), ["row", "column", "x"]),
    ):
        zarr.create_array(folder / name, shape=shape, chunks=shape, dtype="uint8", dimension_names=names)[:] = 1
    assert open_image(folder / "plane").axes == "cyx"
    assert open_image(folder / "few").shape == (3, 50, 70)
    assert open_image(folder / "named").axes == "zcyx"
    with pytest.raises(ValueError, match=r"array of shape \(17, 50, 70\) that does not say what its axes are"):
        open_image(folder / "many")
    with pytest.raises(ValueError, match=r"has the axes row, column, x"):
        open_image(folder / "odd")


def test_a_plane_of_which_nothing_is_stored_is_refused(tmp_path: Path, stack: np.ndarray) -> None:
    write_ome_zarr(tmp_path / "a.zarr", [stack[:, 0, 0] + 1], "cyx")
    for chunk in (tmp_path / "a.zarr" / "0" / "1").rglob("*"):
        if chunk.is_file():
            chunk.unlink()
    with pytest.raises(ValueError, match=r"a\.zarr/0: not one of the 6 chunks of this plane is stored"):
        open_image(tmp_path / "a.zarr").read(channels=[1])
    assert open_image(tmp_path / "a.zarr").read(channels=[0]).min() > 0


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "is a Zarr group without an image"),
        ({"multiscales": []}, "holds 0 images"),
        ({"multiscales": [{"datasets": []}]}, "lists no array of pixels"),
        ({"multiscales": [{}]}, "cannot be read as OME-Zarr"),
        ({"multiscales": 7}, "cannot be read as OME-Zarr"),
        (
            {"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}]},
            r"/0 holds no Zarr group or array",
        ),
        ({"well": {"images": []}}, "lists no image"),
        ({"plate": {}}, "cannot be read as OME-Zarr"),
    ],
)
def test_groups_that_hold_no_image_are_refused(tmp_path: Path, attributes: dict[str, Any], message: str) -> None:
    write_group(tmp_path / "a.zarr", "0.4", **attributes)
    with pytest.raises(ValueError, match=rf"a\.zarr.*({message})"):
        open_image(tmp_path / "a.zarr")


def test_a_missing_group_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.zarr does not exist; expected the folder of a Zarr group"):
        open_image(tmp_path / "absent.zarr")
    with pytest.raises(FileNotFoundError, match=r"absent\.zarr does not exist"):
        read_labels(tmp_path / "absent.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ValueError, match=r"empty\.zarr holds no Zarr group or array .*; check the address"):
        open_image(tmp_path / "empty.zarr")
    (tmp_path / "packed.zarr").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"packed\.zarr is a file, expected the folder of a Zarr group; unpack it"):
        open_image(tmp_path / "packed.zarr")
    (tmp_path / "text.zarr").mkdir()
    (tmp_path / "text.zarr" / ".zattrs").write_text("not JSON")
    (tmp_path / "text.zarr" / ".zgroup").write_text("{}")
    with pytest.raises(ValueError, match=r"text\.zarr: .*\.zattrs is not JSON"):
        open_image(tmp_path / "text.zarr")


def cells(shape: tuple[int, int], largest: int = 70000) -> np.ndarray:
    return np.random.default_rng(0).integers(0, largest + 1, shape)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_are_written_beside_their_image_with_its_levels_and_pixel_size(tmp_path: Path, version: str) -> None:
    full = np.zeros((2, 90, 70), np.uint16)
    write_ome_zarr(tmp_path / "a.zarr", [full, full[:, ::2, ::2], full[:, ::4, ::4]], "cyx", version=version)
    labels = cells((90, 70))
    write_labels(tmp_path / "a.zarr", labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.zarr"), labels)
    write_labels(tmp_path / "a.zarr" / "labels" / "nuclei", labels // 2)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.zarr" / "labels" / "nuclei"), labels // 2)
    with pytest.raises(ValueError, match=r"holds 2 label images \(cells, nuclei\), expected one"):
        read_labels(tmp_path / "a.zarr")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.zarr", scene="nuclei"), labels // 2)

    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    attributes = group["labels"].attrs
    assert (attributes["ome"]["labels"] if version == "0.5" else attributes["labels"]) == ["cells", "nuclei"]
    np.testing.assert_array_equal(group["labels/cells/0"][:], labels)
    assert [group[f"labels/cells/{number}"].shape for number in range(3)] == [(90, 70), (45, 35), (23, 18)]
    described = group["labels/cells"].attrs
    described = described["ome"] if version == "0.5" else described
    assert described["image-label"]["source"] == {"image": "../../"}
    image = open_image(tmp_path / "a.zarr" / "labels" / "cells")
    assert image.pixel_size_um == pytest.approx(0.65)
    assert set(np.unique(image.read(level=2))) <= set(np.unique(labels))
    assert open_image(tmp_path / "a.zarr").channels == ("C0", "C1")


def placed(size: float, at: float) -> list[dict[str, Any]]:
    """The scale and translation of three axes [c y x], x of half the size of y."""
    return [
        {"type": "scale", "scale": [7.0, size, size / 2]},
        {"type": "translation", "translation": [9.0, at, at / 4]},
    ]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("pixel_size_um", [None, 1.0])
def test_labels_lie_where_their_image_lies(tmp_path: Path, version: str, pixel_size_um: float | None) -> None:
    full = np.zeros((2, 90, 70), np.uint16)
    write_ome_zarr(tmp_path / "a.zarr", [full, full[:, ::2, ::2]], "cyx", version=version)
    file = tmp_path / "a.zarr" / ("zarr.json" if version == "0.5" else ".zattrs")
    content = json.loads(file.read_text())
    (multiscale,) = (content["attributes"]["ome"] if version == "0.5" else content)["multiscales"]
    for number, dataset in enumerate(multiscale["datasets"]):
        dataset["coordinateTransformations"] = placed(0.325 * 2**number, 1000 + number)
    multiscale["coordinateTransformations"] = [{"type": "identity"}, {"type": "scale", "scale": [1, 10, 20]}]
    multiscale["axes"][2]["unit"] = "nanometer"
    file.write_text(json.dumps(content))

    write_labels(tmp_path / "a.zarr", cells((90, 70)), pixel_size_um=pixel_size_um)
    attributes = zarr.open_group(tmp_path / "a.zarr" / "labels" / "cells", mode="r").attrs
    (written,) = (attributes["ome"] if version == "0.5" else attributes)["multiscales"]
    assert [axis.get("unit") for axis in written["axes"]] == ["micrometer", "nanometer"]
    assert [dataset["coordinateTransformations"] for dataset in written["datasets"]] == [
        [{"type": "scale", "scale": [0.325, 0.1625]}, {"type": "translation", "translation": [1000.0, 250.0]}],
        [{"type": "scale", "scale": [0.65, 0.325]}, {"type": "translation", "translation": [1001.0, 250.25]}],
    ]
    assert written["coordinateTransformations"] == [{"type": "scale", "scale": [10, 20]}]


def test_labels_of_an_image_without_units_take_its_scale(tmp_path: Path) -> None:
    write_ome_zarr(tmp_path / "a.zarr", [np.zeros((40, 30), np.uint8)], "yx", unit=None, scale=3.0)
    write_labels(tmp_path / "a.zarr", cells((40, 30)), pixel_size_um=0.5)
    (written,) = zarr.open_group(tmp_path / "a.zarr" / "labels" / "cells", mode="r").attrs["multiscales"]
    assert written["axes"][1] == {"name": "x", "type": "space"}
    assert written["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [3.0, 3.0]}]


@pytest.mark.parametrize(
    ("transformation", "message"),
    [
        ({"type": "affine", "affine": [[1, 0, 0], [0, 1, 0]]}, r"a\.zarr is placed by .*'affine'.*expected a scale"),
        ({"type": "scale", "path": "scales"}, "expected a scale or translation of its 2 axes"),
        ({"type": "translation", "translation": [1, float("nan")]}, "expected a scale or translation of its 2 axes"),
        ({"type": "translation", "translation": [1]}, "expected a scale or translation of its 2 axes"),
        ({"type": "scale", "scale": [0.65, 0.65]}, r"has pixels of 0\.65 um, its labels are said to have 0\.5 um"),
    ],
)
def test_labels_that_cannot_lie_on_their_image_are_not_written(
    tmp_path: Path, transformation: dict[str, Any], message: str
) -> None:
    write_ome_zarr(tmp_path / "a.zarr", [np.zeros((40, 30), np.uint8)], "yx")
    file = tmp_path / "a.zarr" / ".zattrs"
    content = json.loads(file.read_text())
    content["multiscales"][0]["datasets"][0]["coordinateTransformations"] = [transformation]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        write_labels(tmp_path / "a.zarr", cells((40, 30)), pixel_size_um=0.5)
    assert not (tmp_path / "a.zarr" / "labels").exists()


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_are_in_consolidated_metadata_where_an_image_has_them(tmp_path: Path, version: str) -> None:
    plate = tmp_path / "p.zarr"
    image = plate / "A" / "1" / "0"
    for group in (plate, plate / "A", plate / "A" / "1"):
        write_group(group, version)
    write_ome_zarr(image, [np.zeros((40, 50), np.uint8), np.zeros((20, 25), np.uint8)], "yx", version=version)
    labels = cells((40, 50))
    zarr.consolidate_metadata(image)
    zarr.consolidate_metadata(plate)
    write_labels(image, labels)
    zarr.consolidate_metadata(image / "labels")
    write_labels(image / "labels" / "nuclei", labels // 2)
    for place, inside in ((plate, "A/1/0/labels/"), (image, "labels/"), (image / "labels", "")):
        group = zarr.open_consolidated(place)
        np.testing.assert_array_equal(group[f"{inside}cells/0"][:], labels)
        np.testing.assert_array_equal(group[f"{inside}nuclei/1"][:], labels[1::2, 1::2] // 2)
        group = group[inside.rstrip("/")] if inside else group
        assert sorted(group.group_keys()) == ["cells", "nuclei"]
        attributes = group.attrs["ome"] if version == "0.5" else group.attrs
        assert attributes["labels"] == ["cells", "nuclei"]
    assert sorted(zarr.open_group(image, mode="r").array_keys()) == ["0", "1"]
    np.testing.assert_array_equal(read_labels(image, scene="cells"), labels)


def test_labels_make_a_group_where_there_is_none(tmp_path: Path) -> None:
    labels = cells((1500, 1100))
    write_labels(tmp_path / "new.zarr", labels, pixel_size_um=0.5)
    np.testing.assert_array_equal(read_labels(tmp_path / "new.zarr"), labels)
    image = open_image(tmp_path / "new.zarr" / "labels" / "cells")
    assert (image.pixel_size_um, image.dtype) == (0.5, np.uint32)
    assert [(level.height, level.width) for level in image.levels] == [(1500, 1100), (750, 550)]
    np.testing.assert_array_equal(image.read(level=1)[0], labels[1::2, 1::2])
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "new.zarr" / "labels" / "cells" / "0")[:], labels)


def test_labels_that_are_all_background_are_read_back(tmp_path: Path) -> None:
    write_labels(tmp_path / "new.zarr", np.zeros((40, 40), int))
    assert read_labels(tmp_path / "new.zarr").max() == 0


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_without_the_key_image_label_are_read_at_their_address(tmp_path: Path, version: str) -> None:
    write_ome_zarr(tmp_path / "a.zarr", [np.full((40, 50), 9, np.uint8)], "yx", version=version)
    write_group(tmp_path / "a.zarr" / "labels", version, labels=["cells", "nuclei"])
    for number, name in enumerate(("cells", "nuclei"), start=1):
        labels = np.full((40, 50), number, np.uint16)
        write_ome_zarr(tmp_path / "a.zarr" / "labels" / name, [labels], "yx", version=version)
    assert read_labels(tmp_path / "a.zarr" / "labels" / "nuclei").min() == 2
    assert read_labels(f"{tmp_path}/a.zarr/labels/cells/").max() == 1
    with pytest.raises(ValueError, match=r"expected one; give the address of one: image\.zarr/labels/NAME"):
        read_labels(tmp_path / "a.zarr")


def test_an_image_in_a_folder_named_labels_is_not_taken_for_labels(tmp_path: Path) -> None:
    write_ome_zarr(tmp_path / "labels" / "a.zarr", [np.full((40, 50), 9, np.uint8)], "yx")
    with pytest.raises(ValueError, match="holds 0 label images"):
        read_labels(tmp_path / "labels" / "a.zarr")
    write_labels(tmp_path / "labels" / "a.zarr", np.ones((40, 50), int))
    assert read_labels(tmp_path / "labels" / "a.zarr").max() == 1


@pytest.mark.parametrize("place", ["a.zarr", "a.zarr/labels/cells", "a.zarr/labels/cells/0", "plain.zarr"])
def test_labels_of_which_no_chunk_is_stored_are_empty(tmp_path: Path, place: str) -> None:
    empty = np.zeros((40, 50), np.uint16)  # zarr-python stores no chunk of zeros
    write_ome_zarr(tmp_path / "a.zarr", [empty + 9], "yx")
    write_group(tmp_path / "a.zarr" / "labels", "0.4", labels=["cells"])
    write_ome_zarr(tmp_path / "a.zarr" / "labels" / "cells", [empty], "yx")
    zarr.create_array(tmp_path / "plain.zarr", shape=(40, 50), chunks=(20, 20), dtype="uint16")[:] = 0
    np.testing.assert_array_equal(read_labels(tmp_path / place), empty)


def test_labels_are_not_replaced_and_must_have_the_images_size(tmp_path: Path) -> None:
    write_ome_zarr(tmp_path / "a.zarr", [np.zeros((40, 50), np.uint8)], "yx")
    with pytest.raises(ValueError, match=r"a\.zarr is an image of 40 x 50 pixels, its labels are 40 x 51"):
        write_labels(tmp_path / "a.zarr", np.ones((40, 51), int))
    write_labels(tmp_path / "a.zarr", np.ones((40, 50), int))
    with pytest.raises(FileExistsError, match="exists already"):
        write_labels(tmp_path / "a.zarr", np.zeros((40, 50), int))
    assert read_labels(tmp_path / "a.zarr").min() == 1
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"folder\.zarr exists and is not a Zarr group"):
        write_labels(tmp_path / "folder.zarr", np.ones((4, 4), int))


def test_rows_that_do_not_fit_leave_nothing_in_the_group(tmp_path: Path) -> None:
    write_ome_zarr(tmp_path / "a.zarr", [np.zeros((40, 50), np.uint8)], "yx")
    before = sorted(path for path in tmp_path.rglob("*") if "labels" not in path.parts)
    for uri in (tmp_path / "a.zarr", tmp_path / "new.zarr"):
        with pytest.raises(ValueError, match="got 30 rows, expected 40"):
            write_label_rows(uri, [np.ones((30, 50), np.uint8)], shape=(40, 50))
    assert sorted(path for path in tmp_path.rglob("*") if "labels" not in path.parts) == before
    with pytest.raises(ValueError, match="holds 0 label images"):
        read_labels(tmp_path / "a.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_group_needs_no_zarr_in_its_name(tmp_path: Path, stack: np.ndarray, version: str) -> None:
    write_ome_zarr(tmp_path / "field", [stack[0, :, 0]], "cyx", version=version)
    np.testing.assert_array_equal(open_image(tmp_path / "field").read(), stack[0, :, 0])
    np.testing.assert_array_equal(open_image(f"{tmp_path}/field/0").read(), stack[0, :, 0])
    labels = cells((50, 70))
    write_labels(tmp_path / "field", labels)
    write_labels(tmp_path / "field" / "labels" / "nuclei", labels // 2)
    np.testing.assert_array_equal(read_labels(tmp_path / "field", scene="cells"), labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "field" / "labels" / "nuclei"), labels // 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty is a folder, expected one file"):
        open_image(tmp_path / "empty")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_group_may_be_the_root_of_a_store(tmp_path: Path, stack: np.ndarray, version: str) -> None:
    write_ome_zarr(tmp_path / "a.zarr", [stack[0, :, 0]], "cyx", version=version)
    write_labels(tmp_path / "a.zarr", cells((50, 70)))
    store = LocalStore(tmp_path / "a.zarr")
    np.testing.assert_array_equal(open_image("", store=store).read(), stack[0, :, 0])
    np.testing.assert_array_equal(read_labels("", store=store), cells((50, 70)))
    with pytest.raises(ValueError, match=r"LocalStore\(.*\) has no scene 'x'"):
        open_image("", scene="x", store=store)
