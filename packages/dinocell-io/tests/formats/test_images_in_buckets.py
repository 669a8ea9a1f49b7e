"""Images read from an S3 server over HTTP: right pixels or the store's own failure, also where it breaks off."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dinocell_io import describe_image, open_image, read_image, read_labels, write_labels
from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.store import AccessDenied, NotFound
from dinocell_io.testing import Fault, ObjectServer

PYRAMID = np.random.default_rng(0).integers(0, 60000, (1600, 1800)).astype(np.uint16)
SMALL = np.random.default_rng(1).integers(0, 60000, (40, 50)).astype(np.uint16)
LABELS = np.random.default_rng(2).integers(0, 500, (1100, 1050)).astype(np.uint16)


def tiff_bytes(*levels: np.ndarray) -> bytes:
    content = io.BytesIO()
    with tifffile.TiffWriter(content, ome=True) as writer:
        options = {"tile": (128, 128), "photometric": "minisblack"}
        writer.write(levels[0], subifds=len(levels) - 1, metadata={"axes": "YX"}, **options)
        for level in levels[1:]:
            writer.write(level, subfiletype=1, **options)
    return content.getvalue()


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("bucket")
    write_labels(folder / "plate.zarr", LABELS, pixel_size_um=0.5)
    group = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {
        **group,
        "a plate/large.ome.tif": tiff_bytes(PYRAMID, PYRAMID[::2, ::2]),
        "a plate/small.ome.tif": tiff_bytes(SMALL),
    }


@pytest.fixture
def server(objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ObjectServer]:
    with ObjectServer(objects) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-tests")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-tests")
        yield server


def test_a_region_of_a_pyramid_is_read_by_ranges(server: ObjectServer) -> None:
    image = open_image("s3://bucket/a plate/large.ome.tif")
    assert [level.downsample for level in image.levels] == [1.0, 2.0]
    assert image.uri == "s3://bucket/a plate/large.ome.tif"
    np.testing.assert_array_equal(image.read(np.s_[500:700, 900:1100])[0], PYRAMID[500:700, 900:1100])
    np.testing.assert_array_equal(image.read(level=1)[0], PYRAMID[::2, ::2])


def test_a_small_image_is_one_request_for_its_bytes(server: ObjectServer) -> None:
    np.testing.assert_array_equal(read_image("s3://bucket/a plate/small.ome.tif").pixels[0], SMALL)
    assert [request.method for request in server.requests].count("GET") == 1
    assert describe_image("s3://bucket/a plate/small.ome.tif").channels[0].maximum == SMALL.max()


def test_a_zarr_group_is_read(server: ObjectServer) -> None:
    np.testing.assert_array_equal(read_labels("s3://bucket/plate.zarr"), LABELS)
    image = open_image("s3://bucket/plate.zarr/labels/cells")
    assert image.pixel_size_um == 0.5
    np.testing.assert_array_equal(image.read(np.s_[1000:1100, 1000:1050])[0], LABELS[1000:1100, 1000:1050])


@pytest.mark.parametrize("fault", [Fault.TRUNCATED, Fault.RESET, Fault.INTERNAL_ERROR])
def test_a_transfer_that_breaks_off_gives_the_right_pixels(server: ObjectServer, fault: Fault) -> None:
    image = open_image("s3://bucket/a plate/large.ome.tif")
    server.fail("a plate/large.ome.tif", fault)
    np.testing.assert_array_equal(image.read(np.s_[0:300, 0:200])[0], PYRAMID[:300, :200])
    server.fail("plate.zarr/labels/cells/0/1/1", fault)
    np.testing.assert_array_equal(read_labels("s3://bucket/plate.zarr"), LABELS)


def test_a_missing_object_and_a_denied_chunk_are_failures_and_not_black(server: ObjectServer) -> None:
    with pytest.raises(NotFound, match=r"absent\.tif"):
        open_image("s3://bucket/absent.tif")
    server.always_fail("plate.zarr/labels/cells/0/1/1", Fault.DENIED)
    with pytest.raises(AccessDenied, match=r"plate\.zarr/labels/cells/0/1/1"):
        read_labels("s3://bucket/plate.zarr")


def test_labels_are_written_to_a_bucket(server: ObjectServer) -> None:
    write_labels("s3://bucket/results/a_labels.tif", LABELS)
    np.testing.assert_array_equal(read_labels("s3://bucket/results/a_labels.tif"), LABELS)
    store, key = open_store("s3://bucket/results/a_labels.tif")
    assert store.get(key)[:2] == b"II"
