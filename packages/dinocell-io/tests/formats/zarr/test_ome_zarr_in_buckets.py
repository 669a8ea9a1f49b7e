"""OME-Zarr labels written to an S3 server: the objects of the local folder, all of them or none that a reader takes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dinocell_io import open_image, read_labels, write_label_rows, write_labels
from dinocell_io.formats.zarr.write import write_array, write_group
from dinocell_io.stores.store import AccessDenied, NotFound
from dinocell_io.testing import Fault, ObjectServer

LABELS = np.random.default_rng(2).integers(0, 500, (1100, 1050)).astype(np.uint16)
CHUNK = "new.zarr/labels/cells/0/1/0"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ObjectServer]:
    with ObjectServer() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-tests")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-tests")
        yield server


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_image_group(folder: Path, *, zarr_format: int) -> None:
    """An image of 80 x 60 pixels of 0.65 um with two levels."""
    datasets = [
        {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": [0.65 * 2**level] * 2}]}
        for level in range(2)
    ]
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    described = {"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}]}
    attributes = {"ome": {"version": "0.5", **described}} if zarr_format == 3 else described
    write_group(folder, attributes, zarr_format=zarr_format)
    for level, shape in enumerate([(80, 60), (40, 30)]):
        plane = np.ones(shape, np.uint16)
        write_array(folder / str(level), [plane], shape=shape, dtype=plane.dtype, chunk=128, zarr_format=zarr_format)


def test_labels_of_a_new_group_are_the_objects_of_the_local_folder(server: ObjectServer, tmp_path: Path) -> None:
    write_labels("s3://bucket/new.zarr", LABELS, pixel_size_um=0.5)
    write_labels(tmp_path / "new.zarr", LABELS, pixel_size_um=0.5)
    assert server.objects == files_below(tmp_path)
    np.testing.assert_array_equal(read_labels("s3://bucket/new.zarr"), LABELS)
    assert open_image("s3://bucket/new.zarr/labels/cells").pixel_size_um == 0.5


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_labels_beside_an_image_are_the_objects_of_the_local_folder(
    server: ObjectServer, tmp_path: Path, zarr_format: int
) -> None:
    folder = tmp_path / "plate 1.zarr"
    write_image_group(folder, zarr_format=zarr_format)
    if zarr_format == 2:
        (folder / ".zmetadata").write_text('{"metadata": {}, "zarr_consolidated_format": 1}')
    server.objects.update(files_below(tmp_path))
    labels = LABELS[:80, :60]
    for name in ("", "/labels/nuclei"):
        write_labels(f"s3://bucket/plate 1.zarr{name}", labels)
        write_labels(f"{folder}{name}", labels)
    assert server.objects == files_below(tmp_path)
    assert zarr_format == 3 or b'"labels/nuclei/1/.zarray"' in server.objects["plate 1.zarr/.zmetadata"]
    np.testing.assert_array_equal(read_labels("s3://bucket/plate 1.zarr", scene="nuclei"), labels)
    image = open_image("s3://bucket/plate 1.zarr/labels/cells")
    assert image.pixel_size_um == pytest.approx(0.65)
    assert [(level.height, level.width) for level in image.levels] == [(80, 60), (40, 30)]


def test_the_group_is_described_after_its_chunks_and_listed_last(server: ObjectServer) -> None:
    write_labels("s3://bucket/new.zarr", LABELS)
    written = [request.key.removeprefix("new.zarr/") for request in server.requests if request.method == "PUT"]
    described = ["labels/cells/.zattrs", "labels/cells/.zgroup", "labels/.zattrs", "labels/.zgroup"]
    assert written[:2] == [".zattrs", ".zgroup"]
    assert written[-4:] == described
    assert written.index("labels/cells/0/1/0") < written.index("labels/cells/0/.zarray")


def test_rows_larger_than_memory_go_to_a_bucket_as_they_come(server: ObjectServer) -> None:
    blocks = (LABELS[start : start + 300] for start in range(0, 1100, 300))
    write_label_rows("s3://bucket/new.zarr/labels/nuclei", blocks, shape=(1100, 1050), max_label=500)
    np.testing.assert_array_equal(read_labels("s3://bucket/new.zarr"), LABELS)


@pytest.mark.parametrize("fault", [Fault.INTERNAL_ERROR, Fault.THROTTLED, Fault.CLOSED])
def test_a_chunk_that_is_refused_once_is_put_again(server: ObjectServer, fault: Fault) -> None:
    server.fail(CHUNK, fault)
    write_labels("s3://bucket/new.zarr", LABELS)
    np.testing.assert_array_equal(read_labels("s3://bucket/new.zarr"), LABELS)


def test_a_write_that_fails_leaves_no_labels_and_the_next_one_writes_them(server: ObjectServer) -> None:
    server.always_fail(CHUNK, Fault.DENIED)
    with pytest.raises(AccessDenied, match=CHUNK):
        write_labels("s3://bucket/new.zarr", LABELS + 1)
    with pytest.raises(ValueError, match="holds 0 label images"):
        read_labels("s3://bucket/new.zarr")
    with pytest.raises(ValueError, match="cells"):
        open_image("s3://bucket/new.zarr/labels/cells")
    server.always_fail(CHUNK, Fault.RANGE_IGNORED)  # which puts do not meet
    write_labels("s3://bucket/new.zarr", LABELS)
    np.testing.assert_array_equal(read_labels("s3://bucket/new.zarr"), LABELS)


def test_rows_that_do_not_fit_leave_no_labels(server: ObjectServer) -> None:
    with pytest.raises(ValueError, match="got 300 rows, expected 1100"):
        write_label_rows("s3://bucket/new.zarr", [LABELS[:300]], shape=(1100, 1050))
    with pytest.raises(ValueError, match="holds 0 label images"):
        read_labels("s3://bucket/new.zarr")


def test_labels_in_a_bucket_are_not_replaced_and_must_have_the_images_size(
    server: ObjectServer, tmp_path: Path
) -> None:
    write_image_group(tmp_path / "a.zarr", zarr_format=2)
    server.objects.update(files_below(tmp_path))
    before = dict(server.objects)
    with pytest.raises(ValueError, match=r"s3://bucket/a\.zarr is an image of 80 x 60 pixels, its labels are 80 x 61"):
        write_labels("s3://bucket/a.zarr", LABELS[:80, :61])
    assert server.objects == before
    write_labels("s3://bucket/a.zarr", LABELS[:80, :60])
    before = dict(server.objects)
    with pytest.raises(FileExistsError, match=r"s3://bucket/a\.zarr has labels cells already"):
        write_labels("s3://bucket/a.zarr", LABELS[:80, :60] + 1)
    assert server.objects == before


def test_a_prefix_that_holds_something_else_is_refused(server: ObjectServer) -> None:
    server.objects["folder.zarr/thesis.txt"] = b"mine"
    with pytest.raises(ValueError, match=r"s3://bucket/folder\.zarr exists and is not a Zarr group"):
        write_labels("s3://bucket/folder.zarr", LABELS)
    assert list(server.objects) == ["folder.zarr/thesis.txt"]


def test_a_group_in_a_folder_called_labels_is_a_group(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    write_labels(tmp_path / "labels" / "a.zarr", LABELS[:20, :20])
    np.testing.assert_array_equal(read_labels(tmp_path / "labels" / "a.zarr"), LABELS[:20, :20])


def test_a_group_in_a_bucket_needs_no_zarr_in_its_name(server: ObjectServer, tmp_path: Path) -> None:
    write_image_group(tmp_path / "field", zarr_format=2)
    server.objects.update(files_below(tmp_path))
    assert open_image("s3://bucket/field").read().shape == (1, 80, 60)
    write_labels("s3://bucket/field", LABELS[:80, :60])
    np.testing.assert_array_equal(read_labels("s3://bucket/field"), LABELS[:80, :60])
    with pytest.raises(NotFound, match="no such object"):
        open_image("s3://bucket/other")
