"""Tiny drawn sequences on which every tracking measure has a value that can be checked by hand.

A picture is a film of a one-dimensional image: each line is a frame. As `cases`, they are part of the package so that
another implementation can be compared with them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from dinocell_eval.cases.image_cases import drawn
from dinocell_eval.tracking.tracks import Row


@dataclass(frozen=True)
class TrackingCase:
    """Frames of one shape and tracks, of the truth and of a result."""

    truth_frames: tuple[Int64[np.ndarray, "y x"], ...]
    truth_tracks: tuple[Row, ...]
    result_frames: tuple[Int64[np.ndarray, "y x"], ...]
    result_tracks: tuple[Row, ...]


def film(picture: str) -> tuple[Int64[np.ndarray, "1 x"], ...]:
    """The lines of a picture as frames of one row."""
    return tuple(row[None] for row in drawn(picture))


def tracks_of(frames: tuple[Int64[np.ndarray, "y x"], ...], parents: dict[int, int] | None = None) -> tuple[Row, ...]:
    """The tracks that go with the labels of the frames, and with the parents, by child, that are given."""
    rows = []
    for label in sorted({int(label) for frame in frames for label in np.unique(frame) if label}):
        present = [number for number, frame in enumerate(frames) if (frame == label).any()]
        rows.append((label, present[0], present[-1], (parents or {}).get(label, 0)))
    return tuple(rows)


def _case(
    truth: str, result: str, parents: dict[int, int] | None = None, result_parents: dict[int, int] | None = None
) -> TrackingCase:
    true, found = film(truth), film(result)
    return TrackingCase(true, tracks_of(true, parents), found, tracks_of(found, result_parents))


_DIVISION = """
    .1111.
    .1111.
    .22.33
    .22.33
"""
_OF_1 = {2: 1, 3: 1}

TRACKING_CASES = {
    "perfect_track": _case("11.\n11.\n11.", "55.\n55.\n55."),
    "perfect_division": _case(_DIVISION, _DIVISION, _OF_1, _OF_1),
    "single_frame": _case("11.22", "11.22"),
    "missed_in_the_middle": _case("11\n11\n11", "11\n..\n22"),
    "gap_closed_by_a_parent": _case("11\n11\n11", "11\n..\n22", {}, {2: 1}),
    "gap_in_the_truth_too": _case("11\n..\n22", "11\n..\n22", {2: 1}, {2: 1}),
    "merged_for_a_frame": _case("11.22\n11.22\n11.22", "11.22\n11111\n11.33"),
    "split_for_a_frame": _case("1111\n1111\n1111", "1111\n1112\n1111"),
    "spurious_track": _case("11...\n11...", "11.22\n11.22"),
    "swapped_labels": _case("11.22\n11.22\n11.22\n11.22", "11.22\n11.22\n22.11\n22.11"),
    "parent_instead_of_track": _case("11\n11", "11\n22", {}, {2: 1}),
    "track_instead_of_parent": _case("11\n22", "11\n11", {2: 1}, {}),
    "division_without_parents": _case(_DIVISION, _DIVISION, _OF_1, {}),
    "division_a_frame_late": _case(_DIVISION, ".1111.\n.1111.\n.1111.\n.22.33", _OF_1, _OF_1),
    "one_child_missed": _case(_DIVISION, ".1111.\n.1111.\n.22...\n.22...", _OF_1, {2: 1}),
    "one_track_through_a_division": _case(_DIVISION, ".1111.\n.1111.\n.11.33\n.11.33", _OF_1, {}),
    "whole_cell_cycle": _case(
        ".11111\n.22.33\n.22.33\n4455.3", ".11111\n.22.33\n.22.33\n4455.3", {2: 1, 3: 1, 4: 2, 5: 2},
        {2: 1, 3: 1, 4: 2, 5: 2},
    ),
    "shorter_cell_cycle": _case(
        ".11111\n.22.33\n.22.33\n4455.3", ".11111\n.22.33\n4455.3\n4455.3", {2: 1, 3: 1, 4: 2, 5: 2},
        {2: 1, 3: 1, 4: 2, 5: 2},
    ),
    "empty_first_frame": _case("..\n11\n11", "..\n11\n11"),
    "objects_after_the_truth": _case("11\n11\n..", "11\n11\n11"),
    "result_empty": _case("11\n11", "..\n.."),
    "truth_empty": _case("..\n..", "11\n11"),
    "both_empty": _case("..\n..", "..\n.."),
}  # fmt: skip
