"""What goes wrong between cells and file: seams, borders, saturation, specks, bubbles, scratches, defocus, JPEG."""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from dinocell_io import NETWORK_HIGH, NETWORK_LOW, NETWORK_MEAN, NETWORK_STD

Plane = Float32[np.ndarray, "y x"]
Covered = Bool[np.ndarray, "y x"]


def add_artefact(
    image: Float32[np.ndarray, "y x"], rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "y x"], Bool[np.ndarray, "y x"] | None]:
    """Network input with one artefact, and the pixels whose cells it has made invisible (None: none)."""
    # The artefacts are in units of v: 0 is the image's low percentile, 1 its high percentile.
    v = image * np.float32(NETWORK_STD) + np.float32(NETWORK_MEAN)
    changed, covered = _KINDS[rng.integers(len(_KINDS))](v, rng)
    values = (changed - NETWORK_MEAN) / NETWORK_STD
    return np.clip(values, NETWORK_LOW, NETWORK_HIGH).astype(np.float32), covered


def _seam(v: Plane, rng: np.random.Generator) -> tuple[Plane, Covered | None]:
    """Two fields stitched together: another gain and offset beyond a line, now and then a dark gap."""
    turned = v.T if rng.random() < 0.5 else v
    at = int(rng.integers(1, turned.shape[1]))
    turned[:, at:] = turned[:, at:] * rng.uniform(0.7, 1.4) + rng.uniform(-0.15, 0.15)
    if rng.random() < 0.3:
        turned[:, at : at + int(rng.integers(1, 4))] = 0
    return v, None


def _black_border(v: Plane, rng: np.random.Generator) -> tuple[Plane, Covered | None]:
    """A side that nothing was recorded on."""
    covered = np.zeros(v.shape, bool)
    turned = np.rot90(covered, int(rng.integers(4)))
    turned[:, : int(rng.integers(4, max(5, v.shape[1] // 3)))] = True
    v[covered] = min(0.0, float(v.min())) - rng.uniform(0, 0.3)
    return v, covered


def _saturation(v: Plane, rng: np.random.Generator) -> tuple[Plane, Covered | None]:
    return np.minimum(v, np.float32(rng.uniform(0.35, 0.9))), None


def _specks(v: Plane, rng: np.random.Generator) -> tuple[Plane, Covered | None]:
    """Dust and debris: grains of a few pixels, darker or brighter than anything."""
    for _ in range(int(rng.integers(1, 12))):
        y, x = rng.integers(v.shape[0]), rng.integers(v.shape[1])
        axes = (int(rng.integers(1, 4)), int(rng.integers(1, 3)))
        value = float(rng.choice([rng.uniform(1.2, 4), rng.uniform(-1, -0.3)]))
        cv2.ellipse(v, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, value, -1)
    return v, None


def _bubbles(v: Plane, rng: np.random.Generator) -> tuple[Plane, Covered | None]:
    """Thin rings far out of focus, larger than most cells, that let the cells beneath be seen."""
    ring = np.zeros_like(v)
    for _ in range(int(rng.integers(1, 4))):
        y, x = rng.integers(v.shape[0]), rng.integers(v.shape[1])
        radius = int(rng.integers(max(8, v.shape[0] // 8), max(9, v.shape[0] // 2)))
        cv2.circle(ring, (int(x), int(y)), radius, float(rng.uniform(-0.5, 0.5)), int(rng.integers(1, 5)))
    return v + cv2.GaussianBlur(ring, (0, 0), float(rng.uniform(0.7, 3))), None


def _scratches(v: Plane, rng: np.random.Generator) -> tuple[Plane, Covered | None]:
    for _ in range(int(rng.integers(1, 4))):
        ends = [(int(rng.integers(v.shape[1])), int(rng.integers(v.shape[0]))) for _ in range(2)]
        cv2.line(v, ends[0], ends[1], float(rng.uniform(-0.5, 1.5)), int(rng.integers(1, 3)), cv2.LINE_AA)
    return v, None


def _defocus(v: Plane, rng: np.random.Generator) -> tuple[Plane, Covered | None]:
    return np.asarray(cv2.GaussianBlur(v, (0, 0), float(rng.uniform(1.2, 3))), np.float32), None


def _jpeg(v: Plane, rng: np.random.Generator) -> tuple[Plane, Covered | None]:
    """Blocks of 8 x 8 pixels, of an image stored in 8 bits."""
    low, high = float(v.min()), float(v.max())
    eight_bit = np.rint((v - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
    _, stored = cv2.imencode(".jpg", eight_bit, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))])
    read = cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE)
    assert read is not None
    return read.astype(np.float32) * np.float32((high - low) / 255) + np.float32(low), None


_KINDS: tuple[Callable[[Plane, np.random.Generator], tuple[Plane, Covered | None]], ...] = (
    _seam,
    _black_border,
    _saturation,
    _specks,
    _bubbles,
    _scratches,
    _defocus,
    _jpeg,
)
