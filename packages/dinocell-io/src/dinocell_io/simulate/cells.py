"""Cells as shapes: where they lie, which pixels are theirs, and how deep in its cell a pixel is.

A cell is star-shaped: its radius in direction a is R (1 + sum over k = 2..5 of c_k cos(k a + p_k)).
A pixel's depth is its distance to the centre over the radius in that direction: 0 at the centre, 1 at the
edge. Where two cells reach a pixel, the smaller depth has it, which gives touching cells a shared border.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32
from scipy import ndimage

from dinocell_io.plural import counted

_HARMONICS = np.arange(2, 6)
_LARGEST_COEFFICIENTS = np.array([0.10, 0.05, 0.03, 0.02])
_REACH = 1.0 + _LARGEST_COEFFICIENTS.sum()  # of the mean radius
_TOUCHING = (0.82, 0.92)  # distance of the centres over the sum of the mean radii
_APART = 1.25  # above _REACH: such cells cannot share a border
_TRIES = 400


@dataclass(frozen=True, eq=False)
class Cells:
    """The truth of a field: labels 1..n of cells, the same numbers for their nuclei, depths.

    Outside all cells both depths are infinite; between nucleus and cell edge `nucleus_depth` is above 1.
    """

    labels: Int32[np.ndarray, "y x"]
    nuclei_labels: Int32[np.ndarray, "y x"]
    depth: Float32[np.ndarray, "y x"]
    nucleus_depth: Float32[np.ndarray, "y x"]


def draw_cells(
    shape: tuple[int, int],
    num_cells: int,
    *,
    diameter_px: float,
    touching: float,
    nucleus_fraction: float,
    rng: np.random.Generator,
) -> Cells:
    """Place and draw `num_cells` cells; each is one 4-connected piece with one nucleus in it.

    Raises ValueError if they do not fit. Time grows with the sum of the cells' bounding boxes.
    """
    radii = diameter_px / 2 * np.clip(rng.lognormal(0.0, 0.15, num_cells), 0.65, 1.5)
    centres = _place(shape, radii, touching, rng)
    cells = canvas(shape)
    for number, (centre, radius) in enumerate(zip(centres, radii, strict=True), start=1):
        box = _box(shape, centre, radius * _REACH)
        own = _depth_in(box, centre, radius, rng, roundness=1.0)
        turn = rng.uniform(0, 2 * math.pi)
        shift = rng.uniform(0, 0.3 * (1 - nucleus_fraction)) * radius
        nucleus_centre = (centre[0] + shift * math.sin(turn), centre[1] + shift * math.cos(turn))
        nucleus = _depth_in(box, nucleus_centre, radius * nucleus_fraction, rng, roundness=0.5)
        won = (own <= 1) & (own < cells.depth[box])
        cells.labels[box][won], cells.depth[box][won], cells.nucleus_depth[box][won] = number, own[won], nucleus[won]
    return finished(cells)


def canvas(shape: tuple[int, int]) -> Cells:
    """A field without cells, to draw them into."""
    return Cells(
        labels=np.zeros(shape, np.int32),
        nuclei_labels=np.zeros(shape, np.int32),
        depth=np.full(shape, np.inf, np.float32),
        nucleus_depth=np.full(shape, np.inf, np.float32),
    )


def finished(cells: Cells) -> Cells:
    """The cells as one piece each, numbered 1..n, and their nuclei where the nucleus depth is at most 1."""
    labels, depth, nucleus_depth = cells.labels, cells.depth, cells.nucleus_depth
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            loose = (labels[box] == number) & ~_largest_piece(labels[box] == number)
            labels[box][loose], depth[box][loose], nucleus_depth[box][loose] = 0, np.inf, np.inf
    present = np.flatnonzero(np.bincount(labels.ravel()))
    numbers = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    numbers[present[present > 0]] = np.arange(1, np.count_nonzero(present > 0) + 1)
    labels = numbers[labels]
    nuclei = np.where(nucleus_depth <= 1, labels, 0).astype(np.int32)
    for number, box in enumerate(ndimage.find_objects(nuclei), start=1):
        if box is not None:
            loose = (nuclei[box] == number) & ~_largest_piece(nuclei[box] == number)
            nuclei[box][loose], nucleus_depth[box][loose] = 0, 1.01
    return Cells(labels, nuclei, depth, nucleus_depth)


def _place(
    shape: tuple[int, int], radii: Float64[np.ndarray, " cell"], touching: float, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Centres one after the other: against a cell that is there already, or apart from all.

    Each cell's neighbours are looked up in a coarse grid, so the time grows with the number of cells.
    """
    pitch = 2 * _APART * float(radii.max(initial=1.0)) + 2
    buckets: dict[tuple[int, int], list[int]] = {}
    centres: list[tuple[float, float]] = []
    against = rng.random(len(radii)) < touching
    for index, radius in enumerate(radii.tolist()):
        for attempt in range(2 * _TRIES):
            # where there is no room apart, a cell joins another one, unless none may touch
            joins = index > 0 and touching > 0 and (bool(against[index]) or attempt >= _TRIES)
            y, x = rng.random() * (shape[0] - 1), rng.random() * (shape[1] - 1)
            if joins:
                other = int(rng.integers(index))
                turn = rng.random() * 2 * math.pi
                reach = (radius + radii[other]) * (_TOUCHING[0] + rng.random() * (_TOUCHING[1] - _TOUCHING[0]))
                y, x = centres[other][0] + reach * math.sin(turn), centres[other][1] + reach * math.cos(turn)
                if not (0 <= y <= shape[0] - 1 and 0 <= x <= shape[1] - 1):
                    continue
            key = (int(y // pitch), int(x // pitch))
            factor, gap = (_TOUCHING[0], 0.0) if joins else (_APART, 2.0)
            if all(
                math.hypot(y - centres[near][0], x - centres[near][1])
                >= factor * (radius + radii[near]) * (1 - 1e-9) + gap
                for near in _near(buckets, key)
            ):
                buckets.setdefault(key, []).append(index)
                centres.append((y, x))
                break
        else:
            raise ValueError(
                f"{counted(len(radii), 'cell')} of about {2 * radii.mean():.0f} px do not fit into "
                f"{shape[0]} x {shape[1]} pixels ({index} did); "
                "use fewer or smaller cells, or let more of them touch"
            )
    return centres


def _near(buckets: dict[tuple[int, int], list[int]], key: tuple[int, int]) -> Iterator[int]:
    for row in (key[0] - 1, key[0], key[0] + 1):
        for column in (key[1] - 1, key[1], key[1] + 1):
            yield from buckets.get((row, column), ())


def _box(shape: tuple[int, int], centre: tuple[float, float], reach: float) -> tuple[slice, slice]:
    rows, columns = (
        slice(max(0, math.floor(middle - reach)), min(size, math.ceil(middle + reach) + 1))
        for middle, size in zip(centre, shape, strict=True)
    )
    return rows, columns


def _depth_in(
    box: tuple[slice, slice],
    centre: tuple[float, float],
    radius: float,
    rng: np.random.Generator,
    *,
    roundness: float,
) -> Float32[np.ndarray, "y x"]:
    coefficients = rng.random(4) * _LARGEST_COEFFICIENTS * roundness
    phases = rng.random(4) * 2 * math.pi
    y = np.arange(box[0].start, box[0].stop, dtype=np.float32)[:, None] - np.float32(centre[0])
    x = np.arange(box[1].start, box[1].stop, dtype=np.float32)[None, :] - np.float32(centre[1])
    # the radius is tabulated: half a degree is far below a pixel at any cell's edge
    angles = np.linspace(-math.pi, math.pi, 721)
    waves = coefficients[:, None] * np.cos(_HARMONICS[:, None] * angles + phases[:, None])
    table = (radius * (1 + waves.sum(axis=0))).astype(np.float32)
    step = np.rint((np.arctan2(y, x) + np.float32(math.pi)) * np.float32(720 / (2 * math.pi)))
    return np.hypot(y, x) / table[step.astype(np.intp)]


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    return mask if count <= 1 else pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
