"""What each stain shows of a cell, as brightness before any optics (about 1 where it is bright)."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from dinocell_io.simulate.cells import Cells


def stain_brightness(
    stain: str, cells: Cells, *, diameter_px: float, rng: np.random.Generator
) -> Float32[np.ndarray, "y x"]:
    """The brightness of one of `STAINS`; 0 outside the cells, cells differ by about 25 %."""
    depth = np.minimum(cells.depth, 1)
    nucleus_depth = np.minimum(cells.nucleus_depth, 4)
    fine = grain(depth.shape, 1.0, rng)
    coarse = grain(depth.shape, max(1.5, diameter_px / 15), rng)
    num_cells = int(cells.labels.max(initial=0))
    level = np.concatenate([[0], rng.lognormal(0.0, 0.25, num_cells)]).astype(np.float32)
    pattern = STAINS[stain](depth, nucleus_depth, fine, coarse)
    return np.maximum(pattern, 0) * level[cells.labels]


def grain(shape: tuple[int, ...], sigma_px: float, rng: np.random.Generator) -> Float32[np.ndarray, "y x"]:
    """Smooth noise of mean 0 and standard deviation 1."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, sigma_px, mode="wrap", truncate=3)
    return smooth / max(float(smooth.std()), 1e-6)


def _dna(depth: np.ndarray, nucleus_depth: np.ndarray, fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """The nucleus, with clumps of chromatin."""
    return np.where(nucleus_depth <= 1, (1 - 0.25 * nucleus_depth**2) * (1 + 0.12 * coarse + 0.05 * fine), 0)


def _er(depth: np.ndarray, nucleus_depth: np.ndarray, fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """The cytoplasm, granular, densest around the nucleus."""
    return np.where(nucleus_depth <= 1, 0.3, 0.15 + (1 - depth) ** 0.7 * (1 + 0.25 * fine))


def _agp(depth: np.ndarray, nucleus_depth: np.ndarray, fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """The membrane and its actin, a thin cytoplasm, and the Golgi in patches beside the nucleus."""
    rim = np.exp(-(((1 - depth) / 0.12) ** 2))
    golgi = np.exp(-(((nucleus_depth - 1.25) / 0.2) ** 2)) * np.maximum(coarse - 0.8, 0)
    return 0.2 + 0.7 * rim * (1 + 0.15 * fine) + 0.7 * golgi


def _rna(depth: np.ndarray, nucleus_depth: np.ndarray, fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """The cytoplasm, and nucleoli as bright spots in the nucleus."""
    nucleoli = 0.35 + 0.6 * np.clip(2 * (coarse - 1), 0, 1) * (nucleus_depth < 0.8)
    return np.where(nucleus_depth <= 1, nucleoli, 0.15 + 0.6 * (1 - depth) ** 0.5 * (1 + 0.1 * fine))


def _mito(depth: np.ndarray, nucleus_depth: np.ndarray, fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Threads in the cytoplasm: the ridges where the smooth noise crosses zero."""
    threads = np.exp(-((coarse / 0.35) ** 2))
    return np.where(nucleus_depth <= 1, 0.08, 0.08 + 1.2 * threads * (1 - depth) ** 0.5)


def _membrane(depth: np.ndarray, nucleus_depth: np.ndarray, fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """The border of the cell alone, as ZO-1 or E-cadherin shows it."""
    return 0.03 + np.exp(-(((1 - depth) / 0.1) ** 2)) * (1 + 0.2 * fine)


STAINS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "DNA": _dna,
    "ER": _er,
    "AGP": _agp,
    "RNA": _rna,
    "Mito": _mito,
    "Membrane": _membrane,
}
