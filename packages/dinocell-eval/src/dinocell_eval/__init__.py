"""Exact and fast evaluation of cell segmentation: SEG, DET, OP_CSB, AP and more, pooled and per image."""

from dinocell_eval.evaluate import Evaluation, evaluate
from dinocell_eval.folders import FilePair, Pairing, pair_folders
from dinocell_eval.overlap import PairTable, pair_table
from dinocell_eval.report import describe_inputs, write_report
from dinocell_eval.taxonomy import Objects

__all__ = [
    "Evaluation",
    "FilePair",
    "Objects",
    "PairTable",
    "Pairing",
    "describe_inputs",
    "evaluate",
    "pair_folders",
    "pair_table",
    "write_report",
]
