import csv
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from torch import nn

from dinocell_io import Image, read_image, read_labels
from dinocell_seg.exports import overlay
from dinocell_seg.normalize import prepare
from dinocell_seg.output_files import output_stem
from dinocell_seg.pipeline import DINOCellPipeline
from dinocell_seg.plane_choice import PlaneChoice
from dinocell_seg.segment import open_image_to_segment, segment_file, segment_image, write_segmentation
from dinocell_seg.settings import Thresholds
from dinocell_seg.watershed import labels_from_distance_map, median_diameter


@pytest.fixture
def pipeline(stand_in: nn.Module) -> DINOCellPipeline:
    return DINOCellPipeline(
        stand_in, device="cpu", precision="fp32", tile=64, overlap=16, thresholds={"peak": 0.7, "fill": 0.5}
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_one_image_becomes_labels_with_confidences(pipeline: DINOCellPipeline, three_discs: np.ndarray) -> None:
    segmentation = segment_image(three_discs, pipeline)
    assert segmentation.num_cells == 3 == segmentation.labels.max()
    assert segmentation.confidence.shape == (3,)
    assert (segmentation.confidence > 0).all()
    assert set(segmentation.seconds) == {"normalize", "network", "labels"}
    np.testing.assert_array_equal(segmentation.labels, pipeline.run(three_discs))


def test_one_file_becomes_all_its_outputs(pipeline: DINOCellPipeline, three_discs: np.ndarray, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "well A1.tif", three_discs)
    result = segment_file(tmp_path / "well A1.tif", tmp_path / "out", pipeline, save_distance_map=True)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "well A1_labels.tif",
        "well A1_cells.csv",
        "well A1_overlay.png",
        "well A1_run.json",
        "well A1_distance_map.tif",
    }
    assert result.num_cells == 3
    expected = segment_image(three_discs, pipeline)
    np.testing.assert_array_equal(read_labels(result.files["labels"]), expected.labels)
    np.testing.assert_array_equal(tifffile.imread(result.files["distance_map"]), expected.distance_map)
    assert [row["label"] for row in rows_of(result.files["cells"])] == ["1", "2", "3"]
    overlay = cv2.imread(str(result.files["overlay"]))
    assert overlay.shape == (90, 120, 3)


def test_the_run_file_says_how_the_result_was_made(
    pipeline: DINOCellPipeline, three_discs: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), three_discs)
    run = json.loads(segment_file(path, tmp_path, pipeline).files["run"].read_text())
    assert run["input"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert run["input"]["shape"] == [1, 90, 120]
    assert run["result"]["num_cells"] == 3
    assert run["result"]["files"]["labels"] == "a_labels.tif"
    assert run["settings"]["thresholds"] == Thresholds(peak=0.7, fill=0.5).model_dump()
    assert run["normalization"]["low_value"] == 300
    assert run["normalization"]["high_value"] == 2000
    assert (run["precision"], run["device"], run["scale"]) == ("fp32", "cpu", 1.0)
    assert set(run["seconds"]) == {"read", "normalize", "network", "labels", "write"}
    assert run["peak_rss_bytes"] > 10_000_000
    assert run["software"]["torch"]
    assert run["prominence_used"] is None
    assert run["notes"] == []


def test_the_record_holds_the_prominence_that_was_used(
    stand_in: nn.Module, three_discs: np.ndarray, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), three_discs)
    thresholds = {"peak": 0.7, "fill": 0.5, "prominence": 0.1, "full_prominence_px": 100}
    pipeline = DINOCellPipeline(stand_in, device="cpu", precision="fp32", thresholds=thresholds)
    segmentation = segment_image(three_discs, pipeline)
    median = median_diameter(labels_from_distance_map(segmentation.distance_map, peak=0.7, fill=0.5, prominence=0.1))
    assert 0 < median < 100, "test invalid"
    run = json.loads(segment_file(tmp_path / "a.png", tmp_path, pipeline).files["run"].read_text())
    assert run["prominence_used"] == pytest.approx(0.1 * median / 100)


def test_the_hash_is_of_the_bytes_that_were_read(
    pipeline: DINOCellPipeline, three_discs: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), three_discs)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    opened = open_image_to_segment(path, PlaneChoice())
    cv2.imwrite(str(path), three_discs[::-1])  # replaced while the network works
    written = write_segmentation(opened, segment_image(opened.plane, pipeline), tmp_path, pipeline)
    assert json.loads(written.files["run"].read_text())["input"]["sha256"] == before


def test_a_file_that_changes_while_it_is_read_is_refused(
    pipeline: DINOCellPipeline, three_discs: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), three_discs)

    def read_and_rewrite(uri: Path, **choice: object) -> Image:
        image = read_image(uri, **choice)
        cv2.imwrite(str(path), np.zeros((9, 9), np.uint8))
        return image

    monkeypatch.setattr("dinocell_seg.segment.read_image", read_and_rewrite)
    with pytest.raises(ValueError, match=r"a.png was changed while it was read; segment it again when it is complete"):
        segment_file(path, tmp_path / "out", pipeline)
    assert not (tmp_path / "out").exists()


def test_a_pixel_size_that_cannot_resize_the_image_is_noted(
    stand_in: nn.Module, three_discs: np.ndarray, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), three_discs)
    pipeline = DINOCellPipeline(stand_in, device="cpu", precision="fp32", pixel_size_um=0.5)
    run = json.loads(segment_file(tmp_path / "a.png", tmp_path, pipeline).files["run"].read_text())
    assert "--pixel-size gives the table its unit but does not resize the image" in run["notes"][0]


def test_the_channel_that_was_used_is_recorded(
    pipeline: DINOCellPipeline, three_discs: np.ndarray, tmp_path: Path
) -> None:
    stack = np.stack([three_discs[::-1], three_discs])
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "CYX", "Channel": {"Name": ["DNA", "ER"]}})
    result = segment_file(tmp_path / "a.ome.tif", tmp_path, pipeline, channel="er")
    assert result.files["labels"].name == "a_labels.tif"
    run = json.loads(result.files["run"].read_text())
    assert run["input"]["channel_used"] == "ER"
    row = rows_of(result.files["cells"])[0]
    assert float(row["mean_ER"]) > float(row["mean_DNA"])


def test_the_pixel_size_of_the_file_gives_micrometres(
    pipeline: DINOCellPipeline, three_discs: np.ndarray, tmp_path: Path
) -> None:
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        three_discs,
        metadata={
            "axes": "YX",
            "PhysicalSizeX": 0.5,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.5,
            "PhysicalSizeYUnit": "µm",
        },
    )
    row = rows_of(segment_file(tmp_path / "a.ome.tif", tmp_path, pipeline).files["cells"])[0]
    assert float(row["area_um2"]) == pytest.approx(float(row["area_px"]) / 4)


def test_no_cells_is_a_result_like_any_other(pipeline: DINOCellPipeline, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((50, 60), 7, np.uint8))
    result = segment_file(tmp_path / "empty.png", tmp_path / "out", pipeline)
    assert result.num_cells == 0
    assert read_labels(result.files["labels"]).max() == 0
    assert rows_of(result.files["cells"]) == []
    assert result.files["cells"].read_text().startswith("label,area_px,")
    assert json.loads(result.files["run"].read_text())["result"]["num_cells"] == 0


def test_several_channels_without_a_choice_are_refused_and_nothing_is_written(
    pipeline: DINOCellPipeline, three_discs: np.ndarray, tmp_path: Path
) -> None:
    stack = np.stack([three_discs, three_discs])
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(ValueError, match="C0, C1"):
        segment_file(tmp_path / "a.tif", tmp_path / "out", pipeline)
    assert not (tmp_path / "out").exists()


def test_nan_pixels_are_refused(pipeline: DINOCellPipeline) -> None:
    image = Image(np.full((1, 9, 9), np.nan, np.float32), ("C0",), None, False, "drawn")
    with pytest.raises(ValueError, match="81 NaN"):
        segment_image(image, pipeline)


@pytest.mark.parametrize(
    ("uri", "stem"),
    [
        ("a/b.tif", "b"),
        ("b.OME.TIFF", "b"),
        ("b.c.png", "b.c"),
        (Path("x") / "b.ome.tif", "b"),
        ("file:///data/b.tif", "b"),
        ("C:\\data\\b.tif", "b"),
        ("data/b.ome.zarr", "b"),
        ("s3://bucket/a plate/b.zarr/", "b"),
    ],
)
def test_outputs_are_named_after_the_file(uri: str | Path, stem: str) -> None:
    assert output_stem(uri) == stem


def test_the_written_overlay_has_the_contrast_of_the_run(
    stand_in: nn.Module, three_discs: np.ndarray, tmp_path: Path
) -> None:
    plane = (three_discs.astype(np.float32) + np.random.default_rng(0).random(three_discs.shape)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", plane)
    settings = {"low_percentile": 30.0, "high_percentile": 60.0, "robust": False}
    pipeline = DINOCellPipeline(stand_in, device="cpu", tile=64, overlap=16, normalization=settings)
    files = segment_file(tmp_path / "a.tif", tmp_path / "out", pipeline).files
    labels = read_labels(files["labels"])
    written = cv2.imread(str(files["overlay"]))[..., ::-1]
    np.testing.assert_array_equal(written, overlay(prepare(plane, pipeline.settings.normalization), labels))
    assert (written != overlay(prepare(plane), labels)).any(), "test invalid"


def test_an_image_that_cannot_be_written_leaves_no_files(
    pipeline: DINOCellPipeline, three_discs: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), three_discs)

    def full(*arguments: object, **options: object) -> None:
        assert (tmp_path / "out" / "a_labels.tif").exists(), "test invalid"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dinocell_seg.segment.write_overlay", full)
    with pytest.raises(OSError, match="No space left"):
        segment_file(tmp_path / "a.png", tmp_path / "out", pipeline)
    assert not list((tmp_path / "out").iterdir())
