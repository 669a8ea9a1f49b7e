from pathlib import Path

import pytest

from dinocell_seg.inputs import find_images, left_out, refuse_equal_stems


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.tif", "a.png", "c.PNG", "notes.txt", ".hidden.png", "deep/d.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(images: list[str]) -> list[str]:
    return [Path(image).name for image in images]


def test_a_folder_means_the_images_directly_in_it_sorted(folder: Path) -> None:
    assert names(find_images([str(folder)])) == ["a.png", "b.tif", "c.PNG"]


def test_a_pattern_may_reach_into_folders(folder: Path) -> None:
    assert names(find_images([f"{folder}/**/*.tif"])) == ["b.tif", "d.tif"]


def test_each_image_comes_once_in_the_order_given(folder: Path) -> None:
    images = find_images([str(folder / "b.tif"), str(folder), str(folder / "a.png")])
    assert names(images) == ["b.tif", "a.png", "c.PNG"]


def test_what_an_earlier_run_wrote_is_no_input(folder: Path) -> None:
    for ending in ("_labels.tif", "_overlay.png", "_distance_map.tif", "_run.json"):
        (folder / f"a{ending}").touch()
    (folder / "foreign_labels.tif").touch()
    assert names(find_images([str(folder)])) == ["a.png", "b.tif", "c.PNG", "foreign_labels.tif"]


def test_what_a_killed_run_left_without_a_record_is_no_input(folder: Path) -> None:
    for ending in ("_labels.tif", "_overlay.png"):
        (folder / f"b{ending}").touch()
    assert names(find_images([str(folder)])) == ["a.png", "b.tif", "c.PNG"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(folder: Path) -> None:
    (folder / "well[1].tif").touch()
    assert names(find_images([str(folder / "well[1].tif")])) == ["well[1].tif"]


def test_addresses_are_passed_on_and_a_slash_after_zarr_means_nothing(folder: Path) -> None:
    words = ["file:///data/x.tif", "s3://bucket/a b/x#1.tif", "s3://bucket/y.zarr/", "s3://bucket/y.zarr"]
    assert find_images(words) == [*words[:2], "s3://bucket/y.zarr"]


def test_a_folder_of_a_bucket_is_refused_with_what_to_give(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"s3://bucket/plate/ is a folder of a bucket; give the addresses"):
        find_images([str(folder), "s3://bucket/plate/"])


@pytest.fixture
def zarrs(folder: Path) -> Path:
    for name in ("m.ome.zarr/0/c", "deep/n.ZARR/0", ".hidden.zarr/0"):
        (folder / name).mkdir(parents=True)
    (folder / "m.ome.zarr" / "0" / "preview.tif").touch()
    (folder / "packed.zarr").touch()
    return folder


def test_an_ome_zarr_folder_is_one_image_named_or_found(zarrs: Path) -> None:
    assert find_images([f"{zarrs}/m.ome.zarr/", f"{zarrs}/m.ome.zarr"]) == [str(zarrs / "m.ome.zarr")]
    assert find_images([f"{zarrs}/m.ome.zarr/0"]) == [str(zarrs / "m.ome.zarr" / "0")]
    assert names(find_images([str(zarrs)])) == ["a.png", "b.tif", "c.PNG", "m.ome.zarr"]


def test_a_pattern_finds_ome_zarr_and_does_not_look_into_it(zarrs: Path) -> None:
    assert names(find_images([f"{zarrs}/*.zarr"])) == ["m.ome.zarr"]
    assert names(find_images([f"{zarrs}/**/*"])) == ["a.png", "b.tif", "c.PNG", "d.tif", "n.ZARR", "m.ome.zarr"]


def test_other_readable_formats_are_found_by_a_pattern_with_their_suffix_only(folder: Path) -> None:
    for name in ("s.czi", "t.CZI", "u.npy"):
        (folder / name).touch()
    assert names(find_images([f"{folder}/*.czi"])) == ["s.czi"]
    assert names(find_images([f"{folder}/*"])) == ["a.png", "b.tif", "c.PNG"]


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
        find_images([str(folder / word)])


def test_images_that_would_write_the_same_files_are_refused_with_a_list() -> None:
    refuse_equal_stems(["a/x.tif", "a/y.tif"])
    with pytest.raises(ValueError, match=r"a/x\.tif and b/X\.ome\.tif; a/y\.png and a/y\.tif.*Nothing was written"):
        refuse_equal_stems(["a/x.tif", "b/X.ome.tif", "a/y.png", "a/y.tif", "z.png"])


def test_a_link_that_leads_nowhere_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    (tmp_path / "b.tif").symlink_to(tmp_path / "moved.tif")
    assert find_images([str(tmp_path)]) == [str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]
    assert find_images([str(tmp_path / "*.tif")]) == [str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]


def test_files_of_a_folder_that_look_like_images_and_are_not_taken_are_told(tmp_path: Path) -> None:
    for name in ("a.tif", "b.czi", "c.BMP", "notes.txt", "table.npy", ".d.gif"):
        (tmp_path / name).touch()
    (tmp_path / "e.lif").mkdir()
    assert left_out([str(tmp_path), str(tmp_path / "b.czi"), "s3://bucket/f.gif"]) == [str(tmp_path / "c.BMP")]
    assert left_out([str(tmp_path)]) == [str(tmp_path / "b.czi"), str(tmp_path / "c.BMP")]
    assert left_out([str(tmp_path / "*.czi")]) == []
