"""The log files of the official tools: which objects and edges cost what, in their format."""

from itertools import groupby

import numpy as np
from jaxtyping import Int64

from dinocell_eval.metrics.det import MISSED_WEIGHT, SPLIT_WEIGHT, SPURIOUS_WEIGHT
from dinocell_eval.tracking.evaluate_tracking import TrackingEvaluation
from dinocell_eval.tracking.tra import MISSING_EDGE_WEIGHT, REDUNDANT_EDGE_WEIGHT, WRONG_EDGE_WEIGHT


def measure_line(name: str, value: float) -> str:
    """The one line that the official tools print: `SEG measure: 0.708333`."""
    return f"{name.upper()} measure: {value:.6f}"


def seg_log(evaluation: TrackingEvaluation, value: float) -> str:
    """`SEG_log.txt`: J of every true object, frame by frame, slice by slice; frames without object have no part."""
    found = evaluation.segmented
    columns = (found.frame, found.z, found.label, found.jaccard)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    lines = []
    for (frame, z), objects in groupby(rows, key=lambda row: row[:2]):
        lines.append(f"----------T={frame} Z={z}----------")
        lines += [f"GT_label={label} J={jaccard:.6g}" for _, _, label, jaccard in objects]
    return _text([*lines, "=" * 56, measure_line("seg", value)])


def det_log(evaluation: TrackingEvaluation, value: float, *, spurious_weight: int = SPURIOUS_WEIGHT) -> str:
    """`DET_log.txt`: splits, missed and spurious objects."""
    return _text([*_vertices(evaluation, spurious_weight), "=" * 56, measure_line("det", value)])


def tra_log(evaluation: TrackingEvaluation, value: float) -> str:
    """`TRA_log.txt`: the operations on objects and on edges. Raises ValueError for an evaluation without tracks."""
    found = evaluation.corrections
    if found.redundant is None or found.missing is None or found.wrong is None:
        raise ValueError("the evaluation has no tracks, expected one with tracks of truth and result")
    lines = [
        *_vertices(evaluation, SPURIOUS_WEIGHT),
        *_section("Redundant Edges To Be Deleted", REDUNDANT_EDGE_WEIGHT, _edges(found.redundant, "Label")),
        *_section("Edges To Be Added", MISSING_EDGE_WEIGHT, _edges(found.missing, "GT_label")),
        *_section("Edges with Wrong Semantics", WRONG_EDGE_WEIGHT, _edges(found.wrong, "Label")),
    ]
    return _text([*lines, "=" * 81, measure_line("tra", value)])


def _vertices(evaluation: TrackingEvaluation, spurious_weight: int) -> list[str]:
    found = evaluation.corrections
    return [
        *_section("Splitting Operations", SPLIT_WEIGHT, _objects(found.split, "Label")),
        *_section("False Negative Vertices", MISSED_WEIGHT, _objects(found.missed, "GT_label")),
        *_section("False Positive Vertices", spurious_weight, _objects(found.spurious, "Label")),
    ]


def _section(title: str, penalty: float | int, lines: list[str]) -> list[str]:
    return [f"----------{title} (Penalty={penalty:g})----------", *lines]


def _objects(rows: Int64[np.ndarray, "operation 2"], key: str) -> list[str]:
    return [f"T={frame} {key}={label}" for frame, label in rows.tolist()]


def _edges(rows: Int64[np.ndarray, "operation 4"], key: str) -> list[str]:
    return [f"[T={t} {key}={label}] -> [T={later} {key}={other}]" for t, label, later, other in rows.tolist()]


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
