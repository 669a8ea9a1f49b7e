"""Exact and fast evaluation of cell segmentation: SEG, DET, OP_CSB, AP and more, pooled and per image."""

from dinocell_eval.comparison import Comparison, Difference, compare
from dinocell_eval.evaluate import Evaluation, evaluate
from dinocell_eval.folders import FilePair, Pairing, pair_folders
from dinocell_eval.overlap import PairTable, pair_table
from dinocell_eval.report import describe_inputs, write_report
from dinocell_eval.strata import Stratum, stratify
from dinocell_eval.taxonomy import Objects

__all__ = [
    "Comparison",
    "Difference",
    "Evaluation",
    "FilePair",
    "Objects",
    "PairTable",
    "Pairing",
    "Stratum",
    "compare",
    "describe_inputs",
    "evaluate",
    "pair_folders",
    "pair_table",
    "stratify",
    "write_report",
]
