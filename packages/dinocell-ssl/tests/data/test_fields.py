import numpy as np
import pytest

from dinocell_io import Image, write_image
from dinocell_io.testing import ObjectServer
from dinocell_ssl.data.fields import LeftOutWarning, open_folders, open_prefix


def plane(seed=0, shape=(8, 9), dtype=np.uint16):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape).astype(dtype)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    write_image(path, Image(pixels, tuple(f"C{index}" for index in range(len(pixels))), None, False, str(path)))


def test_every_image_below_a_folder_is_a_field(tmp_path):
    write(tmp_path / "b.png", plane(0))
    write(tmp_path / "deep" / "er" / "a.tif", plane(1))
    (tmp_path / "notes.txt").write_text("no image")
    write(tmp_path / ".hidden" / "c.png", plane(2))
    fields = open_folders([tmp_path])
    assert [fields.name(index).split("/")[-1] for index in range(len(fields))] == ["b.png", "a.tif"]
    np.testing.assert_array_equal(fields.read(0), plane(0)[None])


def test_sixteen_bit_pixels_of_several_channels_stay_as_they_are(tmp_path):
    pixels = np.stack([plane(0), plane(1), plane(2), plane(3)])
    write(tmp_path / "a.tif", pixels)
    read = open_folders([tmp_path]).read(0)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, pixels)


def test_rgb_is_one_grey_channel(tmp_path):
    from PIL import Image as PillowImage

    PillowImage.fromarray(plane(0, (6, 7, 3), np.uint8)).save(tmp_path / "a.png")
    assert open_folders([tmp_path]).read(0).shape == (1, 6, 7)


def test_of_a_dataset_folder_only_training_images_are_taken_and_no_mask(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / "images" / f"{name}.png", plane(0))
        write(tmp_path / "masks" / f"{name}.png", plane(1))
    (tmp_path / "splits.csv").write_text("name,split\na,train\nb,test\nc,train\n")
    names = [path.name for (path,) in open_folders([tmp_path]).fields]
    assert names == ["a.png", "c.png"]
    assert len(open_folders([tmp_path], split=None)) == 3
    assert [path.name for (path,) in open_folders([tmp_path], split="test").fields] == ["b.png"]


@pytest.mark.parametrize("bucket", [False, True])
def test_labels_and_results_beside_images_are_left_out_and_named(tmp_path, monkeypatch, bucket):
    for name in ("a.tif", "deep/b.tif"):
        write(tmp_path / name, plane(0))
    for name in ("a_labels.tif", "a_overlay.png", "a_masks.tif", "deep/b_cp_masks.png", "deep/b_thumb.tif"):
        write(tmp_path / name, plane(1))
    with ObjectServer() as server:
        if bucket:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
            server.objects |= {f"x/{p.relative_to(tmp_path).as_posix()}": b"x" for p in tmp_path.rglob("*.*")}
        with pytest.warns(LeftOutWarning) as told:
            fields = open_prefix("s3://bucket/x/") if bucket else open_folders([tmp_path])
    assert len(fields) == 2
    messages = sorted(str(warning.message).partition(": left out ")[2] for warning in told)
    assert messages == [
        "1 file, deep/b_thumb.tif: a thumbnail beside its image",
        "4 files, a_labels.tif, a_masks.tif, a_overlay.png and 1 more: "
        "labels or a result beside the image of that name",
    ]


def test_images_of_a_split_are_known_by_their_names_without_any_suffix(tmp_path):
    write(tmp_path / "images" / "Ho\u0308he.ome.tif", plane(0))
    write(tmp_path / "images" / "b.tif", plane(1))
    (tmp_path / "splits.csv").write_text("name,split\nH\u00f6he,train\nb,val\n", encoding="utf-8")
    assert [path.name for (path,) in open_folders([tmp_path]).fields] == ["Ho\u0308he.ome.tif"]
    (tmp_path / "splits.csv").write_text("name,split\nb\n")
    with pytest.raises(ValueError, match=r"splits\.csv, line 2 has 1 cell, expected 2"):
        open_folders([tmp_path])


def test_files_of_one_field_are_joined_by_the_pattern(tmp_path):
    for well in ("A01", "B02"):
        for channel, seed in (("GFP", 1), ("DAPI", 0)):
            write(tmp_path / f"{well}_s1_{channel}.tif", plane(seed))
    write(tmp_path / "thumbnail.tif", plane(5))
    fields = open_folders([tmp_path], channel_pattern=r"(?P<well>[A-Z]\d\d)_(?P<site>s\d)_(?P<channel>\w+)\.")
    assert len(fields) == 2
    np.testing.assert_array_equal(fields.read(0), np.stack([plane(0), plane(1)]))  # DAPI before GFP


def test_two_files_of_one_channel_are_refused(tmp_path):
    write(tmp_path / "A01_s1_DAPI.tif", plane(0))
    write(tmp_path / "A01_s2_DAPI.tif", plane(0))
    with pytest.raises(ValueError, match="both channel 'DAPI' of one field"):
        open_folders([tmp_path], channel_pattern=r"(?P<well>[A-Z]\d\d)_.*_(?P<channel>\w+)\.")


def test_a_pattern_without_its_groups_is_refused(tmp_path):
    write(tmp_path / "a.png", plane(0))
    with pytest.raises(ValueError, match=r"it needs \(\?P<channel>"):
        open_folders([tmp_path], channel_pattern=r"(?P<field>.*)\.")


def test_channels_of_different_sizes_are_refused_when_read(tmp_path):
    write(tmp_path / "a_1.tif", plane(0))
    write(tmp_path / "a_2.tif", plane(0, (5, 5)))
    with pytest.raises(ValueError, match="differ in size or dtype"):
        open_folders([tmp_path], channel_pattern=r"(?P<field>\w)_(?P<channel>\d)").read(0)


def test_empty_and_missing_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no images; expected .png"):
        open_folders([tmp_path])
    with pytest.raises(FileNotFoundError, match="does not exist; give a folder"):
        open_folders([tmp_path / "missing"])
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file; give the folder it lies in"):
        open_folders([tmp_path / "file"])


def test_folders_without_the_split_or_the_pattern_say_how_many_images_there_are(tmp_path):
    write(tmp_path / "images" / "a.png", plane(0))
    (tmp_path / "splits.csv").write_text("name,split\na,val\n")
    with pytest.raises(ValueError, match=r"none of the 1 images in .* is in the split 'train'"):
        open_folders([tmp_path])
    with pytest.raises(ValueError, match=r"none of the 1 images in .*, such as a.png, matches data.channel_pattern"):
        open_folders([tmp_path], channel_pattern=r"(?P<field>z)(?P<channel>z)", split=None)


def test_a_pattern_that_is_no_regular_expression_is_refused(tmp_path):
    write(tmp_path / "a.png", plane(0))
    with pytest.raises(ValueError, match=r"'\(' is not a regular expression \(missing \).*an example is"):
        open_folders([tmp_path], channel_pattern="(")


def test_fields_are_resampled_to_one_pixel_size_and_those_without_a_size_cannot_be_read(tmp_path):
    pixels = np.repeat(np.repeat(plane(0, (1, 6, 8)), 2, axis=1), 2, axis=2)
    for name, size in (("a", 0.5), ("b", 1.0), ("c", None), ("d", 0.2)):
        write_image(tmp_path / f"{name}.ome.tif", Image(pixels, ("DNA",), size, False, name))
    fields = open_folders([tmp_path], pixel_size_um=1.0)
    assert fields.read(0).shape == (1, 6, 8)
    assert fields.read(0).dtype == np.uint16
    np.testing.assert_array_equal(fields.read(0), pixels[:, ::2, ::2])  # each is the mean of four equal pixels
    np.testing.assert_array_equal(fields.read(1), pixels)
    with pytest.raises(ValueError, match=r"c.ome.tif has no pixel size and cannot be resampled to 1 um"):
        fields.read(2)
    with pytest.raises(ValueError, match=r"d.ome.tif has pixels of 0.2 um and cannot be resampled to 1 um"):
        fields.read(3)
