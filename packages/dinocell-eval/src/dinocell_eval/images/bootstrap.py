"""Bootstrap confidence intervals over images, from their sufficient statistics."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Float64

from dinocell_eval.metrics.metric_table import Metric
from dinocell_eval.overlap.statistics import Statistics

NUM_REPLICATES = 10_000
SEED = 20260
LEVEL = 0.95
FEWEST_IMAGES = 8  # below, percentiles of so few distinct resamples say little

Name = TypeVar("Name", bound=Hashable)

_DRAWS_AT_ONCE = 2**21  # bounds memory for sets of many images


def bootstrap_intervals(
    statistics: Statistics,
    metrics: Mapping[Name, Metric],
    *,
    num_replicates: int = NUM_REPLICATES,
    seed: int = SEED,
) -> dict[Name, tuple[float, float] | None]:
    """95 % percentile interval of each pooled metric over resampled images.

    Images are resampled, not cells, because cells of one image are not independent. Each replicate adds the statistics
    of its images and applies the formula, so all replicates are one matrix product. Deterministic, and independent
    of the order of the images. None with fewer than two images, without replicates, or where no replicate defines
    the metric; replicates that leave it undefined are left out. Raises ValueError for a negative number of replicates.
    """
    if num_replicates < 0:
        raise ValueError(f"{num_replicates} bootstrap replicates, expected 0 (no intervals) or more, such as 10000")
    columns = np.stack(list(statistics.values()), axis=1)
    num_images = columns.shape[0]
    if num_images < 2 or num_replicates == 0:
        return dict.fromkeys(metrics)
    columns = columns[np.lexsort(columns.T[::-1])]  # by the first statistic first, so that further ones change no draw
    totals = resampled_totals(columns, num_replicates=num_replicates, seed=seed)
    replicates = dict(zip(statistics, totals.T, strict=True))
    return {name: percentile_interval(metric.formula(replicates)) for name, metric in metrics.items()}


def resampled_totals(
    columns: Float64[np.ndarray, "image statistic"], *, num_replicates: int, seed: int
) -> Float64[np.ndarray, "replicate statistic"]:
    """Sums of the rows of `columns` over as many images, drawn with replacement, as there are; one row a replicate."""
    num_images = columns.shape[0]
    generator = np.random.default_rng(seed)
    rows_at_once = max(1, _DRAWS_AT_ONCE // num_images)
    totals = []
    for start in range(0, num_replicates, rows_at_once):
        rows = min(rows_at_once, num_replicates - start)
        drawn = generator.integers(num_images, size=(rows, num_images))
        drawn += np.arange(rows)[:, None] * num_images
        times = np.bincount(drawn.ravel(), minlength=rows * num_images).reshape(rows, num_images)
        totals.append(times.astype(np.float64) @ columns)
    return np.concatenate(totals)


def percentile_interval(values: Float64[np.ndarray, "replicate"]) -> tuple[float, float] | None:
    """The middle 95 % of the replicates that are defined; None if there are none."""
    defined = values[np.isfinite(values)]
    if not defined.size:
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
