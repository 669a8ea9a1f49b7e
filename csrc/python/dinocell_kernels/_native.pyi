"""The compiled module. Arrays must be row-major and of a compiled type; the faces see to that."""

import numpy as np

def build_info() -> dict[str, object]: ...
def connected_components(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]: ...
def distance_map(
    labels: np.ndarray, normalize: bool, border_is_background: bool, num_threads: int
) -> np.ndarray: ...
def label_overlap(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def prominent_maxima(
    distance_map: np.ndarray, peak: float, fill: float, prominence: float
) -> tuple[np.ndarray, int]: ...
def relabel(labels: np.ndarray) -> tuple[np.ndarray, int]: ...
def remove_small(labels: np.ndarray, min_size: int) -> tuple[np.ndarray, int]: ...
def gather_tiles(
    image: np.ndarray,
    ys: np.ndarray,
    xs: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
    low: float,
    high: float,
    out: np.ndarray,
    num_threads: int,
) -> None: ...
def blend_tiles(
    tiles: np.ndarray,
    ys: np.ndarray,
    xs: np.ndarray,
    overlap: int,
    row_begin: int,
    out: np.ndarray,
    num_threads: int,
) -> None: ...
def blend_weights(
    starts: np.ndarray, tile: int, overlap: int, begin: int, end: int, axis: str
) -> np.ndarray: ...
def watershed(distance_map: np.ndarray, peak: float, fill: float, num_threads: int) -> np.ndarray: ...
def marker_watershed(
    image: np.ndarray, labels: np.ndarray, mask: np.ndarray | None, connectivity: int
) -> None: ...
