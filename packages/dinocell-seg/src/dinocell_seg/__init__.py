"""Cell segmentation: train, calibrate and run DINOCell on images of any size."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dinocell_seg.measure import measure_cells
    from dinocell_seg.normalize import Normalization, fit_normalization
    from dinocell_seg.pipeline import DINOCellPipeline
    from dinocell_seg.predict import predict_distance_map
    from dinocell_seg.segment import Segmentation, segment_file, segment_image
    from dinocell_seg.settings import SegmentSettings, Thresholds
    from dinocell_seg.tiling import predict_tiled
    from dinocell_seg.watershed import confidence, labels_from_distance_map

__all__ = [
    "DINOCellPipeline",
    "Normalization",
    "SegmentSettings",
    "Segmentation",
    "Thresholds",
    "confidence",
    "fit_normalization",
    "labels_from_distance_map",
    "measure_cells",
    "predict_distance_map",
    "predict_tiled",
    "segment_file",
    "segment_image",
]

_HOMES = {
    "DINOCellPipeline": "pipeline",
    "Normalization": "normalize",
    "SegmentSettings": "settings",
    "Segmentation": "segment",
    "Thresholds": "settings",
    "confidence": "watershed",
    "fit_normalization": "normalize",
    "labels_from_distance_map": "watershed",
    "measure_cells": "measure",
    "predict_distance_map": "predict",
    "predict_tiled": "tiling",
    "segment_file": "segment",
    "segment_image": "segment",
}


def __getattr__(name: str) -> Any:
    # on first use: the commands' help must not wait for torch
    if name in _HOMES:
        return getattr(import_module(f"dinocell_seg.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
