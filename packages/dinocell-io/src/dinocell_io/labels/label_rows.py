"""Rows of labels on their way to a file: checked as they pass, so that labels larger than memory can be written."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Integer, Shaped

from dinocell_io.plural import counted


def checked_rows(
    rows: Iterable[Shaped[np.ndarray, "..."]], *, shape: tuple[int, int], max_label: int, dtype: np.dtype, name: str
) -> Iterator[Integer[np.ndarray, "row x"]]:
    """The blocks in `dtype`; ValueError at the first with a wrong width, dtype, range or number of rows."""
    height, width = shape
    done = 0
    for block in rows:
        if block.ndim != 2 or block.shape[1] != width or block.dtype.kind not in "ui":
            raise ValueError(
                f"{name}: rows from {done} on are {block.dtype} {block.shape}, expected whole numbers [rows, {width}]"
            )
        if block.size and (int(block.min()) < 0 or int(block.max()) > max_label):
            raise ValueError(
                f"{name}: rows {done} on hold labels from {block.min()} to {block.max()}, expected 0 to {max_label}"
            )
        done += len(block)
        if done > height:
            raise ValueError(f"{name}: got more rows than the {height} of its shape")
        yield block.astype(dtype, copy=False)
    if done != height:
        raise ValueError(f"{name}: got {counted(done, 'row')}, expected {height}")


def bands(rows: Iterable[Integer[np.ndarray, "row x"]], *, height: int) -> Iterator[Integer[np.ndarray, "row x"]]:
    """The same rows in arrays of `height` rows each, the last with the rest."""
    waiting: list[Integer[np.ndarray, "row x"]] = []
    num_waiting = 0
    for block in rows:
        waiting.append(block)
        num_waiting += len(block)
        while num_waiting >= height:
            joined = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
            yield joined[:height]
            waiting = [joined[height:]]
            num_waiting = len(joined) - height
    if num_waiting:
        yield np.concatenate(waiting)
