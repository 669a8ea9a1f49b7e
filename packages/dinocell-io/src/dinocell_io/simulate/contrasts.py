"""What transmitted light shows of cells: phase contrast, DIC, brightfield and absorbing stains.

In transmitted light an empty place has the brightness 1. Cells act by their optical path, the `thickness` here: a dome
or a plateau with a grainy inside.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from dinocell_io.simulate.cells import Cells
from dinocell_io.simulate.stains import grain

OpticalPath = Float32[np.ndarray, "y x"]
_HALO_SHARE = 0.35  # of the diameter: the sigma of phase contrast's halo


def thickness(cells: Cells, *, diameter_px: float, rng: np.random.Generator) -> OpticalPath:
    """The optical path through each pixel's cell, about 1 in its middle; 0 outside. Cells differ by about 20 %."""
    depth = np.minimum(cells.depth, 1)
    dome = np.sqrt(np.maximum(1 - depth**2, 0))
    flat = np.clip((1 - depth) * diameter_px / 6, 0, 1)
    share = np.float32(rng.uniform(0.2, 0.8))  # from a spread cell to a round one
    nucleus = 0.25 * np.clip(1.2 - cells.nucleus_depth, 0, 1)
    inside = 1 + 0.12 * grain(depth.shape, max(1.0, diameter_px / 12), rng) + 0.06 * grain(depth.shape, 1.0, rng)
    num_cells = int(cells.labels.max(initial=0))
    level = np.concatenate([[0], rng.lognormal(0.0, 0.2, num_cells)]).astype(np.float32)
    path = ((share * dome + (1 - share) * flat) * inside + nucleus * flat) * level[cells.labels]
    return np.maximum(path, 0).astype(np.float32)


def phase(cells: Cells, path: OpticalPath, diameter_px: float, rng: np.random.Generator) -> np.ndarray:
    """Positive phase contrast: cells darker than the background, with a bright halo around them."""
    halo = ndimage.gaussian_filter(path, max(2.0, _HALO_SHARE * diameter_px), truncate=3)
    fringe = ndimage.gaussian_filter(path, max(0.8, diameter_px / 25), truncate=3)
    contrast = rng.uniform(0.25, 0.6)
    return 1 - contrast * (0.75 * (path - halo) + 1.2 * (path - fringe))


def dic(cells: Cells, path: OpticalPath, diameter_px: float, rng: np.random.Generator) -> np.ndarray:
    """Differential interference contrast: the slope of the path along the shear, as if lit from one side."""
    turn = rng.uniform(0, 2 * math.pi)
    smooth = ndimage.gaussian_filter(path, 0.7, truncate=3)
    slope_y, slope_x = np.gradient(smooth)
    slope = (math.sin(turn) * slope_y + math.cos(turn) * slope_x) * max(2.0, diameter_px / 6)
    return 1 + rng.uniform(0.25, 0.5) * np.tanh(slope)


def brightfield(cells: Cells, path: OpticalPath, diameter_px: float, rng: np.random.Generator) -> np.ndarray:
    """Out of focus on one side or the other: a dark or a bright rim, hardly any absorption."""
    blur = max(0.8, diameter_px / 20)
    rim = path - ndimage.gaussian_filter(path, blur, truncate=3)
    ring = ndimage.gaussian_filter(path, blur, truncate=3) - ndimage.gaussian_filter(path, 2 * blur, truncate=3)
    edges = rim - 0.8 * ring
    strongest = float(np.percentile(np.abs(edges), 99.5))
    side = 1.0 if rng.random() < 0.5 else -1.0
    contrast = side * rng.uniform(0.2, 0.6) / max(strongest, 1e-6)
    return 1 + contrast * edges - rng.uniform(0.0, 0.12) * path


def absorbing(cells: Cells, path: OpticalPath, diameter_px: float, rng: np.random.Generator) -> np.ndarray:
    """A stain that takes light away, strongest in nuclei: smears and tissue sections as grey images."""
    nuclei = np.clip(1.15 - cells.nucleus_depth, 0, 1) * (cells.labels > 0)
    pallor = rng.uniform(0, 0.5) * np.exp(-((np.minimum(cells.depth, 3) / 0.45) ** 2)) if rng.random() < 0.5 else 0.0
    density = rng.uniform(0.3, 0.8) * path * (1 - pallor) + rng.uniform(0.0, 1.2) * nuclei
    return np.exp(-density)


Contrast = Callable[[Cells, OpticalPath, float, np.random.Generator], np.ndarray]
CONTRASTS: dict[str, Contrast] = {"Phase": phase, "DIC": dic, "Brightfield": brightfield, "Absorbing": absorbing}


def contrast_brightness(
    contrast: str, cells: Cells, *, diameter_px: float, rng: np.random.Generator
) -> Float32[np.ndarray, "y x"]:
    """The brightness of one of `CONTRASTS`: 1 where no cell is, never below 0."""
    path = thickness(cells, diameter_px=diameter_px, rng=rng)
    return np.maximum(CONTRASTS[contrast](cells, path, diameter_px, rng), 0).astype(np.float32)
