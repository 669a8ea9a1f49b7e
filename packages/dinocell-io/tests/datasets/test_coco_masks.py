"""COCO polygons and run lengths against slow, plain readings of the format."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinocell_io.datasets.coco_masks import decode_run_lengths, fill_polygon, paint_objects, segmentation_piece


def plain_inside(points: list[tuple[float, float]], x: float, y: float) -> bool:
    """Even-odd rule, one ray to the right."""
    inside = False
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


@settings(max_examples=100, deadline=None)
@given(
    # quarters off the pixel centres, so that no centre lies on an edge's end
    st.lists(st.tuples(st.integers(-8, 40), st.integers(-8, 40)), min_size=3, max_size=9)
)
def test_a_filled_polygon_holds_the_pixel_centres_inside_it(corners: list[tuple[int, int]]) -> None:
    points = [(x / 3.0 + 0.011, y / 3.0 + 0.017) for x, y in corners]
    mask = fill_polygon(np.array(points), (9, 11))
    plain = np.array([[plain_inside(points, x + 0.5, y + 0.5) for x in range(11)] for y in range(9)])
    np.testing.assert_array_equal(mask, plain)


def test_a_rectangle_on_pixel_borders_is_exactly_its_pixels() -> None:
    row, column, mask = segmentation_piece([[2, 1, 5, 1, 5, 3, 2, 3]], (6, 8), name="a")
    assert (row, column, mask.shape) == (1, 2, (2, 3))
    assert mask.all()


def test_neighbouring_rectangles_share_no_pixel_and_leave_no_gap() -> None:
    left = fill_polygon(np.array([[0.0, 0], [2.5, 0], [2.5, 4], [0, 4]]), (4, 6))
    right = fill_polygon(np.array([[2.5, 0], [6, 0], [6, 4], [2.5, 4]]), (4, 6))
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
