"""Scores over a grid of thresholds, from saved distance maps or labels, and what the best point is worth.

`dinocell calibrate` runs the network and stores thresholds; this needs no network and shows the whole grid.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Float64, Integer

from dinocell_eval.images.bootstrap import NUM_REPLICATES, SEED, percentile_interval, resampled_totals
from dinocell_eval.images.evaluate import per_image_values
from dinocell_eval.metrics.metric_table import higher_is_better
from dinocell_eval.overlap.statistics import Column
from dinocell_io import counted
from dinocell_kernels import remove_small, watershed

PEAKS = tuple(k / 20 for k in range(2, 20))
FILLS = tuple(k / 50 for k in range(1, 16))
NO_RESULT = "these images chose the thresholds: their scores are not a result"
METRICS = ("op_csb", "ap_mean", "mma")


@dataclass(frozen=True)
class Optimum:
    """The best point of one metric on the images it was chosen on, which makes its score no result.

    `interval` is the 95 % bootstrap interval of the score over images, `standard_error` its standard deviation; both
    None with fewer than two images. `plateau` marks the points within one standard error of the best: any of them
    is as good a choice.
    """

    peak: float
    fill: float
    score: float
    interval: tuple[float, float] | None
    standard_error: float | None
    plateau: Bool[np.ndarray, "peak fill"]


@dataclass(frozen=True)
class Sweep:
    """Values of each image at each point of the grid, by metric; NaN where undefined or the peak is below the fill.

    Several metrics joined by "+" are a metric too; `combined` names those that reports show.
    """

    peaks: tuple[float, ...]
    fills: tuple[float, ...]
    names: tuple[str, ...]
    split: str
    values: Mapping[str, Float64[np.ndarray, "peak fill image"]]
    combined: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that reports show."""
        return (*self.combined, *self.values)

    def scores(self, metric: str) -> Float64[np.ndarray, "peak fill"]:
        """`mean_score` of each point."""
        self._require(metric)
        return mean_score(self.values, metric)

    def best(self, metric: str, *, num_replicates: int = NUM_REPLICATES) -> Optimum:
        """The point with the best score, the first of equals in the order of peaks and fills.

        Raises ValueError if the metric is undefined on the whole grid, or is one of which neither high nor low is good.
        """
        scores, better = self.scores(metric), higher_is_better(metric)
        if better is None:
            raise ValueError(f"{metric} has no best value; choose by another metric, such as {', '.join(METRICS)}")
        if np.isnan(scores).all():
            raise ValueError(f"{metric} is undefined on the whole grid; do the true labels hold any cell?")
        row, column = np.unravel_index(int(np.nanargmax(scores if better else -scores)), scores.shape)
        score = float(scores[row, column])
        interval = error = None
        if len(self.names) > 1 and num_replicates:
            means = self._resampled_means(metric, row, column, num_replicates)
            interval, error = percentile_interval(means), float(means.std())
        with np.errstate(invalid="ignore"):
            plateau = scores >= score - (error or 0.0) if better else scores <= score + (error or 0.0)
        return Optimum(self.peaks[row], self.fills[column], score, interval, error, plateau)

    def nothing_matches(self, metric: str) -> str | None:
        """What to know of a metric that is 0 at every point, None of any other; of a count error 0 is the aim."""
        scores = self.scores(metric)
        if higher_is_better(metric) is False or not np.array_equal(scores[~np.isnan(scores)].max(initial=-1), 0):
            return None
        return (
            f"{metric} is 0 at every point: the model finds nothing that matches on these images, and no thresholds "
            "are better than others; look at a distance map (dinocell segment --save-distance-map)"
        )

    def to_json(self) -> str:
        """Grid, scores, best points and plateaus as JSON text; null where undefined."""
        metrics = {}
        for name in self.metrics:
            best = self.best(name)
            metrics[name] = {
                "best": {key: value for key, value in asdict(best).items() if key != "plateau"},
                "plateau": [
                    [self.peaks[row], self.fills[column]] for row, column in np.argwhere(best.plateau).tolist()
                ],
                "scores": [[None if np.isnan(score) else score for score in row] for row in self.scores(name).tolist()],
            }
        content = {
            "schema_version": 1,
            "split": self.split,
            "images": list(self.names),
            "peaks": list(self.peaks),
            "fills": list(self.fills),
            "metrics": metrics,
            "note": NO_RESULT,
        }
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    def _resampled_means(
        self, metric: str, row: np.intp, column: np.intp, num_replicates: int
    ) -> Float64[np.ndarray, " replicate"]:
        """`mean_score` of images drawn anew, where every one of its metrics is defined on one of them."""
        columns = []
        for name in metric.split("+"):
            values = self.values[name][row, column]
            defined = ~np.isnan(values)
            columns += [np.where(defined, values, 0), defined.astype(np.float64)]
        totals = resampled_totals(np.stack(columns, axis=1), num_replicates=num_replicates, seed=SEED)
        sums, numbers = totals[:, 0::2], totals[:, 1::2]
        usable = (numbers > 0).all(axis=1)
        means: Float64[np.ndarray, " replicate"] = (sums[usable] / numbers[usable]).mean(axis=1)
        return means

    def _require(self, metric: str) -> None:
        if any(name not in self.values for name in metric.split("+")):
            raise ValueError(f"the sweep has no metric {metric!r}; it has {', '.join(self.values)}")


def mean_score(values: Mapping[str, Float64[np.ndarray, "*point image"]], metric: str) -> Float64[np.ndarray, "*point"]:
    """Mean over the images where the metric is defined, NaN where it is nowhere.

    Of several metrics joined by "+" the mean of their means, each over the images where it is defined itself.
    """
    means = []
    for name in metric.split("+"):
        defined = ~np.isnan(values[name])
        number = np.asarray(defined.sum(axis=-1))
        sums = np.where(defined, values[name], 0).sum(axis=-1)
        means.append(np.divide(sums, number, out=np.full(number.shape, np.nan), where=number > 0))
    return np.asarray(np.mean(means, axis=0))


def sweep_distance_maps(
    truths: Sequence[Integer[np.ndarray, "y x"]],
    maps: Sequence[Float[np.ndarray, "y x"]],
    *,
    split: str,
    peaks: Sequence[float] = PEAKS,
    fills: Sequence[float] = FILLS,
    min_size: int = 0,
    metrics: Sequence[str] = METRICS,
    names: Sequence[str] | None = None,
) -> Sweep:
    """Watershed of every map at every pair of thresholds with peak >= fill, on all cores, and its metrics.

    `split` says which images these are; "test" is refused, because thresholds chosen there make its scores
    worthless. `min_size` drops smaller cells. Raises ValueError for that, for unequal numbers of images, an unknown
    metric, and thresholds that do not ascend.
    """
    _check(truths, len(maps), split=split, metrics=metrics, names=names)
    points = _points(peaks, fills)

    def labels(point: tuple[float, float]) -> list[Integer[np.ndarray, "y x"]]:
        return [remove_small(watershed(one, peak=point[0], fill=point[1]), min_size=min_size)[0] for one in maps]

    def scored(point: tuple[float, float]) -> dict[str, Column]:
        return per_image_values(truths, labels(point), metrics=metrics)

    with ThreadPoolExecutor() as pool:  # the kernels run without the interpreter's lock
        found = dict(zip(points, pool.map(scored, points), strict=True))
    return _assembled(found, peaks, fills, len(truths), split=split, metrics=metrics, names=names)


def sweep_labels(
    truths: Sequence[Integer[np.ndarray, "y x"]],
    labels: Mapping[tuple[float, float], Iterable[Integer[np.ndarray, "y x"]]],
    *,
    split: str,
    metrics: Sequence[str] = METRICS,
    names: Sequence[str] | None = None,
) -> Sweep:
    """The same of labels made elsewhere: for each point (peak, fill) the labels of all images, points may be missing.

    Any two settings of a program may stand for peak and fill. Errors as in `sweep_distance_maps`.
    """
    _check(truths, len(truths), split=split, metrics=metrics, names=names)
    found = {point: per_image_values(truths, of_point, metrics=metrics) for point, of_point in labels.items()}
    peaks, fills = (sorted({point[axis] for point in found}) for axis in (0, 1))
    return _assembled(found, peaks, fills, len(truths), split=split, metrics=metrics, names=names)


def _assembled(
    found: Mapping[tuple[float, float], Mapping[str, Column]],
    peaks: Sequence[float],
    fills: Sequence[float],
    num_images: int,
    *,
    split: str,
    metrics: Sequence[str],
    names: Sequence[str] | None,
) -> Sweep:
    values = {metric: np.full((len(peaks), len(fills), num_images), np.nan) for metric in metrics}
    row, column = ({value: k for k, value in enumerate(axis)} for axis in (peaks, fills))
    for (peak, fill), of_point in found.items():
        for metric in metrics:
            values[metric][row[peak], column[fill]] = of_point[metric]
    image_names = tuple(names) if names is not None else tuple(str(k) for k in range(num_images))
    return Sweep(tuple(peaks), tuple(fills), image_names, split, values)


def _points(peaks: Sequence[float], fills: Sequence[float]) -> list[tuple[float, float]]:
    for name, values in (("peaks", peaks), ("fills", fills)):
        if not values or any(high <= low for low, high in pairwise(values)):
            raise ValueError(f"{name} are {list(values)}, expected ascending thresholds such as 0.3, 0.4, 0.5")
    points = [(peak, fill) for peak in peaks for fill in fills if peak >= fill]
    if not points:
        raise ValueError(f"no peak of {list(peaks)} reaches a fill of {list(fills)}; expected peak >= fill")
    return points


def _check(
    truths: Sequence[Integer[np.ndarray, "y x"]],
    num_images: int,
    *,
    split: str,
    metrics: Sequence[str],
    names: Sequence[str] | None,
) -> None:
    refuse_test_split(split)
    if len(truths) != num_images or not truths:
        raise ValueError(
            f"{counted(len(truths), 'truth')} but {counted(num_images, 'map')}, expected equal numbers and at least one"
        )
    if names is not None and len(names) != len(truths):
        raise ValueError(
            f"{counted(len(names), 'name')} but {counted(len(truths), 'image')}, expected one name an image"
        )
    per_image_values([], [], metrics=metrics)  # refuses unknown ones before the work


def check_grid(peaks: Sequence[float], fills: Sequence[float], *, metrics: Sequence[str]) -> None:
    """Raise ValueError for thresholds and metrics that a sweep refuses, before any image is read."""
    _points(peaks, fills)
    per_image_values([], [], metrics=metrics)


def refuse_test_split(split: str) -> None:
    """Raise ValueError if thresholds would be chosen on the split "test"."""
    if split == "test":
        raise ValueError(
            "thresholds chosen on a test split make its scores worthless; sweep the split 'val' and report the test "
            "split once, with the thresholds chosen here"
        )
