"""Calibration: the thresholds that turn one model's distance maps into the best labels of validation images."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, Integer
from torch import Tensor

from dinocell_core import DINOCell, load_model, save_model
from dinocell_eval import Sweep, higher_is_better, mean_score, per_image_values
from dinocell_io import Sample, counted, grey_image, read_image, read_labels, refuse_binary_masks
from dinocell_kernels import remove_small
from dinocell_seg.pipeline import DINOCellPipeline
from dinocell_seg.settings import Thresholds
from dinocell_seg.training_images import naming
from dinocell_seg.watershed import labels_from_distance_map

PEAKS = (0.2, 0.3, 0.4, 0.5)
FILLS = (0.05, 0.08, 0.1, 0.12, 0.15, 0.2)
PROMINENCES = (None, 0.1, 0.15, 0.2, 0.25, 0.3)
FULL_PROMINENCES_PX = (0.0, 20.0, 40.0)
MIN_SIZES = (0, 20)
SHOWN_METRICS = ("op_csb", "ap_mean", "mma")


@dataclass(frozen=True)
class GridPoint:
    """One set of thresholds (sizes in pixels) and its score, the mean over the images."""

    peak: float
    fill: float
    prominence: float | None
    full_prominence_px: float
    min_size: int
    score: float


@dataclass(frozen=True)
class Calibration:
    """The best point of a sweep, the complete grid, and what it was measured on.

    `slice` holds the scores of each image over peaks and fills, at the best values of the others, for the
    metric and SHOWN_METRICS: with it `dinocell_eval` draws the heat map, the best point's interval and its plateau.
    """

    best: GridPoint
    grid: tuple[GridPoint, ...]
    metric: str
    num_images: int
    split: str
    slice: Sweep

    def thresholds(self) -> Thresholds:
        chosen = {name: value for name, value in asdict(self.best).items() if name != "score"}
        return Thresholds(**chosen, min_size_of="network")

    def interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of the best score over the images; None for a single image."""
        return self.slice.best(self.metric).interval

    def as_dict(self) -> dict[str, Any]:
        """Plain values, without the scores of single images."""
        return {
            "best": asdict(self.best),
            "interval": self.interval(),
            "metric": self.metric,
            "num_images": self.num_images,
            "split": self.split,
            "grid": [asdict(point) for point in self.grid],
        }


def calibrate(
    pipeline: DINOCellPipeline,
    samples: Sequence[Sample],
    *,
    metric: str = "ap_mean",
    peaks: Sequence[float] = PEAKS,
    fills: Sequence[float] = FILLS,
    prominences: Sequence[float | None] = PROMINENCES,
    full_prominences_px: Sequence[float] = FULL_PROMINENCES_PX,
    min_sizes: Sequence[int] = MIN_SIZES,
    channel: str | int | None = None,
) -> Calibration:
    """Sweep the thresholds over labelled images with one network pass per image.

    ``metric`` is a name of ``dinocell_eval.evaluate``, averaged over the images where it is defined, or several names
    joined by "+", whose mean counts. Ties go to the first point in the order of the grids.

    Raises:
        ValueError: no samples, samples of several splits or of a test split, or a metric that nobody knows or that is
            not better when it is higher.
    """
    splits = {sample.split for sample in samples}
    if len(splits) != 1:
        raise ValueError(
            f"calibration takes the images of one split; got {counted(len(samples), 'image')} of splits {splits}"
        )
    (split,) = splits
    check_choice(metric=metric, split=split)
    truths, maps, scales = [read_labels(sample.labels_path) for sample in samples], [], []
    refuse_binary_masks(zip((str(sample.labels_path) for sample in samples), truths, strict=True))
    if not any(truth.any() for truth in truths):
        raise ValueError(
            f"{metric} is undefined on these images: none of {counted(len(truths), 'mask')} holds a cell; give label "
            "images with cells"
        )
    for sample, truth in zip(samples, truths, strict=True):
        plane = grey_image(read_image(sample.image_path), channel=channel)
        if plane.shape != truth.shape:
            raise ValueError(
                f"{sample.image_path} is {plane.shape} but {sample.labels_path} is {truth.shape}; they must be the "
                "same field"
            )
        with naming(sample.image_path):
            prediction = pipeline.predict(plane)
        maps.append(prediction.heights)
        scales.append(prediction.scale)
    scores = sweep(
        truths,
        maps,
        metric=metric,
        peaks=peaks,
        fills=fills,
        prominences=prominences,
        full_prominences_px=full_prominences_px,
        min_sizes=min_sizes,
        scales=scales,
    )
    best = max(scores, key=lambda point: point.score)
    return Calibration(
        best=best,
        grid=tuple(scores),
        metric=metric,
        num_images=len(samples),
        split=split or "all",
        slice=_slice_of(scores, best, [sample.name for sample in samples], split=split or "all", metric=metric),
    )


def check_choice(*, metric: str, split: str | None) -> None:
    """Raise ValueError for a metric or a split that `calibrate` refuses, before an image is read."""
    for name in metric.split("+"):
        if not higher_is_better(name):
            raise ValueError(f"{name} is not better when it is higher; maximise another, such as ap_mean or op_csb")
    per_image_values([], [], metrics=metric.split("+"))
    if split == "test":
        raise ValueError(
            "thresholds chosen on a test split make its scores worthless; calibrate on the split 'val' and report "
            "the test split once, with the thresholds chosen here"
        )


def sweep(
    truths: Sequence[Integer[np.ndarray, "y x"]],
    maps: Sequence[Float32[np.ndarray, "y x"] | Float32[Tensor, "y x"]],
    *,
    metric: str,
    peaks: Sequence[float],
    fills: Sequence[float],
    prominences: Sequence[float | None],
    min_sizes: Sequence[int],
    full_prominences_px: Sequence[float] = (0.0,),
    scales: Sequence[float] | None = None,
) -> dict[GridPoint, dict[str, Float64[np.ndarray, "image"]]]:
    """Every combination that differs and whose peak is not below its fill, with the metric and SHOWN_METRICS of each
    image; `scales` are those that the network saw the images at, 1 by default.
    """
    names = tuple(dict.fromkeys((*metric.split("+"), *SHOWN_METRICS)))
    points = {}
    seen_at = scales or [1.0] * len(maps)
    with ThreadPoolExecutor() as pool:  # the kernels run without the GIL
        for peak, fill, prominence in product(peaks, fills, prominences):
            if peak < fill:
                continue
            for full_px in full_prominences_px if prominence is not None else full_prominences_px[:1]:
                thresholds = Thresholds(peak=peak, fill=fill, prominence=prominence, full_prominence_px=full_px)
                whole = list(pool.map(partial(_labelled, thresholds), maps, seen_at))
                for min_size in min_sizes:
                    predictions = (
                        remove_small(labels, min_size=round(min_size / scale**2))[0]
                        for labels, scale in zip(whole, seen_at, strict=True)
                    )
                    values = per_image_values(truths, predictions, metrics=names)
                    score = float(mean_score(values, metric))
                    if math.isnan(score):
                        raise ValueError(f"{metric} is undefined on these images; do their labels hold any cell?")
                    points[GridPoint(peak, fill, prominence, full_px, min_size, score)] = values
    return points


def _labelled(
    thresholds: Thresholds, distance_map: Float32[np.ndarray, "y x"] | Float32[Tensor, "y x"], scale: float
) -> Int32[np.ndarray, "y x"]:
    return labels_from_distance_map(distance_map, **thresholds.for_map(scale=scale))


def _slice_of(
    points: Mapping[GridPoint, Mapping[str, Float64[np.ndarray, "image"]]],
    best: GridPoint,
    names: Sequence[str],
    *,
    split: str,
    metric: str,
) -> Sweep:
    """The points that share all but peak and fill with the best one."""
    shown = {
        point: values
        for point, values in points.items()
        if replace(point, peak=best.peak, fill=best.fill, score=best.score) == best
    }
    peaks, fills = sorted({point.peak for point in shown}), sorted({point.fill for point in shown})
    grids = {name: np.full((len(peaks), len(fills), len(names)), np.nan) for name in points[best]}
    for point, values in shown.items():
        for name, grid in grids.items():
            grid[peaks.index(point.peak), fills.index(point.fill)] = values[name]
    combined = (metric,) if "+" in metric else ()
    return Sweep(tuple(peaks), tuple(fills), tuple(names), split, grids, combined)


def store_calibration(model_path: str | Path, calibration: Calibration) -> None:
    """Write the chosen thresholds, how they were chosen and what they replace into a model file, all or nothing.

    Raises ValueError, and leaves the file as it is, if nothing matches at any point: then none is better than others.
    """
    if problem := calibration.slice.nothing_matches(calibration.metric):
        raise ValueError(f"{model_path} keeps its thresholds: {problem}")
    model: DINOCell = load_model(model_path)
    replaced = {key: model.metadata[key] for key in ("thresholds", "calibration") if key in model.metadata}
    replaced.get("calibration", {}).pop("replaced", None)
    best = asdict(calibration.best)
    facts = {
        **model.metadata,
        "thresholds": calibration.thresholds().model_dump(),
        "calibration": {
            "metric": calibration.metric,
            "score": best["score"],
            "interval": calibration.interval(),
            "num_images": calibration.num_images,
            "split": calibration.split,
            "replaced": replaced,
        },
    }
    save_model(model_path, model, metadata=facts, dtype=stored_dtype(model_path))


def stored_dtype(model_path: str | Path) -> torch.dtype:
    """The type a model file keeps its weights in."""
    from safetensors import safe_open

    with safe_open(model_path, framework="pt") as file:
        return file.get_tensor("decoder.head.weight").dtype
