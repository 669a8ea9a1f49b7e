"""Exact and fast evaluation of cell segmentation: SEG, DET, OP_CSB, AP and more, pooled and per image."""

from dinocell_eval.comparison import Comparison, Difference, compare
from dinocell_eval.ctc_dataset import CtcSequence, open_ctc_sequence
from dinocell_eval.ctc_evaluation import evaluate_ctc_sequence
from dinocell_eval.evaluate import Evaluation, evaluate
from dinocell_eval.folders import FilePair, Pairing, pair_folders
from dinocell_eval.overlap import PairTable, pair_table
from dinocell_eval.protocols import PROTOCOLS, Protocol, ProtocolResult
from dinocell_eval.report import describe_inputs, write_report
from dinocell_eval.strata import Stratum, stratify
from dinocell_eval.sweep import Optimum, Sweep, sweep_distance_maps, sweep_labels
from dinocell_eval.taxonomy import Objects
from dinocell_eval.tracking import TrackingEvaluation, evaluate_tracking
from dinocell_eval.tracks import Tracks, read_tracks, write_tracks

__all__ = [
    "PROTOCOLS",
    "Comparison",
    "CtcSequence",
    "Difference",
    "Evaluation",
    "FilePair",
    "Objects",
    "Optimum",
    "PairTable",
    "Pairing",
    "Protocol",
    "ProtocolResult",
    "Stratum",
    "Sweep",
    "TrackingEvaluation",
    "Tracks",
    "compare",
    "describe_inputs",
    "evaluate",
    "evaluate_ctc_sequence",
    "evaluate_tracking",
    "open_ctc_sequence",
    "pair_folders",
    "pair_table",
    "read_tracks",
    "stratify",
    "sweep_distance_maps",
    "sweep_labels",
    "write_report",
    "write_tracks",
]
