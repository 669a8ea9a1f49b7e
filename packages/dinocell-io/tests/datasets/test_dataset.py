"""The simple dataset folder: pairs by name, splits from the table, nothing lost in silence."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from dinocell_io import Image, NewSample, open_dataset, read_image, read_labels, read_sample, read_splits, write_dataset


def add(folder: Path, kind: str, *names: str, side: int = 6) -> None:
    (folder / kind).mkdir(exist_ok=True)
    for name in names:
        PillowImage.fromarray(np.ones((side, side), np.uint8)).save(folder / kind / name)


def test_images_and_masks_pair_by_name_across_suffixes(tmp_path: Path) -> None:
    add(tmp_path, "images", "b.tif", "a.png", "c.JPG", "d.ome.tif")
    add(tmp_path, "masks", "a.tif", "b.png", "c.png")
    np.save(tmp_path / "masks" / "d.npy", np.ones((6, 6), int))
    samples = open_dataset(tmp_path)
    assert [sample.name for sample in samples] == ["a", "b", "c", "d"]
    assert [sample.image_path.name for sample in samples] == ["a.png", "b.tif", "c.JPG", "d.ome.tif"]
    assert [sample.labels_path.name for sample in samples] == ["a.tif", "b.png", "c.png", "d.npy"]
    assert {(sample.split, sample.group, sample.modality) for sample in samples} == {(None, None, None)}


def test_hidden_and_foreign_files_are_not_looked_at(tmp_path: Path) -> None:
    add(tmp_path, "images", "a.png", ".a.0f.partial.png")
    add(tmp_path, "masks", "a.png")
    (tmp_path / "images" / "Thumbs.db").touch()
    assert len(open_dataset(str(tmp_path))) == 1


def test_the_table_gives_split_group_and_modality(tmp_path: Path) -> None:
    add(tmp_path, "images", "a.png", "b.png")
    add(tmp_path, "masks", "a.png", "b.png")
    (tmp_path / "splits.csv").write_text(
        "\ufeffname,extra,field_group,modality,split\nb,1,g2,phase,test\na,2,,,\n", encoding="utf-8"
    )
    a, b = open_dataset(tmp_path)
    assert (a.split, a.group, a.modality) == (None, None, None)
    assert (b.split, b.group, b.modality) == ("test", "g2", "phase")
    assert open_dataset(tmp_path, split="test") == (b,)
    with pytest.raises(ValueError, match=r"no split 'val'; it has \(none\), test"):
        open_dataset(tmp_path, split="val")


def test_unpaired_files_are_listed(tmp_path: Path) -> None:
    add(tmp_path, "images", "a.png", "b.png", "c.png")
    add(tmp_path, "masks", "c.png", "d.png")
    with pytest.raises(ValueError, match=r"images without a mask.*: a, b; masks without an image.*: d\."):
        open_dataset(tmp_path)


def test_a_long_list_is_cut_with_its_length(tmp_path: Path) -> None:
    add(tmp_path, "images", *(f"{index:02d}.png" for index in range(14)))
    add(tmp_path, "masks")
    with pytest.raises(ValueError, match=r"00, 01, .*, 09 and 4 more"):
        open_dataset(tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    add(tmp_path, "images", "a.png", "a.tif")
    add(tmp_path, "masks", "a.png")
    with pytest.raises(ValueError, match=r"several files of one name: a\.png, a\.tif; keep one"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("name,split\na,train\nb,val\n", "names in splits.csv without an image: b"),
        ("name,split\n", "images without a row in splits.csv: a"),
        ("name,split\na,train\na,val\n", "more than once: a"),
        ("image,split\na,train\n", "has the columns image, split, separated by commas; name missing"),
        ("", r"columns \(none\), separated by commas; name and split missing"),
        ("name;split\na;train\n", "has the columns name;split, separated by commas; name and split missing"),
        ("name,split,split\na,train,val\n", "has the columns split more than once"),
        ("name,split\na\n", r"splits\.csv, line 2 has 1 cell, expected 2: name, split"),
        ("name,split\n\na,train,val\n", r"splits\.csv, line 3 has 3 cells, expected 2: name, split"),
        ("name,split\n" + "a" * 200_000 + ",train\n", r"splits\.csv, line \d: field larger than field limit"),
    ],
)
def test_a_table_that_disagrees_with_the_folder_is_refused(tmp_path: Path, table: str, problem: str) -> None:
    add(tmp_path, "images", "a.png")
    add(tmp_path, "masks", "a.png")
    (tmp_path / "splits.csv").write_text(table)
    with pytest.raises(ValueError, match=problem):
        open_dataset(tmp_path)


def test_a_table_in_another_encoding_is_refused_by_name(tmp_path: Path) -> None:
    add(tmp_path, "images", "a.png")
    add(tmp_path, "masks", "a.png")
    for text in ("name,split,group\na,train,H\u00f6he\n".encode("latin-1"), "name,split\na,train\n".encode("utf-16")):
        (tmp_path / "splits.csv").write_bytes(text)
        with pytest.raises(ValueError, match=r"splits\.csv is not text in UTF-8 .*save it as 'CSV UTF-8'"):
            open_dataset(tmp_path)


def test_a_table_that_is_a_link_to_nothing_is_not_passed_over(tmp_path: Path) -> None:
    add(tmp_path, "images", "a.png")
    add(tmp_path, "masks", "a.png")
    (tmp_path / "splits.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(FileNotFoundError, match=r"splits\.csv"):
        open_dataset(tmp_path)


def test_blanks_empty_rows_and_parted_accents_of_a_table_do_no_harm(tmp_path: Path) -> None:
    add(tmp_path, "images", "Ho\u0308he.png", "b.png")
    add(tmp_path, "masks", "H\u00f6he.png", "b.png")
    (tmp_path / "splits.csv").write_text("name, split,\nHo\u0308he, train ,\nb,val,,,\n,,\n", encoding="utf-8")
    assert [(sample.name, sample.split) for sample in open_dataset(tmp_path)] == [("H\u00f6he", "train"), ("b", "val")]


def test_a_large_table_opens_in_time_that_grows_with_its_rows(tmp_path: Path) -> None:
    def seconds(num_rows: int) -> float:
        table = tmp_path / f"{num_rows}.csv"
        table.write_text("name,split\n" + "".join(f"{row},train\n" for row in range(num_rows)))
        begin = time.process_time()
        assert len(read_splits(table)) == num_rows
        return time.process_time() - begin

    seconds(100)
    assert seconds(40_000) < 30 * seconds(4_000)  # 100 times if every name were compared with every other


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"images does not exist; a dataset is a folder with images/"):
        open_dataset(tmp_path)
    add(tmp_path, "images")
    add(tmp_path, "masks")
    with pytest.raises(ValueError, match="holds no images"):
        open_dataset(tmp_path)


def test_labels_of_another_size_are_refused_when_read(tmp_path: Path) -> None:
    add(tmp_path, "images", "a.png")
    add(tmp_path, "masks", "a.png", side=7)
    (sample,) = open_dataset(tmp_path)
    with pytest.raises(ValueError, match=r"a\.png is 6 x 6 pixels but .*a\.png is 7 x 7; they must be equal"):
        read_sample(sample)


def new_sample(name: str, labels: np.ndarray, **more: str) -> NewSample:
    image = Image(np.full((1, *labels.shape), 5, np.uint8), ("C0",), None, False, name)
    return NewSample(name, image, labels, **more)


def test_a_written_dataset_opens_with_objects_in_raster_order(tmp_path: Path) -> None:
    labels = np.array([[0, 9, 9], [4, 0, 9], [4, 7, 9]])
    folder = write_dataset(tmp_path / "set", [new_sample("b", labels, split="val", group="g", modality="phase")])
    assert folder == tmp_path / "set"
    (sample,) = open_dataset(folder)
    assert (sample.split, sample.group, sample.modality) == ("val", "g", "phase")
    assert read_labels(sample.labels_path).tolist() == [[0, 1, 1], [2, 0, 1], [2, 3, 1]]
    table = (folder / "splits.csv").read_text()
    assert table == "name,split,field_group,modality,height,width,n_objects\nb,val,g,phase,3,3,3\n"


def test_an_image_file_is_copied_byte_for_byte(tmp_path: Path) -> None:
    add(tmp_path, "images", "photo.jpg")
    source = tmp_path / "images" / "photo.jpg"
    folder = write_dataset(tmp_path / "set", [NewSample("x", source, np.ones((6, 6), int))])
    assert (folder / "images" / "x.jpg").read_bytes() == source.read_bytes()


def test_many_channels_are_written_with_their_names(tmp_path: Path) -> None:
    image = Image(np.arange(8, dtype=np.uint16).reshape(2, 2, 2), ("DNA", "ER"), 0.5, False, "x")
    folder = write_dataset(tmp_path / "set", [NewSample("x", image, np.ones((2, 2), int))])
    (sample,) = open_dataset(folder)
    back = read_image(sample.image_path)
    assert back.channels == ("DNA", "ER")
    np.testing.assert_array_equal(back.pixels, image.pixels)


def test_more_than_65535_objects_are_written_as_tiff(tmp_path: Path) -> None:
    labels = np.arange(1, 270 * 270 + 1).reshape(270, 270)
    folder = write_dataset(tmp_path / "set", [new_sample("x", labels)])
    (sample,) = open_dataset(folder)
    assert sample.labels_path.suffix == ".tif"
    np.testing.assert_array_equal(read_labels(sample.labels_path), labels)


@pytest.mark.parametrize(
    ("samples", "problem"),
    [
        ([], "there are no samples to write"),
        ([new_sample("a", np.ones((2, 2), int))] * 2, "two samples are named 'a'"),
        ([new_sample("../a", np.ones((2, 2), int))], "cannot name the files"),
        ([new_sample(".a", np.ones((2, 2), int))], "cannot name the files"),
        (
            [NewSample("a", new_sample("a", np.ones((2, 2), int)).image, np.ones((2, 3), int))],
            "the image is 2 x 2 pixels, its labels 2 x 3",
        ),
    ],
)
def test_a_dataset_that_cannot_be_whole_is_not_written(tmp_path: Path, samples: list[NewSample], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        write_dataset(tmp_path / "set", samples)
    assert list(tmp_path.iterdir()) == []
