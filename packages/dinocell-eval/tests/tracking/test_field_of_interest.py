"""Objects in the margin, and what is left of their tracks."""

import numpy as np
import pytest

from dinocell_eval.cases.image_cases import drawn
from dinocell_eval.tracking.field_of_interest import keep_in_field, labels_in_field, tracks_in_field
from dinocell_eval.tracking.tracks import as_tracks

FIELD = drawn("""
    1122233
    1444433
    1.55.66
    ...5.66
    .......
""")


def test_an_object_with_one_pixel_inside_counts():
    assert labels_in_field(FIELD, margin=0).tolist() == [1, 2, 3, 4, 5, 6]
    assert labels_in_field(FIELD, margin=1).tolist() == [3, 4, 5, 6]
    assert labels_in_field(FIELD, margin=2).tolist() == [5]
    assert labels_in_field(FIELD, margin=3).tolist() == []
    assert labels_in_field(FIELD, margin=30).tolist() == []


def test_only_y_and_x_have_a_margin():
    volume = np.stack([FIELD, FIELD * (FIELD == 2) + 0])
    assert labels_in_field(volume, margin=1).tolist() == [3, 4, 5, 6]
    assert labels_in_field(np.stack([FIELD]), margin=2).tolist() == [5]


def test_other_objects_are_removed_whole():
    kept = keep_in_field(FIELD.astype(np.uint8), margin=1)
    np.testing.assert_array_equal(kept, np.where(np.isin(FIELD, [3, 4, 5, 6]), FIELD, 0))
    unchanged = FIELD.astype(np.uint16)
    assert keep_in_field(unchanged, margin=0) is unchanged
    assert keep_in_field(0 * FIELD, margin=1).max() == 0


def test_objects_get_new_labels_together():
    kept = keep_in_field(FIELD.astype(np.uint8), margin=1, renamed={3: 70000, 5: 3})
    np.testing.assert_array_equal(kept, np.array([0, 0, 0, 70000, 4, 3, 6])[FIELD])


def test_a_negative_margin_is_refused():
    with pytest.raises(ValueError, match="the margin is -1, expected 0 pixels or more"):
        labels_in_field(FIELD, margin=-1)


def left(tracks, frames):
    found, renamed = tracks_in_field(
        as_tracks(tracks, role="result"), {frame: np.array(labels, np.int64) for frame, labels in frames.items()}
    )
    return found.rows(), renamed


def test_tracks_that_stay_inside_are_unchanged():
    tracks = [(1, 0, 1, 0), (2, 2, 2, 1), (3, 2, 2, 1)]
    assert left(tracks, {0: [1], 1: [1], 2: [2, 3]}) == (tracks, {})


def test_tracks_become_shorter_or_go():
    tracks = [(1, 0, 3, 0), (2, 0, 3, 0)]
    assert left(tracks, {0: [], 1: [1], 2: [1], 3: []}) == ([(1, 1, 2, 0)], {})


def test_a_track_that_leaves_and_returns_goes_on_as_its_own_child():
    tracks = [(1, 0, 5, 0), (4, 6, 6, 1)]
    rows, renamed = left(tracks, {0: [1], 1: [], 2: [1], 3: [1], 4: [], 5: [1], 6: [4]})
    assert rows == [(1, 0, 0, 0), (4, 6, 6, 6), (5, 2, 3, 1), (6, 5, 5, 5)]
    assert renamed == {2: {1: 5}, 3: {1: 5}, 5: {1: 6}}


def test_children_of_a_track_that_is_gone_have_no_parent():
    tracks = [(5, 0, 1, 0), (2, 2, 3, 5), (3, 2, 3, 5)]
    assert left(tracks, {0: [], 1: [], 2: [2], 3: [2, 3]}) == ([(2, 2, 3, 0), (3, 3, 3, 0)], {})
