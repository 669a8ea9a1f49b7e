"""What measuring takes beside map and labels where cells fill the image, and that small blocks change no number."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from dinocell_io import Image
from dinocell_seg import row_blocks, top_tenth
from dinocell_seg.enclosed import with_enclosed_filled
from dinocell_seg.measure import measure_cells
from dinocell_seg.watershed import confidence, inner_boundaries


def confluent(side: int, cell_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance map and labels of square cells without anything between them."""
    offset = np.abs(np.arange(side) % cell_px - (cell_px - 1) / 2)
    distance_map = (1 - np.maximum(offset[:, None], offset[None]) / cell_px * 1.9).astype(np.float32)
    number = np.arange(side, dtype=np.int32) // cell_px
    return distance_map, number[:, None] * (number[-1] + 1) + number[None] + 1


def bytes_per_pixel(call: Callable[[], object], num_pixels: int) -> float:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / num_pixels
    finally:
        tracemalloc.stop()


def plain_confidence(distance_map: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """All cell pixels sorted at once, in 64 bits."""
    num_cells = int(labels.max(initial=0))
    inside = labels > 0
    level = np.rint(np.clip(distance_map[inside], 0, 1) * 65_535).astype(np.int64)
    key = np.sort((labels[inside].astype(np.int64) << 16) | level)
    sums = np.concatenate([[0], np.cumsum(key & 0xFFFF)])
    pixels = np.bincount(key >> 16, minlength=num_cells + 1)[1:]
    ends = np.cumsum(pixels)
    highest = (pixels + 9) // 10
    top = (sums[ends] - sums[ends - highest]) / np.maximum(highest, 1) / 65_535
    at_edge = inner_boundaries(labels)
    at_edge_of = np.bincount(labels[at_edge], minlength=num_cells + 1)[1:]
    total = np.bincount(labels[at_edge], weights=distance_map[at_edge], minlength=num_cells + 1)[1:]
    return np.clip(top - total / np.maximum(at_edge_of, 1), 0, 1).astype(np.float32)


def random_cells(kind: str, rng: np.random.Generator) -> np.ndarray:
    if kind == "squares":
        return confluent(96, 8)[1]
    if kind == "numbered in any order, some missing":
        return np.pad(rng.permutation(400)[:144].astype(np.int32), 1)[confluent(96, 8)[1]]
    if kind == "scattered pixels":
        return rng.integers(0, 50, (96, 96)).astype(np.int32)
    if kind == "one cell fills the image":
        return np.ones((96, 96), np.int32)
    return np.arange(1, 96 * 96 + 1, dtype=np.int32).reshape(96, 96)  # one pixel each


KINDS = (
    "squares",
    "numbered in any order, some missing",
    "scattered pixels",
    "one cell fills the image",
    "one pixel each",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.int64])
def test_confidence_in_small_groups_and_blocks_is_that_of_one_sort(
    kind: str, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    labels = random_cells(kind, rng).astype(dtype)
    distance_map = rng.uniform(-0.2, 1.2, labels.shape).astype(np.float32)
    expected = plain_confidence(distance_map, labels)
    np.testing.assert_array_equal(confidence(distance_map, labels), expected)
    monkeypatch.setattr(row_blocks, "BLOCK_PIXELS", 300)
    monkeypatch.setattr(top_tenth, "_GROUP_PIXELS", 200)
    monkeypatch.setattr(top_tenth, "_MOST_GROUPS", 1000)
    monkeypatch.setattr(top_tenth, "_CELLS_IN_KEY", 70)
    np.testing.assert_array_equal(confidence(distance_map, labels), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_is_the_same_in_small_blocks(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    labels = random_cells(kind, rng)
    image = Image(rng.random((2, *labels.shape)).astype(np.float32), ("DNA", "ER"), None, False, "drawn")
    expected = measure_cells(labels, image)
    monkeypatch.setattr(row_blocks, "BLOCK_PIXELS", 100)
    monkeypatch.setattr(row_blocks, "LEAST_ROWS", 1)
    for name, column in measure_cells(labels, image).items():
        np.testing.assert_array_equal(column, expected[name], err_msg=name)


@pytest.mark.parametrize("cell_px", [16, 32, 2048])
def test_confident_and_measured_cells_take_a_few_bytes_per_pixel(cell_px: int) -> None:
    distance_map, labels = confluent(2048, cell_px)
    image = Image((distance_map * 255).astype(np.uint8)[None], ("C0",), None, False, "drawn")
    scores = confidence(distance_map, labels)
    assert bytes_per_pixel(lambda: plain_confidence(distance_map, labels), labels.size) > 20, "test invalid"
    assert bytes_per_pixel(lambda: confidence(distance_map, labels), labels.size) < (8 if cell_px == 2048 else 2)
    assert bytes_per_pixel(lambda: measure_cells(labels, image, confidence=scores), labels.size) < 4


def test_filling_holes_takes_a_few_bytes_per_pixel() -> None:
    labels = confluent(2048, 32)[1]
    labels[40, 40] = 0
    assert bytes_per_pixel(lambda: with_enclosed_filled(labels), labels.size) < 11
