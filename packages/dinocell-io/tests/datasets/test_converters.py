"""Published dataset formats become the simple folder, whole or not at all."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from dinocell_io import (
    convert_cellpose,
    convert_dsb2018,
    convert_livecell,
    convert_samcell,
    open_dataset,
    read_image,
    read_labels,
    read_sample,
)

NAME = "A172_Phase_C7_1_00d00h00m_1.tif"


@pytest.fixture
def livecell(tmp_path: Path) -> Path:
    folder = tmp_path / "source" / "images" / "A172"
    folder.mkdir(parents=True)
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    tifffile.imwrite(folder / NAME, pixels)
    tifffile.imwrite(folder / NAME.replace("_1.tif", "_2.tif"), pixels)
    return tmp_path / "source"


def coco(file_name: str = NAME, **changes: Any) -> dict[str, Any]:
    annotations = [
        {"id": 1, "image_id": 5, "iscrowd": 0, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]},
        {"id": 2, "image_id": 5, "iscrowd": 0, "segmentation": [[3, 3, 6, 3, 6, 5, 3, 5]]},
        {"id": 3, "image_id": 5, "iscrowd": 1, "segmentation": {"size": [6, 8], "counts": [47, 1]}},
        {"id": 4, "image_id": 5, "segmentation": [[7.1, 0.1, 7.3, 0.1, 7.2, 0.3]]},
    ]
    image = {"id": 5, "file_name": file_name, "height": 6, "width": 8}
    return {"images": [image], "annotations": annotations} | changes


def saved(folder: Path, content: object, name: str = "coco.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def test_livecell_objects_become_labels_and_the_smaller_wins(livecell: Path, tmp_path: Path) -> None:
    path = saved(livecell, coco())
    folder = convert_livecell({"train": path}, livecell / "images", tmp_path / "out")
    (sample,) = open_dataset(folder)
    assert sample.name == "A172_Phase_C7_1_00d00h00m_1"
    assert (sample.split, sample.group, sample.modality) == ("train", "A172_C7_1", "phase")
    assert read_labels(sample.labels_path).tolist() == [
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 2, 2, 2, 0, 0],
        [0, 0, 0, 2, 2, 2, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert sample.image_path.read_bytes() == (livecell / "images" / "A172" / NAME).read_bytes()
    header, row = (folder / "splits.csv").read_text().splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True)) == {
        "name": sample.name,
        "split": "train",
        "field_group": "A172_C7_1",
        "modality": "phase",
        "height": "6",
        "width": "8",
        "n_objects": "2",
        "cell_type": "A172",
        "crowds_left_out": "1",
        "objects_without_pixels": "1",
    }


def test_coco_files_of_several_splits_and_a_dictionary_of_annotations(livecell: Path, tmp_path: Path) -> None:
    first = saved(livecell, coco(), "train.json")
    second = coco(NAME.replace("_1.tif", "_2.tif"))
    second["annotations"] = {str(a["id"]): a for a in second["annotations"]}
    folder = convert_livecell(
        {"train": first, "test": saved(livecell, second, "test.json")}, livecell / "images", tmp_path / "out"
    )
    assert [sample.split for sample in open_dataset(folder)] == ["train", "test"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (coco("absent.tif"), r"names absent\.tif, of which 0 are below .*images; expected one"),
        (coco(annotations=[{"id": 1, "image_id": 9}]), "annotation 1 belongs to image 9"),
        (coco(annotations=[{"id": 8, "image_id": 5, "segmentation": [[1, 2]]}]), r"coco\.json: annotation 8"),
        ({"images": []}, "is not a COCO file"),
        (coco(images=[{"id": 5, "file_name": NAME, "height": 7, "width": 8}]), "run lengths|6 x 8 pixels"),
    ],
)
def test_broken_coco_files_leave_no_dataset(
    livecell: Path, tmp_path: Path, content: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        convert_livecell({"train": saved(livecell, content)}, livecell / "images", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_cut_coco_file_is_refused(livecell: Path, tmp_path: Path) -> None:
    path = saved(livecell, coco())
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=r"coco\.json is not JSON"):
        convert_livecell({"train": path}, livecell / "images", tmp_path / "out")


def pair(folder: Path, image: str, masks: str, value: int = 3) -> None:
    folder.mkdir(exist_ok=True)
    PillowImage.fromarray(np.full((4, 5, 3), value, np.uint8)).save(folder / image)
    labels = np.zeros((4, 5), np.uint16)
    labels[1:, 2] = 300
    labels[0, 0] = 2
    tifffile.imwrite(folder / masks, labels) if masks.endswith("tif") else PillowImage.fromarray(labels).save(
        folder / masks
    )


def test_cellpose_numbered_pairs_become_samples_across_gaps(tmp_path: Path) -> None:
    for number in ("000", "001", "007"):
        pair(tmp_path / "train", f"{number}_img.png", f"{number}_masks.png")
    pair(tmp_path / "test", "000_img.png", "000_masks.png")
    (tmp_path / "test" / "000_flows.tif").write_bytes(b"not looked at")
    folders = {"train": tmp_path / "train", "test": tmp_path / "test"}
    samples = open_dataset(convert_cellpose(folders, tmp_path / "out"))
    assert [(sample.name, sample.split) for sample in samples] == [
        ("test_000", "test"),
        ("train_000", "train"),
        ("train_001", "train"),
        ("train_007", "train"),
    ]
    image, labels = read_sample(samples[0])
    assert image.is_rgb
    assert labels.tolist() == [[1, 0, 0, 0, 0]] + [[0, 0, 2, 0, 0]] * 3


def test_cellpose_training_folders_keep_their_names(tmp_path: Path) -> None:
    pair(tmp_path / "train", "well_A1.png", "well_A1_masks.tif")
    (sample,) = open_dataset(convert_cellpose({"train": tmp_path / "train"}, tmp_path / "out"))
    assert sample.name == "well_A1"


def test_unpaired_cellpose_files_are_listed_and_nothing_is_written(tmp_path: Path) -> None:
    pair(tmp_path / "train", "000_img.png", "000_masks.png")
    (tmp_path / "train" / "000_img.png").rename(tmp_path / "train" / "001_img.png")
    with pytest.raises(ValueError, match=r"001_img\.png has no masks, 000_masks\.png has no image"):
        convert_cellpose({"train": tmp_path / "train"}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def nucleus_folder(root: Path, name: str, image: np.ndarray, masks: dict[str, np.ndarray]) -> None:
    (root / name / "images").mkdir(parents=True)
    (root / name / "masks").mkdir()
    PillowImage.fromarray(image).save(root / name / "images" / f"{name}.png")
    for mask_name, mask in masks.items():
        PillowImage.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(root / name / "masks" / f"{mask_name}.png")


def test_dsb2018_nuclei_become_labels_and_equal_colours_grey(tmp_path: Path) -> None:
    grey = np.full((4, 4, 4), 255, np.uint8)
    grey[..., :3] = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    colour = grey.copy()
    colour[0, 0] = (200, 10, 90, 255)
    large, small = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    large[:, :3], small[2:, 2:] = True, True
    nucleus_folder(tmp_path / "stage1_train", "aa", grey, {"0": small, "1": large})
    nucleus_folder(tmp_path / "stage1_train", "bb", colour, {"0": small})
    nucleus_folder(tmp_path / "stage1_train", "cc", 255 - grey[..., :3], {"0": small})
    folder = convert_dsb2018(tmp_path / "stage1_train", tmp_path / "out", split="train")
    samples = open_dataset(folder, split="train")
    assert [sample.modality for sample in samples] == ["fluorescence", "histology", "brightfield"]
    image, labels = read_sample(samples[0])
    np.testing.assert_array_equal(image.pixels, grey[None, ..., 0])
    assert labels.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 2, 2], [1, 1, 2, 2]]
    assert read_image(samples[1].image_path).pixels[:, 0, 0].tolist() == [200, 10, 90]


def test_a_dsb2018_folder_without_nuclei_or_with_an_empty_one_is_refused(tmp_path: Path) -> None:
    nucleus_folder(tmp_path / "a", "aa", np.zeros((4, 4), np.uint8), {})
    with pytest.raises(ValueError, match="aa holds 1 image and 0 masks"):
        convert_dsb2018(tmp_path / "a", tmp_path / "out")
    nucleus_folder(tmp_path / "b", "bb", np.zeros((4, 4), np.uint8), {"0": np.zeros((4, 4), bool)})
    with pytest.raises(ValueError, match=r"0\.png is 4 x 4 with 0 nucleus pixels"):
        convert_dsb2018(tmp_path / "b", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("colour", ["none", "equal", "bgr"])
@pytest.mark.parametrize("crowd_plane", [True, False])
def test_samcell_arrays_become_samples(tmp_path: Path, colour: str, crowd_plane: bool) -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, 5, 6)).astype(np.uint8)
    stored = images if colour == "none" else np.stack([images] * 3, axis=-1)
    if colour == "bgr":
        stored[..., 2] = 255 - stored[..., 2]
    instances = np.zeros((2, 5, 6), np.int16)
    instances[:, 3, 3], instances[:, 0, 0] = 4, 30000
    crowd = np.ones_like(instances)
    np.save(tmp_path / "imgs.npy", stored)
    np.save(tmp_path / "anns.npy", np.stack([instances, crowd], axis=1) if crowd_plane else instances)
    folder = convert_samcell(tmp_path, tmp_path / "out", split="val")
    samples = open_dataset(folder)
    assert [sample.name for sample in samples] == ["00000", "00001"]
    image, labels = read_sample(samples[1])
    assert (labels[0, 0], labels[3, 3], np.count_nonzero(labels)) == (1, 2, 2)
    if colour == "bgr":
        np.testing.assert_array_equal(image.pixels, np.moveaxis(stored[1][..., ::-1], 2, 0))
    else:
        np.testing.assert_array_equal(image.pixels, images[1:])


@pytest.mark.parametrize(
    ("images", "annotations", "problem"),
    [
        (np.zeros((2, 5, 6, 4), np.uint8), np.zeros((2, 5, 6), np.int16), r"imgs\.npy has shape"),
        (np.zeros((2, 5, 6), np.uint8), np.zeros((2, 3, 5, 6), np.int16), r"anns\.npy holds int16"),
        (np.zeros((2, 5, 6), np.uint8), np.zeros((2, 5, 6), np.float32), r"anns\.npy holds float32"),
        (np.zeros((2, 5, 6), np.uint8), np.zeros((3, 5, 6), np.int16), "they must be equal"),
        (np.zeros((2, 5, 6), np.uint8), np.full((2, 5, 6), -5, np.int16), r"negative labels \(down to -5\)"),
        (np.zeros((2, 5, 6), np.uint8), np.array([None]), "damaged or pickled"),
        (np.zeros((0, 5, 6), np.uint8), np.zeros((0, 5, 6), np.int16), "no samples"),
    ],
)
def test_samcell_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, images: np.ndarray, annotations: np.ndarray, problem: str
) -> None:
    np.save(tmp_path / "imgs.npy", images)
    np.save(tmp_path / "anns.npy", annotations, allow_pickle=True)
    with pytest.raises(ValueError, match=problem):
        convert_samcell(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="expected the folder of the images"):
        convert_livecell({"train": tmp_path / "a.json"}, tmp_path / "absent", out)
    with pytest.raises(FileNotFoundError, match="expected a folder of images and their _masks files"):
        convert_cellpose({"train": tmp_path / "absent"}, out)
    with pytest.raises(FileNotFoundError, match="expected the folder stage1_train"):
        convert_dsb2018(tmp_path / "absent", out)
    with pytest.raises(FileNotFoundError, match=r"expected imgs\.npy and anns\.npy"):
        convert_samcell(tmp_path / "absent", out)


def test_a_conversion_never_adds_to_a_folder_with_results(tmp_path: Path) -> None:
    pair(tmp_path / "train", "000_img.png", "000_masks.png")
    convert_cellpose({"train": tmp_path / "train"}, tmp_path / "out")
    before = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    with pytest.raises(FileExistsError, match="out exists already"):
        convert_cellpose({"train": tmp_path / "train"}, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == before


DIES_AT_THE_SECOND_SAMPLE = """
import os, sys
import numpy as np
from dinocell_io import Image, NewSample, write_dataset

def samples():
    pixels = np.zeros((1, 9, 9), np.uint8)
    yield NewSample("a", Image(pixels, ("C0",), None, False, "a"), np.ones((9, 9), int))
    os.kill(os.getpid(), 9)

write_dataset(sys.argv[1], samples())
"""


@pytest.mark.skipif(os.name != "posix", reason="kills with a POSIX signal")
def test_a_killed_conversion_leaves_no_dataset(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", DIES_AT_THE_SECOND_SAMPLE, str(out)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".out.")
    assert [path.name for path in (left / "images").iterdir()] == ["a.png"]
    assert not out.exists()
