import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dinocell_io.testing import ObjectServer
from dinocell_seg.inputs import NOT_TAKEN, Inputs, find_images, without_clashes
from dinocell_seg.output_files import output_stem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.tif", "a.png", "c.PNG", "notes.txt", ".hidden.png", "deep/d.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(images: list[str]) -> list[str]:
    return [Path(image).name for image in images]


def test_a_folder_means_the_images_directly_in_it_sorted(folder: Path) -> None:
    assert names(find_images([str(folder)]).images) == ["a.png", "b.tif", "c.PNG"]


def test_a_pattern_may_reach_into_folders(folder: Path) -> None:
    assert names(find_images([f"{folder}/**/*.tif"]).images) == ["b.tif", "d.tif"]


def test_each_image_comes_once_in_the_order_given(folder: Path) -> None:
    images = find_images([str(folder / "b.tif"), str(folder), str(folder / "a.png")]).images
    assert names(images) == ["b.tif", "a.png", "c.PNG"]


def test_what_an_earlier_run_wrote_is_no_input(folder: Path) -> None:
    for ending in ("_labels.tif", "_overlay.png", "_distance_map.tif", "_run.json"):
        (folder / f"a{ending}").touch()
    (folder / "foreign_labels.tif").touch()
    assert names(find_images([str(folder)]).images) == ["a.png", "b.tif", "c.PNG", "foreign_labels.tif"]


def test_what_a_killed_run_left_without_a_record_is_no_input_and_listed(folder: Path) -> None:
    for ending in ("_labels.tif", "_overlay.png"):
        (folder / f"b{ending}").touch()
    found = find_images([str(folder)])
    assert names(found.images) == ["a.png", "b.tif", "c.PNG"]
    assert names([*found.left_out]) == ["b_labels.tif", "b_overlay.png"]


@pytest.mark.parametrize("word", ["", "*", "*.tif"])
def test_labels_and_thumbnails_beside_images_are_left_out_and_listed(tmp_path: Path, word: str) -> None:
    for name in ("a.tif", "a_cp_masks.tif", "w_thumbAB.tif", "w1.tif", "w.tif", "c_masks.tif"):
        (tmp_path / name).touch()
    found = find_images([f"{tmp_path}/{word}"])
    assert names(found.images) == ["a.tif", "c_masks.tif", "w.tif", "w1.tif"]
    assert names([*found.left_out]) == ["a_cp_masks.tif", "w_thumbAB.tif"]


def test_files_that_a_shell_names_are_left_out_beside_their_image_and_taken_alone(folder: Path) -> None:
    (folder / "b_masks.tif").touch()
    (folder / "b_labels.tif").touch()
    (folder / "b_run.json").touch()
    found = find_images([str(folder / name) for name in ("b.tif", "b_labels.tif", "b_masks.tif", "a.png")])
    assert names(found.images) == ["b.tif", "a.png"]
    assert names([*found.left_out]) == ["b_labels.tif", "b_masks.tif"]
    found = find_images([str(folder / "b_masks.tif")])
    assert (names(found.images), found.left_out) == (["b_masks.tif"], {})


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(folder: Path) -> None:
    (folder / "well[1].tif").touch()
    assert names(find_images([str(folder / "well[1].tif")]).images) == ["well[1].tif"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    with ObjectServer() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-tests")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-tests")
        yield server


def test_addresses_are_passed_on_and_a_slash_after_zarr_means_nothing(server: ObjectServer) -> None:
    words = [
        "file:///data/x.tif",
        "s3://bucket/a b/x#1.tif",
        "s3://bucket/y.zarr/",
        "s3://bucket/y.zarr",
        "s3://bucket/z",
    ]
    assert find_images(words).images == [*words[:2], "s3://bucket/y.zarr", "s3://bucket/z"]


@pytest.mark.parametrize("word", ["s3://bucket/plate 1/", "s3://bucket/plate 1"])
def test_a_folder_of_a_bucket_means_the_images_directly_in_it(server: ObjectServer, word: str) -> None:
    keys = (
        "b.tif",
        "a.png",
        "a_labels.tif",
        "a_run.json",
        "b_masks.png",
        "deep/d.tif",
        "s.czi",
        "m.zarr/.zattrs",
        "n.txt",
    )
    server.objects |= {f"plate 1/{key}": b"{}" for key in keys} | {"plate 10/c.tif": b""}
    server.objects["plate 1/field/.zgroup"] = b"{}"
    found = find_images([word])
    images = [image.removeprefix("s3://bucket/plate 1/") for image in found.images]
    assert images == ["a.png", "b.tif", "field", "m.zarr"]
    assert names([*found.left_out]) == ["b_masks.png", "s.czi"]


def test_a_folder_of_a_bucket_without_images_is_refused(server: ObjectServer) -> None:
    server.objects["plate/notes.txt"] = b""
    with pytest.raises(ValueError, match=r"the folder s3://bucket/plate holds no images; expected \.png"):
        find_images(["s3://bucket/plate/"])
    with pytest.raises(ValueError, match=r"https://.* has the scheme https://; expected a path"):
        find_images(["https://host/plate/"])


@pytest.fixture
def zarrs(folder: Path) -> Path:
    for name in ("m.ome.zarr/0/c", "deep/n.ZARR/0", ".hidden.zarr/0"):
        (folder / name).mkdir(parents=True)
    (folder / "m.ome.zarr" / "0" / "preview.tif").touch()
    (folder / "packed.zarr").touch()
    return folder


def test_an_ome_zarr_folder_is_one_image_named_or_found(zarrs: Path) -> None:
    assert find_images([f"{zarrs}/m.ome.zarr/", f"{zarrs}/m.ome.zarr"]).images == [str(zarrs / "m.ome.zarr")]
    assert find_images([f"{zarrs}/m.ome.zarr/0"]).images == [str(zarrs / "m.ome.zarr" / "0")]
    assert names(find_images([str(zarrs)]).images) == ["a.png", "b.tif", "c.PNG", "m.ome.zarr"]


def test_a_pattern_finds_ome_zarr_and_does_not_look_into_it(zarrs: Path) -> None:
    assert names(find_images([f"{zarrs}/*.zarr"]).images) == ["m.ome.zarr"]
    assert names(find_images([f"{zarrs}/**/*"]).images) == ["a.png", "b.tif", "c.PNG", "d.tif", "n.ZARR", "m.ome.zarr"]


def test_other_readable_formats_are_found_by_a_pattern_with_their_suffix_only(folder: Path) -> None:
    for name in ("s.czi", "t.CZI", "u.npy"):
        (folder / name).touch()
    assert names(find_images([f"{folder}/*.czi"]).images) == ["s.czi"]
    assert names(find_images([f"{folder}/*"]).images) == ["a.png", "b.tif", "c.PNG"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nowhere.tif", r"nowhere\.tif does not exist; give an image file, a folder of images or a pattern"),
        ("no*.tif", r"the pattern .*no\*\.tif matches no image"),
        ("nowhere.zarr", r"nowhere\.zarr does not exist"),
        ("empty", r"the folder .*empty holds no images; expected \.png.* or OME-Zarr \(\.zarr\)"),
    ],
)
def test_what_names_nothing_is_refused(folder: Path, word: str, message: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=message):
        find_images([str(folder / word)]).images


def test_images_that_would_write_the_same_files_are_refused_with_a_list() -> None:
    images = ["a/x.tif", "b/X.ome.tif", "a/y.png", "a/y.tif", "z.png"]
    assert without_clashes(Inputs(["a/x.tif", "a/y.tif"]), ["a"]) == Inputs(["a/x.tif", "a/y.tif"])
    with pytest.raises(ValueError, match=r"a/x\.tif and b/X\.ome\.tif; a/y\.png and a/y\.tif.*Nothing was written"):
        without_clashes(Inputs(images), ["a", "b", "z.png"])
    for found, words in ((images[2:], ["a/y.png", "a"]), (images[2:4], ["a"])):
        with pytest.raises(ValueError, match=r"a/y\.png and a/y\.tif\. Nothing was written"):
            without_clashes(Inputs(found), words)


@pytest.mark.parametrize(
    ("images", "choice"),
    [
        (["a/y.png", "a/y.tif"], r"choose with a pattern, 'a/\*\.png' or 'a/\*\.tif'$"),
        (["a/y.ome.tif", "a/y.png", "a/y.tif"], r"choose with a pattern, 'a/\*\.png'$"),
        (["a/y.ome.tif", "a/y.tif"], "rename one$"),
        (["s3://b/y.png", "s3://b/y.tif"], "rename one$"),
    ],
)
def test_images_of_a_folder_that_would_write_the_same_files_fail_with_the_way_out(
    images: list[str], choice: str
) -> None:
    found = without_clashes(Inputs([*images, "a/z.tif"], {"a/n.czi": "why"}), ["a", "s3://b"])
    assert (found.images, [*found.failed], [*found.left_out]) == (["a/z.tif"], images[:1], ["a/n.czi", *images[1:]])
    assert re.search(choice, found.failed[images[0]])


def test_a_link_that_leads_nowhere_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    (tmp_path / "b.tif").symlink_to(tmp_path / "moved.tif")
    assert find_images([str(tmp_path)]).images == [str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]
    assert find_images([str(tmp_path / "*.tif")]).images == [str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]


def test_files_of_a_folder_that_look_like_images_and_are_not_taken_are_told(tmp_path: Path) -> None:
    for name in ("a.tif", "b.czi", "c.BMP", "notes.txt", "table.npy", ".d.gif"):
        (tmp_path / name).touch()
    (tmp_path / "e.lif").mkdir()
    assert find_images([str(tmp_path), str(tmp_path / "b.czi")]).left_out == {str(tmp_path / "c.BMP"): NOT_TAKEN}
    assert names([*find_images([str(tmp_path)]).left_out]) == ["b.czi", "c.BMP"]
    assert find_images([str(tmp_path / "*.czi")]).left_out == {}


def write_group(folder: Path, **attributes: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zattrs").write_text(json.dumps(attributes))


@pytest.fixture(params=["plate.zarr", "plate"])
def plate(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two wells of two fields; a third well is listed and was never imaged. With and without .zarr."""
    plate = tmp_path / request.param
    write_group(plate, plate={"wells": [{"path": "A/1"}, {"path": "B/2"}, {"path": "B/3"}]})
    for well in ("A/1", "B/2"):
        write_group(plate / well, well={"images": [{"path": "0"}, {"path": "1"}]})
        for field in "01":
            write_group(plate / well / field, multiscales=[])
    return plate


def test_a_plate_is_all_of_its_fields_and_their_names_are_the_paths_inside(plate: Path) -> None:
    inside = ["A/1/0", "A/1/1", "B/2/0", "B/2/1", "B/3"]
    for word in (plate, f"{plate}/", plate.parent):
        images = find_images([str(word)]).images
        assert images == [f"{plate}/{field}" for field in inside]
        assert without_clashes(Inputs(images), [str(word)]).images == images
    stems = ["plate_A_1_0", "plate_A_1_1", "plate_B_2_0", "plate_B_2_1", "plate_B_3"]
    assert [output_stem(image) for image in images] == stems
    assert find_images([str(plate)], whole_zarr=True).images == [str(plate)]
    assert find_images([f"{plate}/A/1"]).images == [f"{plate}/A/1/0", f"{plate}/A/1/1"]
    assert find_images([f"{plate}/A/1/1"]).images == [f"{plate}/A/1/1"]


def test_the_series_of_a_file_are_its_images(tmp_path: Path) -> None:
    write_group(tmp_path / "s.ome.zarr", **{"bioformats2raw.layout": 3})
    for number in (0, 1, 10):
        write_group(tmp_path / "s.ome.zarr" / str(number), multiscales=[])
    images = find_images([str(tmp_path / "s.ome.zarr")]).images
    assert [output_stem(image) for image in images] == ["s_0", "s_1", "s_10"]


def test_a_damaged_plate_is_one_image_that_cannot_be_read(tmp_path: Path) -> None:
    write_group(tmp_path / "p.zarr", plate={"wells": 5})
    assert find_images([str(tmp_path / "p.zarr")]).images == [str(tmp_path / "p.zarr")]


def test_names_of_outputs_leave_the_suffix_out() -> None:
    addresses = ["a/b.ome.tif", "s3://bucket/plate.zarr/A/1/0", "a.zarr", "x/a.ome.zarr/", "c.tar.png", "C:\\d\\e.tif"]
    assert [*map(output_stem, addresses)] == ["b", "plate_A_1_0", "a", "a", "c.tar", "e"]
