"""The pair table."""

import numpy as np
import pytest

from dinocell_eval import pair_table
from dinocell_eval.cases.image_cases import drawn
from dinocell_eval.overlap.pair_table import stack


def plain_table(truth, predicted):
    """Areas and shared pixels, counted object by object."""
    truths = {int(g): int((truth == g).sum()) for g in np.unique(truth) if g}
    predictions = {int(r): int((predicted == r).sum()) for r in np.unique(predicted) if r}
    shared = {(g, r): n for g in truths for r in predictions if (n := int(((truth == g) & (predicted == r)).sum()))}
    return truths, predictions, shared


def as_dictionaries(table):
    truths = dict(zip(table.truth_label.tolist(), table.truth_area.tolist(), strict=True))
    predictions = dict(zip(table.predicted_label.tolist(), table.predicted_area.tolist(), strict=True))
    keys = zip(table.truth_label[table.pair_truth].tolist(), table.predicted_label[table.pair_predicted].tolist())  # noqa: B905
    return truths, predictions, dict(zip(keys, table.intersection.tolist(), strict=True))


def test_areas_intersections_and_unions_of_a_drawn_pair():
    table = pair_table(drawn("1122."), drawn("3.339"))
    assert as_dictionaries(table) == ({1: 2, 2: 2}, {3: 3, 9: 1}, {(1, 3): 1, (2, 3): 2})
    assert table.union.tolist() == [4, 3]
    assert table.iou.tolist() == [1 / 4, 2 / 3]


def test_the_table_of_random_labels_equals_counting_object_by_object():
    generator = np.random.default_rng(0)
    for _ in range(50):
        truth, predicted = generator.integers(0, 6, (2, 7, 9)) * generator.integers(1, 10**9)
        assert as_dictionaries(pair_table(truth, predicted)) == plain_table(truth, predicted)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"])
def test_every_integer_type_gives_the_same_table(dtype):
    truth, predicted = drawn("1122.\n1a22z"), drawn("3.339\n.4339")
    expected = as_dictionaries(pair_table(truth, predicted))
    assert as_dictionaries(pair_table(truth.astype(dtype), predicted)) == expected
    assert as_dictionaries(pair_table(truth.astype(dtype), predicted.astype(dtype))) == expected


def test_views_in_any_memory_order_give_the_same_table():
    truth, predicted = drawn("1122.\n1a22z\n333.."), drawn("3.339\n.4339\n55555")
    expected = as_dictionaries(pair_table(truth, predicted))
    wide = np.zeros((6, 10), np.int64)
    wide[::2, ::2] = predicted
    assert as_dictionaries(pair_table(np.asfortranarray(truth), wide[::2, ::2])) == expected
    assert as_dictionaries(pair_table(truth[::-1, ::-1], predicted[::-1, ::-1])) == expected


def test_stacked_tables_keep_objects_of_different_images_apart():
    first, second = pair_table(drawn("11."), drawn("1.2")), pair_table(drawn("1122"), drawn("1112"))
    table = stack([first, second])
    assert table.num_images == 2
    assert table.truth_image.tolist() == [0, 1, 1]
    assert table.predicted_image.tolist() == [0, 0, 1, 1]
    assert table.pair_image.tolist() == [0, 1, 1, 1]
    assert table.truth_label[table.pair_truth].tolist() == [1, 1, 2, 2]
    assert table.predicted_label[table.pair_predicted].tolist() == [1, 1, 1, 2]


def test_a_stack_of_nothing_is_empty():
    table = stack([])
    assert (table.num_images, table.num_truth, table.num_predicted, table.pair_truth.size) == (0, 0, 0, 0)
