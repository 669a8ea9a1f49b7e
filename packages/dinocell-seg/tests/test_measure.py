import csv
from pathlib import Path

import numpy as np
import pytest
from skimage.measure import regionprops_table
from skimage.morphology import convex_hull_image

from dinocell_io import Image
from dinocell_seg.measure import measure_cells, write_table

SAME_AS_SKIMAGE = {
    "label": "label",
    "area_px": "area",
    "centroid_y_px": "centroid-0",
    "centroid_x_px": "centroid-1",
    "bbox_top": "bbox-0",
    "bbox_left": "bbox-1",
    "bbox_bottom": "bbox-2",
    "bbox_right": "bbox-3",
    "major_axis_px": "axis_major_length",
    "minor_axis_px": "axis_minor_length",
    "eccentricity": "eccentricity",
    "equivalent_diameter_px": "equivalent_diameter_area",
    "perimeter_px": "perimeter",
    "mean_DNA": "intensity_mean-0",
    "min_DNA": "intensity_min-0",
    "max_DNA": "intensity_max-0",
    "mean_ER": "intensity_mean-1",
}


def image_of(*planes: np.ndarray, channels: tuple[str, ...]) -> Image:
    return Image(np.stack(planes), channels, None, False, "drawn")


def blobs(seed: int = 0, shape: tuple[int, int] = (80, 100)) -> np.ndarray:
    """Random ellipses over each other: fragments, holes, cells cut by the frame, missing labels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for label in range(1, 26):
        row, column = rng.random(2) * shape
        a, b, angle = rng.uniform(1, 14), rng.uniform(1, 8), rng.uniform(0, np.pi)
        u = (y - row) * np.cos(angle) + (x - column) * np.sin(angle)
        v = (x - column) * np.cos(angle) - (y - row) * np.sin(angle)
        labels[(u / a) ** 2 + (v / b) ** 2 < 1] = label
    return labels


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("block", [10_000, 250])
def test_measurements_equal_skimage(seed: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinocell_seg.row_blocks.BLOCK_PIXELS", block)
    labels = blobs(seed)
    rng = np.random.default_rng(seed)
    dna, er = rng.integers(0, 60_000, (2, *labels.shape)).astype(np.uint16)
    table = measure_cells(labels, image_of(dna, er, channels=("DNA", "ER")))
    names = {name.rsplit("-", 1)[0] if "-" in name else name for name in SAME_AS_SKIMAGE.values()}
    expected = regionprops_table(
        labels,
        np.stack([dna, er], -1),
        properties=[*sorted(names), "orientation"],
    )
    for ours, theirs in SAME_AS_SKIMAGE.items():
        np.testing.assert_allclose(table[ours], expected[theirs], atol=2e-4, rtol=1e-7, err_msg=ours)
    long = table["eccentricity"] > 0.5  # the axis of a round cell has no direction
    turned = (table["orientation_rad"] - expected["orientation"])[long]
    np.testing.assert_allclose(np.abs(np.sin(turned)), 0, atol=1e-6)


def test_the_brightest_pixel_of_an_integer_image_is_written_with_all_its_digits(tmp_path: Path) -> None:
    plane = np.full((3, 3), 4_294_967_291, np.uint32)
    plane[1, 1] = 123_456_789
    write_table(tmp_path / "cells.csv", measure_cells(np.ones((3, 3), np.int32), image_of(plane, channels=("C0",))))
    (row,) = csv.DictReader((tmp_path / "cells.csv").read_text().splitlines())
    assert (row["min_C0"], row["max_C0"]) == ("123456789", "4294967291")


def test_solidity_counts_the_pixels_of_the_convex_hull() -> None:
    labels = blobs(1)
    table = measure_cells(labels, image_of(labels.astype(np.uint16), channels=("C0",)))
    for label, area, solidity in zip(table["label"], table["area_px"], table["solidity"], strict=True):
        if np.ptp(np.argwhere(labels == label), axis=0).min() == 0:
            continue  # skimage has no hull of a line
        hull = convex_hull_image(labels == label, offset_coordinates=False, include_borders=True)
        assert area / solidity == pytest.approx(hull.sum(), abs=1), label


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (np.ones((1, 1)), 1),
        (np.ones((1, 6)), 1),
        (np.eye(4), 1),
        (np.ones((4, 5)), 1),
        (np.array([[1, 1, 1], [1, 0, 0], [1, 0, 0]]), 5 / 6),
    ],
)
def test_solidity_of_drawn_cells(cell: np.ndarray, expected: float) -> None:
    labels = np.pad(cell, 2).astype(np.int32)
    table = measure_cells(labels, image_of(labels.astype(np.uint8), channels=("C0",)))
    assert table["solidity"] == pytest.approx([expected])


def test_cells_at_the_frame_are_marked() -> None:
    labels = np.zeros((6, 6), np.int32)
    labels[0, 2], labels[3, 3], labels[5, 5] = 1, 2, 3
    table = measure_cells(labels, image_of(labels.astype(np.uint8), channels=("C0",)))
    assert table["touches_border"].tolist() == [True, False, True]


def test_micrometres_appear_with_the_pixel_size() -> None:
    labels = np.zeros((8, 8), np.int32)
    labels[2:6, 2:4] = 1
    image = image_of(labels.astype(np.uint8), channels=("C0",))
    assert not any("_um" in name for name in measure_cells(labels, image))
    table = measure_cells(labels, image, pixel_size_um=0.5)
    assert table["area_px"] == [8]
    assert table["area_um2"] == [2]
    assert table["centroid_y_um"] == [1.75]
    assert table["major_axis_um"] == table["major_axis_px"] / 2


def test_confidence_stays_with_its_cell_when_labels_are_missing() -> None:
    labels = np.zeros((5, 5), np.int32)
    labels[1, 1], labels[3, 3] = 1, 3
    table = measure_cells(
        labels,
        image_of(labels.astype(np.uint8), channels=("C0",)),
        confidence=np.float32([0.25, 0.5, 0.75]),
    )
    assert table["label"].tolist() == [1, 3]
    assert table["confidence"].tolist() == [0.25, 0.75]


def test_channels_with_odd_or_equal_names_get_distinct_columns() -> None:
    labels = np.ones((2, 2), np.int32)
    plane = labels.astype(np.uint8)
    table = measure_cells(labels, image_of(plane, plane, plane, channels=("a b/c", "ER", "ER")))
    assert [name for name in table if name.startswith("mean_")] == ["mean_a_b_c", "mean_ER_1", "mean_ER_2"]
    table = measure_cells(labels, image_of(plane, plane, plane, channels=("A", "A", "A_0")))
    assert len([name for name in table if name.startswith("mean_")]) == 3


def test_an_image_without_cells_has_a_table_with_a_header_only(tmp_path: Path) -> None:
    labels = np.zeros((4, 4), np.int32)
    table = measure_cells(
        labels,
        image_of(labels.astype(np.uint8), channels=("C0",)),
        confidence=np.zeros(0, np.float32),
        pixel_size_um=1.0,
    )
    write_table(tmp_path / "cells.csv", table)
    rows = list(csv.reader((tmp_path / "cells.csv").read_text().splitlines()))
    assert len(rows) == 1
    assert {"label", "area_px", "confidence", "area_um2", "mean_C0"} <= set(rows[0])


def test_numbers_in_the_file_are_those_of_the_table(tmp_path: Path) -> None:
    labels = blobs()
    table = measure_cells(labels, image_of(labels.astype(np.float32), channels=("C0",)))
    write_table(tmp_path / "cells.csv", table)
    rows = list(csv.DictReader((tmp_path / "cells.csv").read_text().splitlines()))
    assert len(rows) == len(table["label"])
    for name, column in table.items():
        np.testing.assert_allclose([float(row[name]) for row in rows], column, rtol=1e-6)
    assert rows[0]["label"] == "1"
    assert {row["touches_border"] for row in rows} == {"0", "1"}


def test_labels_of_another_image_are_refused() -> None:
    image = Image(np.zeros((1, 8, 6), np.uint16), ("DNA",), None, False, "a.tif")
    with pytest.raises(
        ValueError, match=r"the labels are \(5, 6\) but a\.tif is \(8, 6\); give the labels of this image"
    ):
        measure_cells(np.ones((5, 6), np.int32), image)


def test_an_array_is_measured_as_an_image_whose_channels_have_numbers() -> None:
    labels = blobs()
    planes = np.random.default_rng(0).integers(0, 60_000, (2, *labels.shape)).astype(np.uint16)
    expected = measure_cells(labels, image_of(*planes, channels=("C0", "C1")))
    table = measure_cells(labels, planes)
    assert [*table] == [*expected]
    for name, column in expected.items():
        np.testing.assert_array_equal(table[name], column)
    np.testing.assert_array_equal(measure_cells(labels, planes[0])["mean_C0"], expected["mean_C0"])
    narrow = measure_cells(labels[:, :3], planes[:, :, :3])
    assert "mean_C1" in narrow
    rgb = np.stack([planes[0], planes[1], planes[0]], axis=-1)
    np.testing.assert_array_equal(measure_cells(labels, rgb)["mean_green"], expected["mean_C1"])


def test_an_array_with_more_axes_than_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got an array of shape \(1, 1, 8, 6\); expected an array \[y x\], "):
        measure_cells(np.ones((8, 6), np.int32), np.zeros((1, 1, 8, 6)))
