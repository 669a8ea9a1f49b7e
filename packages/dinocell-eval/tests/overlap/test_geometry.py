"""Bounding boxes and the border."""

import numpy as np
import pytest

from dinocell_eval import evaluate
from dinocell_eval.cases.image_cases import drawn
from dinocell_eval.overlap.geometry import image_geometry, object_boxes

PICTURE = drawn("""
    ..1...
    .22.5.
    .2..5.
    ......
    5...6.
""")


def plain_box(labels, label):
    y, x = np.nonzero(labels == label)
    return [y.min(), x.min(), y.max() + 1, x.max() + 1]


def test_a_box_holds_all_pixels_of_its_object_also_of_fragments():
    boxes = object_boxes(PICTURE, np.array([1, 2, 5, 6]))
    assert boxes.tolist() == [[0, 2, 1, 3], [1, 1, 3, 3], [1, 0, 5, 5], [4, 4, 5, 5]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint32", "int64", "uint64", ">u2"])
def test_boxes_of_any_type_and_any_numbers_equal_plain_code(dtype, field):
    truth, _ = field(3)
    names = np.concatenate([[0], np.sort(np.random.default_rng(1).choice(200, truth.max(), replace=False)) + 1])
    labels = names[truth].astype(dtype)
    found = np.unique(labels)[1:].astype(np.int64)
    assert object_boxes(labels, found).tolist() == [plain_box(labels, label) for label in found]
    if np.dtype(dtype).itemsize == 8:
        huge = np.where(labels > 0, labels.astype(np.int64) + 2**61, 0)
        assert object_boxes(huge, found + 2**61).tolist() == object_boxes(labels, found).tolist()


def test_an_image_without_objects_has_no_boxes():
    assert object_boxes(np.zeros((3, 3), np.int32), np.zeros(0, np.int64)).shape == (0, 4)


def test_objects_of_the_first_and_last_rows_and_columns_are_on_the_border():
    assert image_geometry(PICTURE, np.array([1, 2, 5, 6]), boxes=False).on_border.tolist() == [True, False, True, True]


def test_the_border_equals_plain_code(field):
    for seed in range(5):
        for labels in field(seed):
            label = np.unique(labels)[1:].astype(np.int64)
            inner = np.pad(labels[1:-1, 1:-1], 1, constant_values=-1)
            expected = [bool((labels[inner == -1] == one).any()) for one in label]
            assert image_geometry(labels, label, boxes=False).on_border.tolist() == expected
            assert {True, False} == set(expected), "test invalid"


def test_the_objects_of_a_set_have_boxes_only_where_asked_for():
    objects = evaluate([PICTURE, drawn("11")], [PICTURE, drawn(".3")], boxes=True).objects
    assert objects.box[[0, 4, -1]].tolist() == [[0, 2, 1, 3], [0, 0, 1, 2], [0, 1, 1, 2]]
    assert evaluate([PICTURE], [PICTURE]).objects.box is None
