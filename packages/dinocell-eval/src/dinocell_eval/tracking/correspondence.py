"""True and predicted objects of a sequence: which match, and which of them a track connects.

Objects are rows of one pair table whose images are the frames. All tracking measures work on what stands here, so the
pixels are read once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64

from dinocell_eval.overlap.matching import majority_match
from dinocell_eval.overlap.pair_table import PairTable
from dinocell_eval.tracking.tracks import Tracks
from dinocell_io import listed

_LISTED = 8


@dataclass(frozen=True, eq=False)
class Correspondence:
    """Objects of the frames of a sequence and their matches; `frame` is the number of each image of the table."""

    table: PairTable
    frame: Int64[np.ndarray, "image"]

    @cached_property
    def match(self) -> Int64[np.ndarray, "truth"]:
        """Predicted object that covers more than half of each true object, -1 where there is none."""
        return majority_match(self.table)

    @cached_property
    def num_matches(self) -> Int64[np.ndarray, "predicted"]:
        """Number of true objects that each predicted object matches."""
        return np.bincount(self.match[self.match >= 0], minlength=self.table.num_predicted)

    @cached_property
    def predicted_of_truth(self) -> Int64[np.ndarray, "truth"]:
        """Predicted object that matches this true object and no other, -1 where there is none."""
        unique = np.append(self.num_matches == 1, False)  # the last one answers for -1
        return np.where(unique[self.match], self.match, -1)

    @cached_property
    def truth_of_predicted(self) -> Int64[np.ndarray, "predicted"]:
        """The inverse of `predicted_of_truth`."""
        truth = np.full(self.table.num_predicted, -1, np.int64)
        matched = np.flatnonzero(self.predicted_of_truth >= 0)
        truth[self.predicted_of_truth[matched]] = matched
        return truth

    @cached_property
    def truth_frame(self) -> Int64[np.ndarray, "truth"]:
        return self.frame[self.table.truth_image]

    @cached_property
    def predicted_frame(self) -> Int64[np.ndarray, "predicted"]:
        return self.frame[self.table.predicted_image]


@dataclass(frozen=True, eq=False)
class Lineage:
    """Tracks and the objects they connect: each object is in the track of its label.

    Build it with `lineage`, which checks that tracks and objects agree.
    """

    tracks: Tracks
    track: Int64[np.ndarray, "object"]
    frame: Int64[np.ndarray, "object"]

    @cached_property
    def order(self) -> Int64[np.ndarray, "object"]:
        """Objects track by track, each in the order of time."""
        return np.lexsort((self.frame, self.track))

    def find(self, track: Int64[np.ndarray, "query"], frame: Int64[np.ndarray, "query"]) -> Int64[np.ndarray, "query"]:
        """Object of a track (a row of `tracks`) in a frame, -1 where there is none."""
        if self.frame.size == 0:
            return np.full(track.size, -1, np.int64)
        nowhere = self._stride - 1
        wanted = track * self._stride + np.where((frame < 0) | (frame > nowhere), nowhere, frame)
        place = np.minimum(np.searchsorted(self._keys, wanted), self.frame.size - 1)
        return np.where(self._keys[place] == wanted, self.order[place], -1)

    @cached_property
    def _stride(self) -> int:
        return int(self.frame.max()) + 2  # the frame before the next track is in no track

    @cached_property
    def _keys(self) -> Int64[np.ndarray, "object"]:
        return (self.track * self._stride + self.frame)[self.order]


def lineage(
    tracks: Tracks,
    *,
    frame: Int64[np.ndarray, "object"],
    label: Int64[np.ndarray, "object"],
    num_frames: int,
    role: str,
) -> tuple[Lineage, tuple[str, ...]]:
    """Objects with their tracks, and notes on tracks that go on after the last frame.

    Only results may go on; the official tools accept that. Raises ValueError listing the tracks and labels that are
    not consistent with the image data: in one of them only, in frames outside the track, missing in frames of it.
    """
    known = np.append(tracks.label, -1)
    track = np.searchsorted(tracks.label, label)
    is_known = known[track] == label
    strangers = np.unique(label[~is_known]).tolist()
    found = Lineage(tracks, track[is_known], frame[is_known])
    last = np.minimum(tracks.end, num_frames - 1) if role == "result" else tracks.end
    expected = np.maximum(last - tracks.begin + 1, 0)
    inside = (found.frame >= tracks.begin[found.track]) & (found.frame <= tracks.end[found.track])
    there = np.bincount(found.track[inside], minlength=tracks.num_tracks)
    outside = np.bincount(found.track[~inside], minlength=tracks.num_tracks)
    contradicting = np.flatnonzero((there != expected) | (outside > 0)).tolist()
    if num_problems := len(strangers) + len(contradicting):
        shown = [f"label {one} is in {_frames(frame[label == one])} but no track has it" for one in strangers[:_LISTED]]
        shown += [_difference(found, row, int(last[row])) for row in contradicting[: _LISTED - len(shown)]]
        more = f" and {num_problems - len(shown)} more" if num_problems > len(shown) else ""
        raise ValueError(
            f"the {role} tracks are not consistent with the image data: {'; '.join(shown)}{more}; "
            "correct either of them"
        )
    beyond = tracks.label[tracks.end >= num_frames].tolist()
    notes = (
        (f"result tracks go on after the last frame, {num_frames - 1}: labels {listed(beyond, 5)}",) if beyond else ()
    )
    return found, notes


def _difference(found: Lineage, row: int, last: int) -> str:
    tracks = found.tracks
    label, begin, end = int(tracks.label[row]), int(tracks.begin[row]), int(tracks.end[row])
    frames = np.sort(found.frame[found.track == row])
    missing = np.setdiff1d(np.arange(begin, last + 1), frames).tolist()
    outside = frames[(frames < begin) | (frames > end)].tolist()
    parts = [f"is missing in {_frames(missing)}"] if missing else []
    parts += [f"is in {_frames(outside)}, outside of it"] if outside else []
    return f"track {label} ({begin} to {end}) {' and '.join(parts)}"


def _frames(frames: Sequence[int] | Int64[np.ndarray, "frame"]) -> str:
    numbers = sorted({int(frame) for frame in frames})
    return f"frame {listed(numbers, 5)}" if len(numbers) == 1 else f"frames {listed(numbers, 5)}"
