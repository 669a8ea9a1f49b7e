"""Calibration: the thresholds that turn one model's distance maps into the best labels of validation images."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Integer

from dinocell_core import DINOCell, load_model, save_model
from dinocell_eval import evaluate
from dinocell_io import Sample, grey_image, read_image, read_labels
from dinocell_kernels import remove_small
from dinocell_seg.pipeline import DINOCellPipeline
from dinocell_seg.settings import Thresholds
from dinocell_seg.watershed import labels_from_distance_map

PEAKS = (0.2, 0.3, 0.4, 0.5)
FILLS = (0.05, 0.08, 0.1, 0.12, 0.15, 0.2)
PROMINENCES = (None, 0.1, 0.15, 0.2, 0.25, 0.3)
MIN_SIZES = (0, 20)


@dataclass(frozen=True)
class GridPoint:
    """One set of thresholds (minimum size in pixels) and its score, the mean over the images."""

    peak: float
    fill: float
    prominence: float | None
    min_size: int
    score: float


@dataclass(frozen=True)
class Calibration:
    """The best point of a sweep, the whole grid, and what it was measured on."""

    best: GridPoint
    grid: tuple[GridPoint, ...]
    metric: str
    num_images: int
    split: str

    def thresholds(self) -> Thresholds:
        best = self.best
        return Thresholds(peak=best.peak, fill=best.fill, prominence=best.prominence, min_size=best.min_size)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def calibrate(
    pipeline: DINOCellPipeline,
    samples: Sequence[Sample],
    *,
    metric: str = "ap_mean",
    peaks: Sequence[float] = PEAKS,
    fills: Sequence[float] = FILLS,
    prominences: Sequence[float | None] = PROMINENCES,
    min_sizes: Sequence[int] = MIN_SIZES,
    channel: str | int | None = None,
) -> Calibration:
    """Sweep the thresholds over labelled images with one network pass per image.

    ``metric`` is a name of ``dinocell_eval.evaluate``, averaged over the images where it is defined, or several names
    joined by "+", whose mean counts. Ties go to the first point in the order of the grids.

    Raises:
        ValueError: no samples, samples of several splits or of a test split, or a metric nobody knows.
    """
    splits = {sample.split for sample in samples}
    if len(splits) != 1:
        raise ValueError(f"calibration takes the images of one split; got {len(samples)} images of splits {splits}")
    (split,) = splits
    if split == "test":
        raise ValueError(
            "thresholds chosen on a test split make its scores worthless; calibrate on the split 'val' and report "
            "the test split once, with the thresholds that came out"
        )
    truths, maps = [], []
    for sample in samples:
        truths.append(read_labels(sample.labels_path))
        plane = grey_image(read_image(sample.image_path), channel=channel)
        maps.append(pipeline.predict(plane).distance_map)
    grid = sweep(truths, maps, metric=metric, peaks=peaks, fills=fills, prominences=prominences, min_sizes=min_sizes)
    best = max(grid, key=lambda point: point.score)
    return Calibration(best=best, grid=grid, metric=metric, num_images=len(samples), split=split or "all")


def sweep(
    truths: Sequence[Integer[np.ndarray, "y x"]],
    maps: Sequence[Float32[np.ndarray, "y x"]],
    *,
    metric: str,
    peaks: Sequence[float],
    fills: Sequence[float],
    prominences: Sequence[float | None],
    min_sizes: Sequence[int],
) -> tuple[GridPoint, ...]:
    """Score of every combination whose peak is not below its fill."""
    points = []
    with ThreadPoolExecutor() as pool:  # the kernels run without the GIL
        for peak, fill, prominence in product(peaks, fills, prominences):
            if peak < fill:
                continue
            label = partial(labels_from_distance_map, peak=peak, fill=fill, prominence=prominence)
            whole = list(pool.map(label, maps))
            for min_size in min_sizes:
                predictions = (remove_small(labels, min_size=min_size)[0] for labels in whole)
                means = evaluate(truths, predictions, num_replicates=0).per_image_mean
                points.append(GridPoint(peak, fill, prominence, min_size, _mean_score(means, metric)))
    return tuple(points)


def _mean_score(means: Mapping[str, float | None], metric: str) -> float:
    scores = []
    for name in metric.split("+"):
        if name not in means:
            raise ValueError(f"there is no metric {name!r}; choose from {', '.join(sorted(means))}")
        score = means[name]
        if score is None:
            raise ValueError(f"{name} is undefined on these images; do their labels hold any cell?")
        scores.append(score)
    return sum(scores) / len(scores)


def store_calibration(model_path: str | Path, calibration: Calibration) -> None:
    """Write the chosen thresholds, and how they were chosen, into a model file."""
    model: DINOCell = load_model(model_path)
    best = asdict(calibration.best)
    facts = {
        **model.metadata,
        "thresholds": calibration.thresholds().model_dump(),
        "calibration": {
            "metric": calibration.metric,
            "score": best["score"],
            "num_images": calibration.num_images,
            "split": calibration.split,
        },
    }
    save_model(model_path, model, metadata=facts, dtype=stored_dtype(model_path))


def stored_dtype(model_path: str | Path) -> torch.dtype:
    """The type a model file keeps its weights in."""
    from safetensors import safe_open

    with safe_open(model_path, framework="pt") as file:
        return file.get_tensor("decoder.head.weight").dtype
