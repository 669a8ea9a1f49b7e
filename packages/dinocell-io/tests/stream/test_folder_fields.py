import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from dinocell_io import FieldStream, Image, StreamLimits, open_folder_fields, read_image, write_image
from dinocell_io.cache.cached_store import CachedStore
from dinocell_io.cache.ram_cache import RamCache
from dinocell_io.stores.s3_store import S3Store
from dinocell_io.testing import ObjectServer

ONE_BY_ONE = StreamLimits(num_requests=1, num_decoders=1, fields_ahead=1)


def write_folder(folder: Path) -> None:
    rng = np.random.default_rng(0)
    (folder / "plate 1").mkdir()
    two = rng.integers(0, 60000, (2, 12, 9)).astype(np.uint16)
    write_image(folder / "plate 1" / "a b.ome.tif", Image(two, ("DNA", "ER"), 0.5, False, "a"))
    colour = rng.integers(0, 255, (3, 8, 8)).astype(np.uint8)
    write_image(folder / "b.png", Image(colour, ("red", "green", "blue"), None, True, "b"))


def test_each_image_of_a_folder_is_a_field_with_the_channels_it_holds(tmp_path):
    write_folder(tmp_path)
    fields = open_folder_fields(tmp_path)
    assert len(fields) == 2
    assert fields.names == ("b.png", "plate 1/a b.ome.tif")
    colour, two = FieldStream(fields, seed=None)
    assert list(colour.channels) == ["red", "green", "blue"]
    assert colour.pixel_size_um is None
    assert list(two.channels) == ["DNA", "ER"]
    assert two.pixel_size_um == 0.5
    assert two.key == "plate 1/a b.ome.tif"
    stored = read_image(tmp_path / "plate 1" / "a b.ome.tif")
    np.testing.assert_array_equal(two.channels["ER"], stored.pixels[1])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Cam1", "Cam1", "DAPI"), ["Cam1", "Cam1 2", "DAPI"]),
        (("Cam1", "Cam1", "Cam1 2"), ["Cam1", "Cam1 3", "Cam1 2"]),
        (("Cam1 2", "Cam1", "Cam1", "Cam1"), ["Cam1 2", "Cam1", "Cam1 3", "Cam1 4"]),
    ],
)
def test_channels_of_one_name_are_all_streamed(tmp_path, names, expected):
    pixels = np.random.default_rng(0).integers(0, 60000, (len(names), 12, 9)).astype(np.uint16)
    write_image(tmp_path / "a.ome.tif", Image(pixels, names, None, False, "a"))
    (field,) = FieldStream(open_folder_fields(tmp_path))
    assert list(field.channels) == expected
    np.testing.assert_array_equal(list(field.channels.values()), read_image(tmp_path / "a.ome.tif").pixels)


def test_hidden_files_folders_and_other_kinds_are_left_out(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".trash").mkdir()
    os.link(tmp_path / "b.png", tmp_path / ".trash" / "c.png")
    assert open_folder_fields(tmp_path).names == ("b.png", "plate 1/a b.ome.tif")


def test_a_folder_list_is_equal_after_pickling_and_differs_when_a_file_is_added(tmp_path):
    write_folder(tmp_path)
    fields = open_folder_fields(str(tmp_path))
    assert pickle.loads(pickle.dumps(fields)).fingerprint == fields.fingerprint
    os.link(tmp_path / "b.png", tmp_path / "c.png")
    assert open_folder_fields(tmp_path).fingerprint != fields.fingerprint


def test_a_damaged_image_is_told_by_its_own_name_and_replaced(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "c.png").write_bytes((tmp_path / "b.png").read_bytes()[:60])
    stream = FieldStream(open_folder_fields(tmp_path), seed=None, quarantine=tmp_path / "bad.jsonl", limits=ONE_BY_ONE)
    assert [one.key for one in stream] == ["b.png", "plate 1/a b.ome.tif", "plate 1/a b.ome.tif"]
    told = (tmp_path / "bad.jsonl").read_text()
    assert '"object_key": "c.png"' in told
    assert "dinocell-" not in told


def test_an_empty_or_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="not there is not a folder; expected one that holds images"):
        open_folder_fields(tmp_path / "not there")
    with pytest.raises(ValueError, match=r"holds no images; expected files with .*\.png"):
        open_folder_fields(tmp_path)


def test_an_image_of_one_value_is_quarantined_but_an_empty_channel_is_not(tmp_path):
    write_folder(tmp_path)
    flat = np.full((2, 5, 5), 9, np.uint16)
    write_image(tmp_path / "flat.tif", Image(flat, ("DNA", "ER"), None, False, "flat"))
    flat[1, 2, 2] = 0
    write_image(tmp_path / "one empty.tif", Image(flat, ("DNA", "ER"), None, False, "flat"))
    stream = FieldStream(open_folder_fields(tmp_path))
    assert {one.key for one in stream} == {"b.png", "plate 1/a b.ome.tif", "one empty.tif"}
    assert stream.report().failures == {("constant", ""): 1}


def test_a_prefix_of_a_bucket_is_a_folder_too(tmp_path, monkeypatch):
    write_folder(tmp_path)
    objects = {f"set one/{path.relative_to(tmp_path).as_posix()}": path.read_bytes() for path in tmp_path.rglob("*.*")}
    with ObjectServer({**objects, "set one/.hidden.png": b"", "set two.png": b""}) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        fields = open_folder_fields("s3://bucket/set one")
        assert fields.names == ("b.png", "plate 1/a b.ome.tif")
        got = list(FieldStream(fields, seed=None))
        cached = CachedStore(S3Store("bucket", unsigned=True), ram=RamCache(max_bytes=1 << 20))
        again = list(FieldStream(fields, seed=None, store=cached))
    for one, same, local in zip(got, again, FieldStream(open_folder_fields(tmp_path), seed=None), strict=True):
        assert one.key == local.key
        for channel, plane in local.channels.items():
            np.testing.assert_array_equal(one.channels[channel], plane)
            np.testing.assert_array_equal(same.channels[channel], plane)
