"""COCO polygons and run lengths against slow, plain readings of the format, and known masks of the COCO API."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinocell_io.datasets.coco_masks import decode_run_lengths, paint_objects, segmentation_piece


def distance_to_outline(points: list[tuple[float, float]], x: float, y: float) -> float:
    """From a point to the nearest edge of a closed polygon."""
    place, nearest = np.array((x, y)), np.inf
    for start, end in zip(np.array(points), np.array(points[1:] + points[:1]), strict=True):
        edge = end - start
        along = np.clip(((place - start) @ edge) / max(edge @ edge, 1e-12), 0, 1)
        nearest = min(nearest, float(np.linalg.norm(place - start - along * edge)))
    return nearest


def plain_inside(points: list[tuple[float, float]], x: float, y: float) -> bool:
    """Even-odd rule, one ray to the right."""
    inside = False
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


def drawn(polygon: list[float], shape: tuple[int, int]) -> np.ndarray:
    """The polygon in a whole image."""
    row, column, mask = segmentation_piece([polygon], shape, name="a")
    image = np.zeros(shape, bool)
    image[row : row + mask.shape[0], column : column + mask.shape[1]] = mask
    return image


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 33), st.integers(0, 27)), min_size=3, max_size=9))
def test_pixels_farther_than_one_from_the_outline_are_in_or_out_by_their_centre(corners: list[tuple[int, int]]) -> None:
    points = [(x / 3.0 + 0.011, y / 3.0 + 0.017) for x, y in corners]
    mask = drawn([number for point in points for number in point], (9, 11))
    for y, x in np.ndindex(mask.shape):
        if distance_to_outline(points, x + 0.5, y + 0.5) > 1.0:
            assert mask[y, x] == plain_inside(points, x + 0.5, y + 0.5)


def test_a_polygon_has_the_pixels_that_the_coco_api_gives_it() -> None:
    # by the centres alone the tip would have the pixel in row 3, column 2 too, and the rectangle start a pixel earlier
    assert drawn([1, 1, 7, 2, 4, 6], (7, 8)).astype(int).tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 1, 0],
        [0, 0, 0, 1, 1, 1, 0, 0],
        [0, 0, 0, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
    rows, columns = np.nonzero(drawn([0.5, 0.5, 5.5, 0.5, 5.5, 3.5, 0.5, 3.5], (7, 8)))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 3, 1, 5)


def test_a_rectangle_on_pixel_borders_is_exactly_its_pixels() -> None:
    row, column, mask = segmentation_piece([[2, 1, 5, 1, 5, 3, 2, 3]], (6, 8), name="a")
    assert (row, column, mask.shape) == (1, 2, (2, 3))
    assert mask.all()


def test_neighbouring_rectangles_share_no_pixel_and_leave_no_gap() -> None:
    left = drawn([0.0, 0, 2.5, 0, 2.5, 4, 0, 4], (4, 6))
    right = drawn([2.5, 0, 6, 0, 6, 4, 2.5, 4], (4, 6))
    assert (left ^ right).all()


def test_several_polygons_are_one_object() -> None:
    _, _, mask = segmentation_piece([[0, 0, 2, 0, 2, 2, 0, 2], [1, 1, 4, 1, 4, 3, 1, 3]], (5, 5), name="a")
    assert mask.astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1]]


def test_what_lies_outside_the_image_is_cut_off() -> None:
    row, column, mask = segmentation_piece([[-9, -9, 3, -9, 3, 2, -9, 2]], (5, 5), name="a")
    assert (row, column, mask.sum()) == (0, 0, 6)
    assert segmentation_piece([[9, 9, 12, 9, 12, 12]], (5, 5), name="a")[2].sum() == 0


def compressed(runs: list[int]) -> str:
    """The encoder of the COCO API, written after its description."""
    letters = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            group, value = value & 0x1F, value >> 5
            more = value != (-1 if group & 0x10 else 0)
            letters.append(chr((group | 0x20 if more else group) + 48))
    return "".join(letters)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.3, 0.9]), st.booleans())
def test_run_lengths_decode_to_the_mask_they_encode(seed: int, share: float, as_bytes: bool) -> None:
    mask = np.random.default_rng(seed).random((13, 70)) < share
    column_major = mask.T.ravel()
    borders = np.flatnonzero(np.diff(column_major)) + 1
    runs = np.diff([0, *borders.tolist(), column_major.size]).tolist()
    if column_major[0]:
        runs = [0, *runs]
    text = compressed(runs)
    for counts in (runs, text.encode() if as_bytes else text):
        back = decode_run_lengths({"size": [13, 70], "counts": counts}, (13, 70), name="a")
        np.testing.assert_array_equal(back, mask)


def test_a_run_length_object_is_cropped_to_its_box() -> None:
    runs = [7, 2, 3, 2, 11]  # columns of height 5: rows 2 and 3 of columns 1 and 2
    row, column, mask = segmentation_piece({"size": [5, 5], "counts": runs}, (5, 5), name="a")
    assert (row, column) == (2, 1)
    assert mask.tolist() == [[True, True], [True, True]]


def test_known_compressed_text_of_the_format() -> None:
    # 8 background, 2, 3, 2, 10: the fourth and fifth are stored as differences to the second before
    assert compressed([8, 2, 3, 2, 10]) == "82307"
    mask = decode_run_lengths({"size": [5, 5], "counts": "82307"}, (5, 5), name="a")
    assert mask.astype(int).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 1, 1, 0, 0],
    ]


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        ([], "expected polygons or run lengths"),
        ("abc", "expected polygons or run lengths"),
        ([[1, 2, 3, 4]], "polygon of 4 numbers; expected x, y of at least three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "polygon of 7 numbers"),
        ([[1, 2, 3, 4, 5, float("nan")]], "polygon of 6 numbers"),
        ([[1, 2, 3, 4, 5, -51]], "coordinate -51, its image is 5 x 5; expected pixels, at most 50"),
        ({"size": [4, 5], "counts": [20]}, r"size \[4, 5\], its image is 5 x 5"),
        ({"size": [5, 5], "counts": [20]}, "for 20 pixels, expected 25"),
        ({"size": [5, 5], "counts": [-1, 26]}, "that are not counts"),
        ({"size": [5, 5]}, "that are not counts"),
        ({"size": [5, 5], "counts": "8\x01"}, "letter '.x01'"),
        ({"size": [5, 5], "counts": "8P"}, "end in the middle of a number"),
    ],
)
def test_a_broken_segmentation_is_refused_by_name(segmentation: object, problem: str) -> None:
    with pytest.raises(ValueError, match=f"annotation 7.*{problem}"):
        segmentation_piece(segmentation, (5, 5), name="annotation 7")


def test_the_smaller_object_keeps_its_pixels_whatever_the_order() -> None:
    large, small = (0, 0, np.ones((4, 4), bool)), (1, 1, np.ones((2, 2), bool))
    expected = [[1, 1, 1, 1], [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1]]
    assert paint_objects([large, small], (4, 4)).tolist() == expected
    swapped = paint_objects([small, large], (4, 4))
    assert np.where(swapped == 1, 2, np.where(swapped == 2, 1, 0)).tolist() == expected
