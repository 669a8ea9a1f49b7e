from pathlib import Path

import pytest

from dinocell_seg.inputs import find_images, refuse_equal_stems


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


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(folder: Path) -> None:
    (folder / "well[1].tif").touch()
    assert names(find_images([str(folder / "well[1].tif")])) == ["well[1].tif"]


def test_addresses_are_passed_on(folder: Path) -> None:
    assert find_images(["file:///data/x.tif"]) == ["file:///data/x.tif"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nowhere.tif", r"nowhere\.tif does not exist; give an image file, a folder of images or a pattern"),
        ("no*.tif", r"the pattern .*no\*\.tif matches no image"),
        ("empty", r"the folder .*empty holds no images; expected \.png"),
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
