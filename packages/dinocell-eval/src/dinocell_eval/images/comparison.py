"""Two predictions of the same images: differences with intervals and p-values, from the statistics of the images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from dinocell_eval.images.bootstrap import FEWEST_IMAGES, NUM_REPLICATES, SEED, percentile_interval, resampled_totals
from dinocell_eval.images.evaluate import Evaluation
from dinocell_eval.images.protocols import quantity_metrics
from dinocell_eval.metrics.metric_table import Metric
from dinocell_eval.overlap.statistics import total
from dinocell_io import counted

_Sums = Mapping[str, np.ndarray]  # statistics of images, replicates or exchanges, so of several lengths in one call
_EXACT_IMAGES = 13  # 2**13 exchanges are fewer than the replicates, so all of them are tried


@dataclass(frozen=True)
class Difference:
    """Second minus first value of one metric; None where undefined.

    `interval` is the 95 % bootstrap interval of the difference over resampled images, both predictions of an image
    together. `p_value` is that of an exchange test: the share of ways of exchanging the two predictions within images
    that give a difference at least as large. `higher` and `lower` count images by the second value against the first.
    """

    first: float | None
    second: float | None
    difference: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    higher: int
    lower: int


@dataclass(frozen=True)
class Comparison:
    """Differences of the pooled metrics and of the protocol's numbers, by name."""

    num_images: int
    differences: Mapping[str, Difference]
    protocol: Mapping[str, Difference]
    num_replicates: int
    definitions: Mapping[str, Metric]
    notes: tuple[str, ...]


def compare(first: Evaluation, second: Evaluation, *, num_replicates: int = NUM_REPLICATES) -> Comparison:
    """Compare two evaluations of the same images in the same order, with the same thresholds and protocol.

    Images are drawn with replacement for the interval, and exchanged between the two for the p-value: all exchanges up
    to 13 images, else `num_replicates` random ones with the actual one among them, so that p is never 0. Both are
    deterministic. The p-values are not corrected for the number of metrics: choose the one that decides beforehand.
    Raises ValueError if names, true objects, thresholds, protocols or widths of outlines differ.
    """
    _check_comparable(first, second)
    columns_first, quantities = quantity_metrics(first.protocol.protocol, first.statistics)
    columns_second, _ = quantity_metrics(second.protocol.protocol, second.statistics)
    one, other = (np.stack(list(columns.values()), axis=1) for columns in (columns_first, columns_second))
    order = np.lexsort(np.concatenate([one, other], axis=1).T[::-1])  # so that the order of images changes nothing
    one, other = one[order], other[order]
    names = list(columns_first)
    num_images = one.shape[0]
    drawn = exchanged = None
    if num_images >= 2 and num_replicates:
        both = resampled_totals(np.concatenate([one, other], axis=1), num_replicates=num_replicates, seed=SEED)
        drawn = _named(both[:, : len(names)], names), _named(both[:, len(names) :], names)
        swap = _exchanges(num_images, num_replicates).astype(np.float64)
        exchanged = (
            _named(one.sum(0) + swap @ (other - one), names),
            _named(other.sum(0) + swap @ (one - other), names),
        )
    notes = []
    if drawn is None:
        notes.append(
            f"{counted(num_images, 'image')}: no intervals and no p-values" if num_replicates else "no intervals wanted"
        )
    elif num_images < FEWEST_IMAGES:
        notes.append(
            f"only {num_images} images: intervals are rough below {FEWEST_IMAGES}, and no p-value can be below "
            f"{2 / 2**num_images:.2g}"
        )

    def differences(metrics: Mapping[str, Metric]) -> dict[str, Difference]:
        return {
            name: _difference(metric, columns_first, columns_second, drawn, exchanged)
            for name, metric in metrics.items()
        }

    return Comparison(
        num_images=num_images,
        differences=differences(first.definitions),
        protocol=differences(quantities),
        num_replicates=num_replicates,
        definitions=first.definitions,
        notes=tuple(notes),
    )


def _difference(
    metric: Metric,
    first: _Sums,
    second: _Sums,
    drawn: tuple[_Sums, _Sums] | None,
    exchanged: tuple[_Sums, _Sums] | None,
) -> Difference:
    values = [float(metric.formula(total(statistics))[0]) for statistics in (first, second)]
    per_image = metric.formula(second) - metric.formula(first)  # NaN, and so neither, where either is undefined
    defined = [None if np.isnan(value) else value for value in values]
    if defined[0] is None or defined[1] is None:
        return Difference(defined[0], defined[1], None, None, None, 0, 0)
    observed = values[1] - values[0]
    interval = p_value = None
    if drawn is not None and exchanged is not None:
        interval = percentile_interval(metric.formula(drawn[1]) - metric.formula(drawn[0]))
        p_value = _p_value(metric.formula(exchanged[1]) - metric.formula(exchanged[0]), observed)
    tie = 1e-12
    return Difference(
        defined[0],
        defined[1],
        observed,
        interval,
        p_value,
        int((per_image > tie).sum()),
        int((per_image < -tie).sum()),
    )


def _exchanges(num_images: int, num_replicates: int) -> Bool[np.ndarray, "exchange image"]:
    """Which images are exchanged: every way where there are few, else random ones and the actual one, the first row."""
    if num_images <= _EXACT_IMAGES:
        ways = np.arange(2**num_images)
        return (ways[:, None] >> np.arange(num_images)) % 2 == 1
    exchanges = np.random.default_rng(SEED).random((num_replicates + 1, num_images)) < 0.5
    exchanges[0] = False
    return exchanges


def _p_value(differences: Float64[np.ndarray, "exchange"], observed: float) -> float:
    """Share of differences at least as large as the observed one, which is among them; rounding breaks no tie."""
    defined = differences[~np.isnan(differences)]
    return float((np.abs(defined) >= abs(observed) - 1e-12).mean())


def _named(totals: Float64[np.ndarray, "row statistic"], names: list[str]) -> _Sums:
    return dict(zip(names, totals.T, strict=True))


def _check_comparable(first: Evaluation, second: Evaluation) -> None:
    if first.names != second.names:
        only = sorted(set(first.names) ^ set(second.names))
        what = f"only one of them holds {', '.join(only[:5])}" if only else "their order differs"
        raise ValueError(
            f"the evaluations are of {len(first.names)} and {counted(len(second.names), 'image')}; {what}; "
            "evaluate the same images in the same order"
        )
    for name, image in zip(first.names, range(len(first.names)), strict=True):
        for key in ("n_truth", "foreground_truth"):
            if first.statistics[key][image] != second.statistics[key][image]:
                raise ValueError(
                    f"the true labels of image {name!r} differ between the evaluations; use one folder of truth"
                )
    for what, one, other in (
        ("IoU thresholds", first.iou_thresholds, second.iou_thresholds),
        ("protocols", first.protocol.protocol.name, second.protocol.protocol.name),
        ("widths of outlines", first.boundary_px, second.boundary_px),
    ):
        if one != other:
            raise ValueError(f"the evaluations have different {what} ({one} and {other}); evaluate both alike")
