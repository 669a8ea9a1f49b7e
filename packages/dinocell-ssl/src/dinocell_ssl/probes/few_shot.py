"""Few-shot segmentation: what a pretrained backbone is worth when only k images are labelled.

The segmentation itself is passed in as a function: this package has no decoders and scores, and `dinocell probe` passes
the trainer of dinocell-seg.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from scipy.special import stdtrit


@runtime_checkable
class FewShotTrainer(Protocol):
    """Trains on `num_images` labelled images and scores the result on others, the same for all calls."""

    def __call__(self, backbone: Path | None, *, num_images: int, seed: int) -> float:
        """The score; higher is better. With `backbone` None it starts from random weights.

        The same `num_images` and `seed` mean the same images, batches and budget, whatever the backbone is.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class FewShotScore:
    """One training run; `start` is "pretrained" or "random"."""

    start: str
    num_images: int
    seed: int
    score: float


@dataclass(frozen=True, kw_only=True)
class FewShotPoint:
    """All seeds of one number of images.

    `gain` is the mean of the differences pretrained - random of the same seed; `gain_interval` is its 95 %
    confidence interval by Student's t, None with a single seed. It covers what seeds change (images, initial
    decoder, batches), not the choice of the test images.
    """

    num_images: int
    pretrained: float
    random: float
    gain: float
    gain_interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class FewShotCurve:
    """Every score, and one point for each number of images."""

    scores: tuple[FewShotScore, ...]
    points: tuple[FewShotPoint, ...]

    def to_json(self) -> dict[str, Any]:
        """Numbers and names only."""
        return asdict(self)


def few_shot_curve(
    train: FewShotTrainer,
    backbone: Path,
    *,
    num_images: Sequence[int] = (5, 10, 25, 50),
    seeds: Sequence[int] = (0, 1, 2),
    on_score: Callable[[FewShotScore], None] | None = None,
) -> FewShotCurve:
    """Scores of `backbone` and of random weights for each number of images and seed.

    `on_score` is called after each training run. Raises ValueError for missing or repeated numbers and seeds, and for a
    trainer that does not return a finite score.
    """
    for name, numbers in (("num_images", num_images), ("seeds", seeds)):
        if not numbers or len(set(numbers)) < len(numbers):
            raise ValueError(f"{name} are {tuple(numbers)}; give one or more, all different")
    scores = []
    for count in num_images:
        for seed in seeds:
            for start, path in (("pretrained", backbone), ("random", None)):
                value = float(train(path, num_images=count, seed=seed))
                if not math.isfinite(value):
                    raise ValueError(f"the trainer scored {value} for {count} images, seed {seed}, {start} weights")
                scores.append(FewShotScore(start=start, num_images=count, seed=seed, score=value))
                if on_score is not None:
                    on_score(scores[-1])
    return FewShotCurve(scores=tuple(scores), points=tuple(_point(scores, count) for count in num_images))


def _point(scores: Sequence[FewShotScore], num_images: int) -> FewShotPoint:
    pretrained, random = (
        [one.score for one in scores if one.num_images == num_images and one.start == start]
        for start in ("pretrained", "random")
    )
    gains = [with_it - without for with_it, without in zip(pretrained, random, strict=True)]
    return FewShotPoint(
        num_images=num_images,
        pretrained=statistics.fmean(pretrained),
        random=statistics.fmean(random),
        gain=statistics.fmean(gains),
        gain_interval=mean_interval(gains),
    )


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % confidence interval of the mean by Student's t, None for a single value."""
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    half = float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half
