"""What goes wrong: debris, bubbles, scratches, a field partly out of focus, stitching frames, saturation."""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, UInt16
from scipy import ndimage

_Brightness = Float32[np.ndarray, "y x"]


def _debris(brightness: _Brightness, diameter_px: float, transmitted: bool, rng: np.random.Generator) -> _Brightness:
    """Flecks of a twentieth to a half of a cell's diameter, far brighter than cells, or dark in transmitted light."""
    flecks = np.zeros_like(brightness)
    for _ in range(rng.integers(3, 12)):
        y, x = (int(rng.integers(side)) for side in brightness.shape)
        sigma = diameter_px * math.exp(rng.uniform(math.log(0.03), math.log(0.2)))
        _add_spot(flecks, y, x, max(sigma, 0.6), rng.uniform(1.0, 10.0))
    return brightness * np.exp(-flecks) if transmitted else brightness + flecks


def _add_spot(image: _Brightness, y: int, x: int, sigma: float, height: float) -> None:
    reach = math.ceil(4 * sigma)
    rows, columns = (
        slice(max(0, at - reach), min(side, at + reach + 1)) for at, side in zip((y, x), image.shape, strict=True)
    )
    distance = np.add.outer(
        (np.arange(rows.start, rows.stop) - y) ** 2, (np.arange(columns.start, columns.stop) - x) ** 2
    )
    image[rows, columns] += (height * np.exp(-distance / (2 * sigma**2))).astype(np.float32)


def _bubble(brightness: _Brightness, diameter_px: float, transmitted: bool, rng: np.random.Generator) -> _Brightness:
    """One or two air bubbles: large rings, dim inside."""
    y, x = np.indices(brightness.shape, dtype=np.float32)
    for _ in range(rng.integers(1, 3)):
        middle = [rng.uniform(0, side) for side in brightness.shape]
        radius = rng.uniform(1.5, 5.0) * diameter_px
        distance = np.hypot(y - np.float32(middle[0]), x - np.float32(middle[1]))
        rim = np.exp(-(((distance - radius) / (0.04 * radius + 1)) ** 2))
        inside = np.float32(rng.uniform(0.5, 0.9))
        brightness = np.where(distance < radius, brightness * inside, brightness)
        brightness = brightness * (1 - 0.8 * rim) if transmitted else brightness + 0.5 * rim
    return brightness.astype(np.float32)


def _scratch(brightness: _Brightness, diameter_px: float, transmitted: bool, rng: np.random.Generator) -> _Brightness:
    """Up to three fibres or scratches across the field."""
    y, x = np.indices(brightness.shape, dtype=np.float32)
    for _ in range(rng.integers(1, 4)):
        turn, bend = rng.uniform(0, math.pi), rng.uniform(-0.3, 0.3) / max(brightness.shape)
        middle = [rng.uniform(0, side) for side in brightness.shape]
        along = (x - middle[1]) * math.cos(turn) + (y - middle[0]) * math.sin(turn)
        across = (y - middle[0]) * math.cos(turn) - (x - middle[1]) * math.sin(turn) + bend * along**2
        line = np.exp(-((across / rng.uniform(0.8, 2.5)) ** 2)) * rng.uniform(0.3, 1.5)
        brightness = brightness * np.exp(-line) if transmitted else brightness + line
    return brightness.astype(np.float32)


def _defocus(brightness: _Brightness, diameter_px: float, transmitted: bool, rng: np.random.Generator) -> _Brightness:
    """One side of the field out of focus."""
    turn = rng.uniform(0, 2 * math.pi)
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in brightness.shape)
    share = np.clip(0.5 + math.sin(turn) * y[:, None] + math.cos(turn) * x[None, :], 0, 1)
    blurred = ndimage.gaussian_filter(brightness, max(1.5, diameter_px / 8), truncate=3)
    return ((1 - share) * brightness + share * blurred).astype(np.float32)


ON_THE_STAGE: dict[str, Callable[[_Brightness, float, bool, np.random.Generator], _Brightness]] = {
    "debris": _debris,
    "bubbles": _bubble,
    "scratches": _scratch,
    "defocus": _defocus,
}


def _frame(counts: UInt16[np.ndarray, "y x"], rng: np.random.Generator) -> UInt16[np.ndarray, "y x"]:
    """Black bands at up to two sides, as stitching leaves them; at most an eighth of the side each."""
    framed = counts.copy()
    sides = rng.permutation(4)[: int(rng.integers(1, 3))]
    for side in sides:
        turned = np.rot90(framed, int(side))
        turned[: max(1, round(rng.uniform(0.02, 0.125) * turned.shape[0]))] = 0
    return framed


def _saturation(counts: UInt16[np.ndarray, "y x"], rng: np.random.Generator) -> UInt16[np.ndarray, "y x"]:
    """The brightest 1 to 10 % of the pixels at the largest value, as where the exposure was too long."""
    level = max(float(np.percentile(counts, 100 - rng.uniform(1, 10))), 1.0)
    return np.minimum(counts.astype(np.float64) * (65535 / level), 65535).astype(np.uint16)


IN_THE_FILE: dict[str, Callable[[UInt16[np.ndarray, "y x"], np.random.Generator], UInt16[np.ndarray, "y x"]]] = {
    "frame": _frame,
    "saturation": _saturation,
}
ARTEFACTS = (*ON_THE_STAGE, *IN_THE_FILE)
