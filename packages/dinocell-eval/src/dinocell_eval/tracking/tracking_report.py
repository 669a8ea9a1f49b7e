"""The measures of a sequence as JSON and with their definitions. None is null, never NaN."""

import json
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version

from dinocell_eval.tracking.evaluate_tracking import TrackingEvaluation

SCHEMA_VERSION = 1

# name: id, which changes when the numbers would, and meaning
MEASURES = {
    "seg": ("ctc-seg/1", "sum of IoU of the matched / true objects; a match covers more than half of the true object"),
    "det": ("ctc-det/1", "1 - min(5 NS + 10 FN + FP, 10 n) / 10 n, n true objects"),
    "tra": ("ctc-tra/1", "1 - min(AOGM, AOGM0) / AOGM0, AOGM0 = 10 n + 1.5 true edges"),
    "op_csb": ("ctc-op-csb/1", "(SEG + DET) / 2"),
    "op_ctb": ("ctc-op-ctb/1", "(SEG + TRA) / 2"),
    "lnk": ("ctc-lnk/1", "1 - min(ED + 1.5 EA + EC, 1.5 true edges) / 1.5 true edges"),
    "aogm": ("ctc-aogm/1", "5 NS + 10 FN + FP + ED + 1.5 EA + EC"),
    "ct": ("ctc-ct/1", "2 complete tracks / (true + result tracks)"),
    "tf": ("ctc-tf/1", "mean longest followed part of the true tracks that are found; in the official order of labels"),
    "tf_stable": ("tf-stable/1", "the same without the order: every result track counts for all true tracks"),
    "bc": ("ctc-bc/1", "2 correct / (true + result divisions), for each tolerance 0, 1, 2, ... in frames"),
    "cca": ("ctc-cca/1", "1 - greatest difference of the cumulative distributions of the lengths of cell cycles"),
    "bio": ("ctc-bio/1", "mean of those of CT, TF, BC(i), CCA that are defined, for each tolerance i"),
    "op_clb": ("ctc-op-clb/1", "(LNK + BIO(i)) / 2, for each tolerance i"),
    "chota": ("chota/1", "sqrt(sum of matches x association of their lineages / (TP + FN + FP))"),
}

COUNTS = {
    "ns": ("ctc-ns/1", "splits: m - 1 for a result object that matches m true ones"),
    "fn": ("ctc-fn/1", "true objects without match"),
    "fp": ("ctc-fp/1", "result objects without match"),
    "ed": ("ctc-ed/1", "result edges without true edge, between objects that match one true object each"),
    "ea": ("ctc-ea/1", "true edges without result edge"),
    "ec": ("ctc-ec/1", "edges of the wrong kind: track instead of parental, or the reverse"),
    "num_frames": ("frames/1", "frames"),
    "n_truth": ("objects/1", "true objects"),
    "n_result": ("objects/1", "result objects"),
    "n_truth_edges": ("edges/1", "true edges"),
    "n_truth_tracks": ("tracks/1", "true tracks"),
    "n_result_tracks": ("tracks/1", "result tracks"),
}


def tracking_summary(
    evaluation: TrackingEvaluation, *, inputs: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Measures, counts, notes and definitions; `inputs` says what was compared."""
    values = {field.name: getattr(evaluation, field.name) for field in fields(evaluation)}
    definitions = MEASURES | COUNTS
    return {
        "schema_version": SCHEMA_VERSION,
        "version": version("dinocell-eval"),
        "measures": {name: values[name] for name in MEASURES},
        "counts": {name: values[name] for name in COUNTS},
        "notes": list(evaluation.notes),
        "definitions": {name: {"id": id_, "meaning": meaning} for name, (id_, meaning) in definitions.items()},
        "inputs": inputs,
    }


def tracking_json(evaluation: TrackingEvaluation, *, inputs: Mapping[str, object] | None = None) -> str:
    """Everything but the single corrections and objects as JSON text, with schema version and definitions."""
    return json.dumps(tracking_summary(evaluation, inputs=inputs), indent=2, allow_nan=False) + "\n"
