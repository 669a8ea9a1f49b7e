"""All measures of the Cell Tracking Challenge for one sequence, from one pass over its frames."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float64, Int64

from dinocell_eval.metrics.det import MISSED_WEIGHT
from dinocell_eval.metrics.seg import jaccard, seg, seg_statistics
from dinocell_eval.overlap.statistics import total
from dinocell_eval.tracking.bc import bc
from dinocell_eval.tracking.cca import cca
from dinocell_eval.tracking.chota import chota
from dinocell_eval.tracking.correspondence import Correspondence, Lineage, lineage
from dinocell_eval.tracking.ct import ct
from dinocell_eval.tracking.sequence import ScannedSequence, scan_sequence
from dinocell_eval.tracking.tf import tf
from dinocell_eval.tracking.tra import MISSING_EDGE_WEIGHT, Corrections, aogm, corrections, normalized
from dinocell_eval.tracking.tracks import TrackRows, Tracks, as_tracks
from dinocell_io import listed


@dataclass(frozen=True, eq=False)
class SegmentedObjects:
    """J of every true object that SEG counts, by frame, slice and label; `z` is 0 for a complete image."""

    frame: Int64[np.ndarray, "object"]
    z: Int64[np.ndarray, "object"]
    label: Int64[np.ndarray, "object"]
    jaccard: Float64[np.ndarray, "object"]


@dataclass(frozen=True, eq=False)
class TrackingEvaluation:
    """Measures of one sequence. None stands for "undefined" everywhere; no value is ever NaN.

    `seg`, `det` and `op_csb` need label images only. The others need tracks of truth and result and are None without.
    `bc`, `bio` and `op_clb` hold a value for each tolerance 0, 1, 2, ... in frames. `tf_stable` is TF without its
    dependence on the numbering. `ns`, `fn`, `fp`, `ed`, `ea` and `ec` count the `corrections`, `aogm` is their cost.
    `notes` are what a reader has to know about these numbers.
    """

    num_frames: int
    n_truth: int
    n_result: int
    n_truth_edges: int | None
    n_truth_tracks: int | None
    n_result_tracks: int | None
    seg: float | None
    det: float | None
    op_csb: float | None
    tra: float | None
    lnk: float | None
    op_ctb: float | None
    aogm: float | None
    ns: int
    fn: int
    fp: int
    ed: int | None
    ea: int | None
    ec: int | None
    ct: float | None
    tf: float | None
    tf_stable: float | None
    bc: tuple[float | None, ...]
    cca: float | None
    bio: tuple[float | None, ...]
    op_clb: tuple[float | None, ...]
    chota: float | None
    corrections: Corrections
    segmented: SegmentedObjects
    notes: tuple[str, ...]


def evaluate_tracking(
    truth_frames: Iterable[npt.ArrayLike | None],
    truth_tracks: TrackRows | None,
    result_frames: Iterable[npt.ArrayLike | None],
    result_tracks: TrackRows | None,
    *,
    segmentation_truths: Mapping[int, Any] | None = None,
    max_bc_tolerance: int = 3,
) -> TrackingEvaluation:
    """Compare the tracked label images of a result with the truth, frame by frame; frames count from 0.

    Frames may be of any number of axes and come from generators: one true and one result frame are held at a time. A
    true frame that is None is not annotated: it counts for nothing, and the tracks cannot be evaluated. A result
    frame that is None has no object. Tracks are rows (label, begin, end, parent), 0 for no parent; without the tracks
    of both only SEG and DET are computed, and the frames need not be a sequence. `segmentation_truths` are the truth of
    SEG, by frame, where it is another one than `truth_frames`: a label image, or single slices by their z; they are
    looked up when their frame is due, so a mapping that reads files holds none of them. Raises ValueError on unequal
    numbers or shapes of frames, labels that are not whole numbers from 0 up, and tracks that contradict themselves or
    the images.
    """
    if max_bc_tolerance < 0:
        raise ValueError(f"max_bc_tolerance is {max_bc_tolerance}, expected 0 or more frames")
    truth = None if truth_tracks is None else as_tracks(truth_tracks, role="truth")
    result = None if result_tracks is None else as_tracks(result_tracks, role="result")
    scanned = scan_sequence(truth_frames, result_frames, segmentation_truths=segmentation_truths)
    found = scanned.tracking
    lineages, notes = _lineages(scanned, truth, result)
    operations, n_edges = corrections(found, lineages)
    vertex_cost, edge_cost = aogm(operations)
    n_truth = found.table.num_truth
    of_vertices = float(MISSED_WEIGHT * n_truth)
    of_edges = None if n_edges is None else MISSING_EDGE_WEIGHT * n_edges
    whole_cost = None if edge_cost is None else vertex_cost + edge_cost

    seg_value, segmented = _segmentation(scanned)
    det_value = normalized(vertex_cost, of_vertices)
    tra_value = normalized(whole_cost, None if of_edges is None else of_vertices + of_edges)
    lnk_value = normalized(edge_cost, of_edges)
    biological = _biological(found, lineages, range(max_bc_tolerance + 1))
    bio = tuple(
        _mean([value for value in (biological.ct, biological.tf, each, biological.cca) if value is not None])
        for each in biological.bc
    )
    return TrackingEvaluation(
        num_frames=scanned.num_frames,
        n_truth=n_truth,
        n_result=found.table.num_predicted,
        n_truth_edges=n_edges,
        n_truth_tracks=None if truth is None else truth.num_tracks,
        n_result_tracks=None if result is None else result.num_tracks,
        seg=seg_value,
        det=det_value,
        op_csb=_mean([seg_value, det_value]),
        tra=tra_value,
        lnk=lnk_value,
        op_ctb=_mean([seg_value, tra_value]),
        aogm=whole_cost,
        ns=len(operations.split),
        fn=len(operations.missed),
        fp=len(operations.spurious),
        ed=_count(operations.redundant),
        ea=_count(operations.missing),
        ec=_count(operations.wrong),
        ct=biological.ct,
        tf=biological.tf,
        tf_stable=biological.tf_stable,
        bc=biological.bc,
        cca=biological.cca,
        bio=bio,
        op_clb=tuple(_mean([lnk_value, each]) for each in bio),
        chota=biological.chota,
        corrections=operations,
        segmented=segmented,
        notes=(*notes, *_undefined(scanned, lineages)),
    )


@dataclass(frozen=True)
class _Biological:
    ct: float | None
    tf: float | None
    tf_stable: float | None
    bc: tuple[float | None, ...]
    cca: float | None
    chota: float | None


def _biological(
    found: Correspondence, lineages: tuple[Lineage, Lineage] | None, tolerances: Iterable[int]
) -> _Biological:
    if lineages is None:
        return _Biological(None, None, None, tuple(None for _ in tolerances), None, None)
    truth, result = lineages
    return _Biological(
        ct=ct(found, truth, result),
        tf=tf(found, truth, result),
        tf_stable=tf(found, truth, result, each_result_completes_one=False),
        bc=tuple(bc(found, truth, result, tolerance=tolerance) for tolerance in tolerances),
        cca=cca(truth.tracks, result.tracks),
        chota=chota(found, truth, result),
    )


def _lineages(
    scanned: ScannedSequence, truth: Tracks | None, result: Tracks | None
) -> tuple[tuple[Lineage, Lineage] | None, tuple[str, ...]]:
    """Objects with their tracks where tracks can be evaluated, and what has to be said about them."""
    notes = (*(truth.notes if truth else ()), *(result.notes if result else ()))
    if truth is None or result is None:
        if truth is not result:
            lacking = "truth" if truth is None else "result"
            notes = (*notes, f"no tracks of the {lacking}: only SEG and DET are computed")
        return None, notes
    found = scanned.tracking
    num_frames = int(found.frame.max(initial=-1)) + 1  # later frames are of SEG only
    absent = np.setdiff1d(np.arange(num_frames), found.frame).tolist()
    if absent:
        return None, (
            *notes,
            f"no true image of frame {listed(absent, 5)}: only SEG and DET are computed, TRA needs every frame",
        )
    true_lineage, _ = lineage(
        truth, frame=found.truth_frame, label=found.table.truth_label, num_frames=num_frames, role="truth"
    )
    result_lineage, beyond = lineage(
        result, frame=found.predicted_frame, label=found.table.predicted_label, num_frames=num_frames, role="result"
    )
    return (true_lineage, result_lineage), (*notes, *beyond)


def _segmentation(scanned: ScannedSequence) -> tuple[float | None, SegmentedObjects]:
    found = scanned.segmentation
    table = found.table
    statistics = {
        **seg_statistics(table, found.match),
        "n_truth": np.bincount(table.truth_image, minlength=table.num_images).astype(np.float64),
    }
    (value,) = seg(total(statistics)).tolist()
    objects = SegmentedObjects(
        found.truth_frame,
        scanned.segmentation_z[table.truth_image],
        table.truth_label,
        jaccard(table, found.match),
    )
    return None if table.num_truth == 0 else value, objects


def _undefined(scanned: ScannedSequence, lineages: tuple[Lineage, Lineage] | None) -> list[str]:
    """Notes on what is undefined, and on what the official TRA refuses though its value is defined."""
    notes = []
    if scanned.segmentation.frame.size and scanned.segmentation.table.num_truth == 0:
        notes.append("no true object in the images of SEG: SEG is undefined")
    found = scanned.tracking
    if found.frame.size and found.table.num_truth == 0:
        notes.append("no true object in the images of the tracks: DET and TRA are undefined")
    if lineages is None or found.table.num_truth == 0:
        return notes
    if int(found.truth_frame.min()) > 0:
        notes.append("the first true frame has no object; the official TRA refuses such a sequence")
    last = int(found.truth_frame.max())
    if int(found.predicted_frame.max(initial=-1)) > last:
        notes.append(f"the result has objects after the last true one, in frame {last}; the official TRA refuses that")
    return notes


def _count(operations: Int64[np.ndarray, "operation 4"] | None) -> int | None:
    return None if operations is None else len(operations)


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values; None if there is none or one of them is undefined."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined and len(defined) == len(values) else None
