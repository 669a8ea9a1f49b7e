"""The pairs of images of an evaluation, one after the other: what is kept of each when its pixels are gone."""

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy.typing as npt

from dinocell_eval.metrics.boundary import BoundaryAgreement, boundary_agreement
from dinocell_eval.overlap.geometry import Geometry, image_geometry
from dinocell_eval.overlap.labels import as_labels, check_pair
from dinocell_eval.overlap.pair_table import PairTable, pair_table
from dinocell_io import counted

_END: Any = object()


@dataclass(frozen=True)
class ComparedImage:
    """What is kept of one pair of images."""

    table: PairTable
    truth: Geometry
    predicted: Geometry
    agreement: BoundaryAgreement | None
    num_pixels: int


def compared_images(
    truths: Iterable[npt.ArrayLike],
    predictions: Iterable[npt.ArrayLike],
    *,
    names: Sequence[str] | None,
    boundary_px: float | int | None,
    boxes: bool,
) -> Iterator[ComparedImage]:
    """What is needed of each pair; unequal numbers are found before reading where the lengths are known."""
    lengths = [len(given) for given in (truths, predictions) if isinstance(given, Sized)]
    if len(lengths) == 2 and lengths[0] != lengths[1]:
        raise ValueError(
            f"{counted(lengths[0], 'truth')} but {counted(lengths[1], 'prediction')}, "
            "expected equal numbers; pair them first"
        )
    if names is not None and any(length != len(names) for length in lengths):
        raise _misnamed(names, counted(lengths[0], "image"))
    left, right = iter(truths), iter(predictions)
    for number in count():
        truth, predicted = next(left, _END), next(right, _END)
        if truth is _END and predicted is _END:
            if names is not None and number != len(names):
                raise _misnamed(names, counted(number, "image"))
            return
        if truth is _END or predicted is _END:
            short, long = ("truths", "predictions") if truth is _END else ("predictions", "truths")
            raise ValueError(
                f"the {short} ended after {counted(number, 'image')} but there are more {long}, "
                "expected equal numbers; pair them first"
            )
        if names is not None and number >= len(names):
            raise _misnamed(names, "more images")
        name = names[number] if names is not None else str(number)
        yield _compared(truth, predicted, name, boundary_px=boundary_px, boxes=boxes)
        del truth, predicted  # so that the next pair is not read while this one is held


def _misnamed(names: Sequence[str], images: str) -> ValueError:
    return ValueError(f"{counted(len(names), 'name')} but {images}, expected one name an image")


def _compared(
    truth: npt.ArrayLike, predicted: npt.ArrayLike, name: str, *, boundary_px: float | int | None, boxes: bool
) -> ComparedImage:
    true_labels = as_labels(truth, name=name, role="truth")
    predicted_labels = as_labels(predicted, name=name, role="predicted")
    check_pair(true_labels, predicted_labels, name=name)
    try:
        table = pair_table(true_labels, predicted_labels)
    except ValueError as error:
        raise ValueError(f"image {name!r}: {error}") from error
    return ComparedImage(
        table,
        image_geometry(true_labels, table.truth_label, boxes=boxes),
        image_geometry(predicted_labels, table.predicted_label, boxes=boxes),
        None
        if boundary_px is None
        else boundary_agreement(true_labels, predicted_labels, table, width_px=float(boundary_px)),
        true_labels.size,
    )
