"""A sequence of true and predicted label images, read frame by frame into pair tables."""

from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Int64, Integer, Shaped

from dinocell_eval.overlap.labels import as_labels
from dinocell_eval.overlap.pair_table import PairTable, pair_table, stack
from dinocell_eval.tracking.correspondence import Correspondence
from dinocell_io import counted

_Frame = npt.ArrayLike | None
_END: Any = object()


@dataclass(frozen=True, eq=False)
class ScannedSequence:
    """What is kept of a sequence once its pixels are gone.

    `tracking` holds the frames with a true image, `segmentation` the images and slices that SEG counts, with the slice
    of each (0 for a complete image).
    """

    num_frames: int
    tracking: Correspondence
    segmentation: Correspondence
    segmentation_z: Int64[np.ndarray, "image"]


def scan_sequence(
    truth_frames: Iterable[npt.ArrayLike | None],
    result_frames: Iterable[npt.ArrayLike | None],
    *,
    segmentation_truths: Mapping[int, Any] | None = None,
) -> ScannedSequence:
    """Read the frames of truth and result side by side; one of each is held at a time.

    None stands for a frame without truth, and for a result without objects. SEG counts `truth_frames` themselves
    where there are no `segmentation_truths`, which are a label image or slices by z for some frames. Raises ValueError
    as `evaluate_tracking`.
    """
    tables: list[PairTable] = []
    frames: list[int] = []
    slices: list[tuple[int, int, PairTable]] = []
    left, right = _of_equal_length(truth_frames, result_frames)
    for frame in count():
        truth, result = _next_pair(left, right, frame)
        if truth is _END:
            break
        predicted = None if result is None else _label_image(result, frame=frame, role="result")
        if truth is not None:
            tables.append(_table(_label_image(truth, frame=frame, role="truth"), predicted, where=f"frame {frame}"))
            frames.append(frame)
        del truth, result  # nothing may hold the true frame while the truth of SEG is read
        if segmentation_truths is not None and frame in segmentation_truths:
            slices += _segmentation(segmentation_truths[frame], predicted, frame=frame)
        del predicted
    num_frames = frame
    tracking = Correspondence(stack(tables), np.array(frames, np.int64))
    if segmentation_truths is None:
        return ScannedSequence(num_frames, tracking, tracking, np.zeros(len(frames), np.int64))
    if outside := sorted(frame for frame in segmentation_truths if not 0 <= frame < num_frames):
        raise ValueError(
            f"there is a truth of SEG for frame {outside[0]}, but the sequence has {counted(num_frames, 'frame')}, "
            "counted from 0"
        )
    of_slices = Correspondence(stack([s[2] for s in slices]), np.array([s[0] for s in slices], np.int64))
    return ScannedSequence(num_frames, tracking, of_slices, np.array([s[1] for s in slices], np.int64))


def _of_equal_length(truths: Iterable[_Frame], results: Iterable[_Frame]) -> tuple[Iterator[_Frame], Iterator[_Frame]]:
    lengths = [len(given) for given in (truths, results) if isinstance(given, Sized)]
    if len(lengths) == 2 and lengths[0] != lengths[1]:
        raise ValueError(
            f"{lengths[0]} true frames but {lengths[1]} result frames, expected equal numbers; "
            "pass None for a true frame that is not annotated or a result frame without objects"
        )
    return iter(truths), iter(results)


def _next_pair(left: Iterator[_Frame], right: Iterator[_Frame], frame: int) -> tuple[Any, Any]:
    truth, result = next(left, _END), next(right, _END)
    if (truth is _END) is not (result is _END):
        short, long = ("true", "result") if truth is _END else ("result", "true")
        raise ValueError(
            f"the {short} frames ended after {frame} but there are more {long} frames, expected equal numbers"
        )
    return truth, result


def _label_image(
    labels: npt.ArrayLike, *, frame: int, role: str, z: int | None = None
) -> Integer[np.ndarray, "*shape"]:
    """Labels of any number of axes, checked as those of a static image are."""
    array = np.asarray(labels)
    name = f"frame {frame}" if z is None else f"frame {frame}, slice {z}"
    if array.ndim == 0:
        raise ValueError(f"{name}: the {role} labels are {array!r}, expected a label image")
    checked = as_labels(array.reshape(1, array.size), name=name, role="truth" if role == "truth" else "predicted")
    return checked.reshape(array.shape)


def _segmentation(
    truth: Any, predicted: Integer[np.ndarray, "*shape"] | None, *, frame: int
) -> list[tuple[int, int, PairTable]]:
    if not isinstance(truth, Mapping):
        whole = _label_image(truth, frame=frame, role="truth")
        return [(frame, 0, _table(whole, predicted, where=f"frame {frame}, truth of SEG"))]
    found = []
    for z in sorted(truth):
        plane = _label_image(truth[z], frame=frame, role="truth", z=z)
        where = f"frame {frame}, slice {z} of the truth of SEG"
        if predicted is not None and (predicted.ndim != 3 or not 0 <= z < predicted.shape[0]):
            raise ValueError(f"{where}: the result has shape {predicted.shape}, expected (z, y, x) with z > {z}")
        found.append((frame, z, _table(plane, None if predicted is None else predicted[z], where=where)))
        del plane
    return found


def _table(
    truth: Integer[np.ndarray, "*shape"], predicted: Shaped[np.ndarray, "..."] | None, *, where: str
) -> PairTable:
    if predicted is None:
        predicted = np.broadcast_to(np.zeros((), truth.dtype), truth.shape)
    if truth.shape != predicted.shape:
        raise ValueError(
            f"{where}: truth has shape {truth.shape} and result {predicted.shape}, expected the same; "
            "check that they belong together and that neither was resized, cropped or reduced to fewer axes"
        )
    try:
        return pair_table(truth, predicted)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
