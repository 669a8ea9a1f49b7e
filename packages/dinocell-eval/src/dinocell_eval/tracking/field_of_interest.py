"""The field of interest: result objects that lie entirely in the margin of the image do not count.

The Cell Tracking Challenge annotates no objects there and leaves it to participants to remove theirs. Its margins, in
pixels: 50 for DIC-C2DH-HeLa, Fluo-C2DL-Huh7, Fluo-C2DL-MSC, Fluo-C3DH-H157, Fluo-N2DH-GOWT1, Fluo-N3DH-CE,
Fluo-N3DH-CHO and PhC-C2DH-U373; 25 for BF-C2DL-HSC, BF-C2DL-MuSC, Fluo-C3DL-MDA231, Fluo-N2DL-HeLa and PhC-C2DL-PSC;
else 0.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Int64, Integer

from dinocell_eval.tracking.tracks import Row, Tracks, as_tracks
from dinocell_kernels import label_overlap


def labels_in_field(labels: Integer[np.ndarray, "*plane y x"], *, margin: int) -> Int64[np.ndarray, "label"]:
    """Labels with a pixel at least `margin` pixels away from the borders of y and x, ascending, without background.

    All are there if the margin is 0, none if nothing is left of the image.
    """
    if margin < 0:
        raise ValueError(f"the margin is {margin}, expected 0 pixels or more")
    height, width = labels.shape[-2:]
    inner = labels[..., margin : max(margin, height - margin), margin : max(margin, width - margin)]
    found = np.unique(label_overlap(inner, inner).truth)  # much faster than sorting the pixels
    return found[found != 0]


def keep_in_field(
    labels: Integer[np.ndarray, "*plane y x"], *, margin: int, renamed: Mapping[int, int] = MappingProxyType({})
) -> Integer[np.ndarray, "*plane y x"]:
    """A label image without the objects that lie entirely in the margin, and with the new labels of some others."""
    every, kept = labels_in_field(labels, margin=0), labels_in_field(labels, margin=margin)
    new = dict.fromkeys(np.setdiff1d(every, kept).tolist(), 0) | dict(renamed)
    if not new:
        return labels
    names = every.copy()
    for label, name in new.items():
        names[np.searchsorted(every, label)] = name
    place = np.searchsorted(every, labels)  # background finds the first label, hence the condition
    return np.where(labels == 0, 0, names[place])


def tracks_in_field(
    tracks: Tracks, frames: Mapping[int, Int64[np.ndarray, "label"]]
) -> tuple[Tracks, dict[int, dict[int, int]]]:
    """Tracks of the objects that are left, given the labels left in each frame, and new labels of some objects.

    A track becomes its runs of consecutive frames. The first keeps its label; each later one is a child of the one
    before, as a track that was lost for some frames, and needs the new label, which is given by frame and label. The
    last run is the parent of the children; a track whose parent has nothing left has none.
    """
    left: dict[int, list[int]] = {}
    for frame in sorted(frames):
        for label in frames[frame].tolist():
            left.setdefault(label, []).append(frame)
    free = int(tracks.label.max(initial=0)) + 1
    last_run: dict[int, int] = {}
    rows: list[Row] = []
    renamed: dict[int, dict[int, int]] = {}
    by_time = sorted(tracks.rows(), key=lambda row: row[1])  # parents before their children
    for label, _, _, parent in by_time:
        above = last_run.get(parent, 0)
        for begin, end in _runs(left.get(label, [])):
            name = label
            if label in last_run:
                name, free = free, free + 1
                for frame in range(begin, end + 1):
                    renamed.setdefault(frame, {})[label] = name
            rows.append((name, begin, end, above))
            above = last_run[label] = name
    return as_tracks(rows, role="result"), renamed


def _runs(frames: list[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    runs: list[tuple[int, int]] = []
    for frame in frames:
        if runs and runs[-1][1] == frame - 1:
            runs[-1] = (runs[-1][0], frame)
        else:
            runs.append((frame, frame))
    return runs
