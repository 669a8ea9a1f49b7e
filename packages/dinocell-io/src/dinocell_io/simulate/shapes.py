"""Other shapes than round cells: rods, budding yeast, spread cells, blood cells, and tissue without gaps.

Each is drawn as `simulate_cells` draws round ones: a pixel's depth is 0 at the middle of its cell and 1 at its edge;
the smaller depth wins where two cells reach a pixel. `diameter_px` is the diameter of the circle with a cell's area.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from scipy import ndimage, spatial

from dinocell_io.plural import counted
from dinocell_io.simulate.cells import Cells, canvas, finished

_TRIES = 300
_APART = 1.2  # depth within which a cell that touches none has no neighbour
_OVERLAP = 0.15  # of a cell's area that an earlier cell may hold where the two touch
_TISSUE_PITCH = math.sqrt(math.pi / (2 * math.sqrt(3)))  # of a hexagonal lattice, over the diameter of its cells
_TISSUE_JITTER = 0.28  # of the pitch


@dataclass(frozen=True)
class Capsule:
    """A rod with round ends, slightly bent; a disc where its half length is 0.

    Its depth is that at offsets (y, x) in pixels from its middle, as for every silhouette.
    """

    angle: float
    half_width_px: float
    half_length_px: float
    curvature: float = 0.0

    @property
    def reach_px(self) -> float:
        return self.half_length_px + 2 * self.half_width_px

    def depth(self, y: Float32[np.ndarray, "y x"], x: Float32[np.ndarray, "y x"]) -> Float32[np.ndarray, "y x"]:
        along = x * math.cos(self.angle) + y * math.sin(self.angle)
        across = y * math.cos(self.angle) - x * math.sin(self.angle)
        across = across - self.curvature * np.clip(along, -self.half_length_px, self.half_length_px) ** 2
        beyond = np.maximum(np.abs(along) - self.half_length_px, 0)
        return (np.hypot(across, beyond) / self.half_width_px).astype(np.float32)


@dataclass(frozen=True)
class Spread:
    """A cell drawn out along one direction: `exponent` 2 is an ellipse, 1 a rhombus; waves make its outline uneven."""

    angle: float
    half_width_px: float
    aspect: float
    exponent: float
    waves: tuple[float, ...]
    phases: tuple[float, ...]

    @property
    def reach_px(self) -> float:
        return 1.5 * self.half_width_px * self.aspect + 1

    def depth(self, y: Float32[np.ndarray, "y x"], x: Float32[np.ndarray, "y x"]) -> Float32[np.ndarray, "y x"]:
        along = (x * math.cos(self.angle) + y * math.sin(self.angle)) / (self.half_width_px * self.aspect)
        across = (y * math.cos(self.angle) - x * math.sin(self.angle)) / self.half_width_px
        turn = np.arctan2(across, along)
        outline = np.ones_like(turn)
        for number, (wave, phase) in enumerate(zip(self.waves, self.phases, strict=True), start=2):
            outline += wave * np.cos(number * turn + phase)
        radius = (np.abs(along) ** self.exponent + np.abs(across) ** self.exponent) ** (1 / self.exponent)
        return (radius / np.maximum(outline, 0.4)).astype(np.float32)


Silhouette = Capsule | Spread


def _capsule(diameter_px: float, *, aspect: float, angle: float, bend: float = 0.0) -> Capsule:
    """The capsule of a disc's area that is `aspect` times as long as wide; `bend` is per length."""
    width = math.sqrt(math.pi * diameter_px**2 / 4 / (aspect - 1 + math.pi / 4))
    half_length = (aspect - 1) * width / 2
    return Capsule(angle, width / 2, half_length, bend / max(half_length, 1.0))


def rod(diameter_px: float, rng: np.random.Generator) -> Capsule:
    """A bacterium: two to six times as long as wide."""
    return _capsule(
        diameter_px, aspect=rng.uniform(2.0, 6.0), angle=rng.uniform(0, math.pi), bend=rng.uniform(-0.12, 0.12)
    )


def yeast(diameter_px: float, rng: np.random.Generator) -> Capsule:
    """A nearly round cell; every third is a bud of half the diameter."""
    size = diameter_px * (0.55 if rng.random() < 1 / 3 else 1.0)
    return _capsule(size, aspect=rng.uniform(1.0, 1.25), angle=rng.uniform(0, math.pi))


def blood_cell(diameter_px: float, rng: np.random.Generator) -> Capsule:
    """A disc, hardly longer than wide."""
    return _capsule(diameter_px, aspect=rng.uniform(1.0, 1.1), angle=rng.uniform(0, math.pi))


def spread_cell(diameter_px: float, rng: np.random.Generator) -> Spread:
    """An adherent cell: drawn out to one or two sides, with an uneven outline."""
    aspect = rng.uniform(1.2, 3.2)
    return Spread(
        angle=rng.uniform(0, math.pi),
        half_width_px=diameter_px / 2 / math.sqrt(aspect),
        aspect=aspect,
        exponent=rng.uniform(1.2, 2.0),
        waves=tuple((rng.normal(0, 1, 5) * (0.10, 0.10, 0.06, 0.05, 0.04)).tolist()),
        phases=tuple(rng.uniform(0, 2 * math.pi, 5).tolist()),
    )


SILHOUETTES: dict[str, Callable[[float, np.random.Generator], Silhouette]] = {
    "rods": rod,
    "yeast": yeast,
    "blood": blood_cell,
    "spread": spread_cell,
}


def draw_silhouettes(
    kind: str,
    shape: tuple[int, int],
    num_cells: int,
    *,
    diameter_px: float,
    touching: float,
    nucleus_fraction: float,
    rng: np.random.Generator,
) -> Cells:
    """Place `num_cells` cells of one kind of `SILHOUETTES`, a share of them against another one.

    Rods that touch lie side by side or end to end, as in a colony. Raises ValueError if they do not fit.
    """
    cells = canvas(shape)
    placed: list[tuple[float, float, Silhouette]] = []
    for number in range(1, num_cells + 1):
        size = diameter_px * float(np.clip(rng.lognormal(0.0, 0.15), 0.65, 1.5))
        joins = bool(placed) and rng.random() < touching
        for attempt in range(2 * _TRIES):
            silhouette = SILHOUETTES[kind](size, rng)
            beside = placed and touching > 0 and (joins or attempt >= _TRIES)
            y, x = rng.random() * (shape[0] - 1), rng.random() * (shape[1] - 1)
            if beside:
                y, x, silhouette = _beside(placed[int(rng.integers(len(placed)))], silhouette, kind, size, rng)
            if _claim(cells, number, (y, x), silhouette, nucleus_fraction, apart=not beside, rng=rng):
                placed.append((y, x, silhouette))
                break
        else:
            raise ValueError(
                f"{counted(num_cells, 'cell')} of about {diameter_px:.0f} px do not fit into "
                f"{shape[0]} x {shape[1]} pixels ({number - 1} did); "
                "use fewer or smaller cells, or let more of them touch"
            )
    return finished(cells)


def _beside(
    other: tuple[float, float, Silhouette], silhouette: Silhouette, kind: str, size: float, rng: np.random.Generator
) -> tuple[float, float, Silhouette]:
    """A place against another cell; rods keep nearly its direction."""
    y, x, neighbour = other
    if kind == "rods":
        for _ in range(20):
            if abs(math.remainder(silhouette.angle - neighbour.angle, math.pi)) < 0.4:
                break
            silhouette = SILHOUETTES[kind](size, rng)
        turn = neighbour.angle + (math.pi / 2 if rng.random() < 0.7 else 0.0) + math.pi * int(rng.integers(2))
        sideways = abs(math.sin(turn - neighbour.angle)) > 0.5
        distance = (
            neighbour.half_width_px + silhouette.half_width_px
            if sideways
            else neighbour.reach_px + silhouette.reach_px - neighbour.half_width_px - silhouette.half_width_px
        )
    else:
        turn = rng.uniform(0, 2 * math.pi)
        # near enough to touch along the narrow sides; too near is refused by the overlap
        distance = rng.uniform(1.0, 2.0) * (neighbour.half_width_px + silhouette.half_width_px)
    distance *= rng.uniform(0.88, 1.0)
    return y + distance * math.sin(turn), x + distance * math.cos(turn), silhouette


def _claim(
    cells: Cells,
    number: int,
    centre: tuple[float, float],
    silhouette: Silhouette,
    nucleus_fraction: float,
    *,
    apart: bool,
    rng: np.random.Generator,
) -> bool:
    """Draw a cell unless it is in the way of others; whether it was drawn."""
    height, width = cells.labels.shape
    if not (0 <= centre[0] <= height - 1 and 0 <= centre[1] <= width - 1):
        return False
    if cells.labels[round(centre[0]), round(centre[1])]:  # nearly all places of a crowded field end here
        return False
    rows, columns = (
        slice(max(0, math.floor(middle - silhouette.reach_px)), min(side, math.ceil(middle + silhouette.reach_px) + 1))
        for middle, side in zip(centre, cells.labels.shape, strict=True)
    )
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(centre[0])
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(centre[1])
    y, x = np.broadcast_arrays(y, x)
    own = silhouette.depth(y, x)
    box = (rows, columns)
    labels, depth, nucleus_depth = cells.labels[box], cells.depth[box], cells.nucleus_depth[box]
    inside = own <= 1
    area = int(inside.sum())
    if area < 4 or (apart and bool(((own <= _APART) & (labels > 0)).any())):
        return False
    taken = inside & (labels > 0)
    if not apart and not 0 < int(taken.sum()) <= _OVERLAP * area:
        return False
    won = inside & (own < depth)
    shift = (rng.uniform(-0.15, 0.15, 2) * (1 - nucleus_fraction) * silhouette.half_width_px).astype(np.float32)
    labels[won], depth[won] = number, own[won]
    nucleus_depth[won] = (silhouette.depth(y - shift[0], x - shift[1]) / nucleus_fraction)[won]
    return True


def draw_tissue(
    shape: tuple[int, int],
    num_cells: int,
    *,
    diameter_px: float,
    nucleus_fraction: float,
    rng: np.random.Generator,
) -> Cells:
    """A patch of `num_cells` cells without gaps between them: every pixel belongs to the nearest of uneven seeds.

    Raises ValueError if the image holds fewer cells of that size.
    """
    pitch = diameter_px * _TISSUE_PITCH
    seeds = _hexagonal(shape, pitch)
    if len(seeds) < num_cells:
        raise ValueError(
            f"{shape[0]} x {shape[1]} pixels hold {counted(len(seeds), 'tissue cell')} of {diameter_px:.0f} px, "
            f"not {num_cells}; use fewer or smaller cells"
        )
    middle = rng.uniform(0.2, 0.8, 2) * np.array(shape)
    order = np.argsort(((seeds - middle) ** 2).sum(axis=1), kind="stable")
    seeds = seeds[order[:num_cells]] + rng.normal(0, _TISSUE_JITTER * pitch, (num_cells, 2))
    cells = canvas(shape)
    if num_cells == 0:
        return cells
    y, x = np.indices(shape, dtype=np.float32)
    # so that borders are not straight
    warp = [0.12 * diameter_px * _smooth_noise(shape, diameter_px / 5, rng) for _ in range(2)]
    tree = spatial.cKDTree(seeds)
    distance, nearest = tree.query(np.stack([y + warp[0], x + warp[1]], axis=-1).reshape(-1, 2), k=[1, 2])
    first, second = distance[:, 0].reshape(shape), distance[:, 1].reshape(shape)
    depth = np.maximum(first / np.maximum(second, 1e-6), first / (0.75 * diameter_px)).astype(np.float32)
    inside = depth < 1
    cells.labels[inside] = (nearest[:, 0].reshape(shape) + 1)[inside]
    cells.depth[inside] = depth[inside]
    cells.nucleus_depth[inside] = (first / (nucleus_fraction * diameter_px / 2)).astype(np.float32)[inside]
    return finished(cells)


def _hexagonal(shape: tuple[int, int], pitch: float) -> Float64[np.ndarray, "seed 2"]:
    rows = np.arange(pitch / 2, shape[0], pitch * math.sqrt(3) / 2)
    lines = [
        np.stack(np.broadcast_arrays(row, np.arange(pitch / 2 * (1 + index % 2), shape[1], pitch)), axis=-1)
        for index, row in enumerate(rows)
    ]
    return np.concatenate(lines) if lines else np.zeros((0, 2))


def _smooth_noise(shape: tuple[int, int], sigma_px: float, rng: np.random.Generator) -> Float32[np.ndarray, "y x"]:
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), max(sigma_px, 0.5), truncate=3)
    return (noise / max(float(noise.std()), 1e-6)).astype(np.float32)
