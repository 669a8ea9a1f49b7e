"""Exact and fast evaluation of cell segmentation: SEG, DET, OP_CSB, AP and more, pooled and per image."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "PROTOCOLS": "protocols",
    "Comparison": "comparison",
    "CtcSequence": "ctc_dataset",
    "Difference": "comparison",
    "Evaluation": "evaluate",
    "FilePair": "folders",
    "Objects": "taxonomy",
    "Optimum": "sweep",
    "PairTable": "overlap",
    "Pairing": "folders",
    "Protocol": "protocols",
    "ProtocolResult": "protocols",
    "Stratum": "strata",
    "Sweep": "sweep",
    "TrackingEvaluation": "tracking",
    "Tracks": "tracks",
    "compare": "comparison",
    "describe_inputs": "report",
    "evaluate": "evaluate",
    "evaluate_ctc_sequence": "ctc_evaluation",
    "evaluate_tracking": "tracking",
    "open_ctc_sequence": "ctc_dataset",
    "pair_folders": "folders",
    "pair_table": "overlap",
    "read_tracks": "tracks",
    "stratify": "strata",
    "sweep_distance_maps": "sweep",
    "sweep_labels": "sweep",
    "write_report": "report",
    "write_tracks": "tracks",
}


def __getattr__(name: str) -> Any:
    # on first use: the commands' help must not wait for NumPy and SciPy
    if name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _TableOfContents(ModuleType):
    """`evaluate`, which is called like its module, stays the function when the module is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOMES.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _TableOfContents
