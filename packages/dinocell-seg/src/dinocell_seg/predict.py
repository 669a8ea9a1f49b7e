"""One grey image through one model: normalise, resize, tile, predict, resize back."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from torch import Tensor, nn

from dinocell_seg.cell_diameter import diameter_range, estimate_diameter, estimates_diameters, scale_into
from dinocell_seg.normalize import AffineNormalization, PreparedPlane, prepare
from dinocell_seg.precision import choose_precision, with_precision
from dinocell_seg.resizing import resized
from dinocell_seg.settings import SegmentSettings, TestTimeAugmentation
from dinocell_seg.tiling import TRAINED_TILE, Network, fitted_tile, num_tiles, predict_tiled_on_device

CPU_BATCH_PIXELS = 4 * 256**2
GPU_BATCH_PIXELS = 32 * 256**2
SCALE_RANGE = (1 / 16, 16.0)
_PIXEL_SIZE_UNUSED = (
    "the model's file states no pixel size, so --pixel-size gives the table its unit but does not resize the image; "
    "--diameter does"
)


@dataclass(frozen=True)
class Prediction:
    """A distance map of the image's own shape, and how it was made.

    `heights` is the map where it was made, on a GPU if its kernels blended the tiles; `distance_map` is a copy of it on
    the CPU, made on first use.
    """

    heights: Float32[Tensor, "y x"]
    normalization: AffineNormalization
    scale: float
    precision: Literal["fp32", "bf16"]
    tile: int
    num_tiles: int
    seconds: Mapping[str, float]
    diameter_px: float | None = None
    """Median cell diameter in the image as the model estimated it; None if it was not asked, or saw no cell."""
    notes: tuple[str, ...] = ()
    """What a user should know about how the network saw the image."""

    @cached_property
    def distance_map(self) -> Float32[np.ndarray, "y x"]:
        array: Float32[np.ndarray, "y x"] = self.heights.cpu().numpy()
        return array


def predict_distance_map(
    plane: Shaped[np.ndarray, "y x"],
    model: nn.Module,
    *,
    settings: SegmentSettings,
    metadata: Mapping[str, Any] | None = None,
    in_channels: int = 1,
    device: str | torch.device = "cpu",
) -> Prediction:
    """The model's distance map of one grey image of any size and any real dtype.

    The normalisation is fitted to the whole image before anything is resized or cut. `metadata` is the
    model file's; it holds the diameter or pixel size that a rescaling aims at. Raises ValueError for an
    image with NaN or without pixels, and for a diameter the model's file says nothing about.
    """
    started = time.perf_counter()
    prepared = prepare(plane, settings.normalization)
    scale, diameter_px = _scale_of(
        prepared, model, settings=settings, metadata=metadata or {}, in_channels=in_channels, device=device
    )
    shape = (max(1, round(plane.shape[0] * scale)), max(1, round(plane.shape[1] * scale)))
    pixels = resized(prepared.pixels, shape)
    normalized = time.perf_counter()
    tile = settings.tile or fitted_tile(
        shape,
        overlap=settings.overlap,
        trained=trained_tile(metadata or {}),
        multiple=getattr(model, "size_multiple", 16),
    )
    count = num_tiles(shape, tile=tile, overlap=settings.overlap)
    device = torch.device(device)
    precision = choose_precision(settings.precision, device)
    heights = predict_tiled_on_device(
        pixels,
        with_test_time_augmentation(with_precision(model, precision, device), settings.tta),
        affine=prepared.affine,
        tile=tile,
        overlap=settings.overlap,
        in_channels=in_channels,
        batch_size=settings.batch_size or batch_of(tile, device),
        device=device,
    )
    if heights.is_cuda:
        torch.cuda.synchronize(heights.device)  # otherwise the next step would be charged with the network's time
    if heights.shape != plane.shape:
        heights = torch.from_numpy(resized(heights.cpu().numpy(), (plane.shape[0], plane.shape[1])))
    seconds = {"normalize": normalized - started, "network": time.perf_counter() - normalized}
    notes = (_PIXEL_SIZE_UNUSED,) if _ignores_pixel_size(settings, metadata or {}) else ()
    return Prediction(heights, prepared.affine, scale, precision, tile, count, seconds, diameter_px, notes)


def _ignores_pixel_size(settings: SegmentSettings, metadata: Mapping[str, Any]) -> bool:
    """Whether a pixel size was given that cannot resize the image, since the model's file holds none to aim at."""
    return settings.pixel_size_um is not None and settings.diameter_px is None and not metadata.get("pixel_size_um")


def _scale_of(
    prepared: PreparedPlane,
    model: nn.Module,
    *,
    settings: SegmentSettings,
    metadata: Mapping[str, Any],
    in_channels: int,
    device: str | torch.device,
) -> tuple[float, float | None]:
    """What the image is resized by, and the estimate of its cells' diameter that this comes from, if any."""
    if settings.diameter_px != "auto":
        return rescaling(settings, metadata), None
    require_diameter_head(model)
    known = diameter_range(metadata)
    diameter_px = estimate_diameter(
        prepared.pixels, model, affine=prepared.affine, known=known, in_channels=in_channels, device=device
    )
    return scale_into(diameter_px, known), diameter_px


def require_diameter_head(model: nn.Module) -> None:
    """Raise ValueError for a model that cannot estimate diameters."""
    if not estimates_diameters(model):
        raise ValueError(
            "this model does not estimate cell diameters, so --diameter auto cannot be used; give the diameter in "
            "pixels, or leave --diameter out to segment the image as it is"
        )


def trained_tile(metadata: Mapping[str, Any]) -> int:
    """Side of the crops that a model was trained on, as its file states it."""
    return int(metadata.get("tile") or TRAINED_TILE)


def batch_of(tile: int, device: torch.device) -> int:
    """Tiles per pass: about a quarter megapixel on a CPU, two on a GPU, and at least one tile."""
    pixels = CPU_BATCH_PIXELS if device.type == "cpu" else GPU_BATCH_PIXELS
    return max(1, pixels // tile**2)


def rescaling(settings: SegmentSettings, metadata: Mapping[str, Any]) -> float:
    """Factor by which the image is resized before the network sees it; 1 if no diameter is given.

    With `diameter_px` it is the median diameter of the model's training cells over the image's. Without it,
    but with `pixel_size_um`, it is the image's pixel size over the model's, for models whose file tells
    one.
    """
    if settings.diameter_px == "auto":
        return 1.0  # each image has its own
    if settings.diameter_px is not None:
        known = metadata.get("diameter_px")
        if not known:
            raise ValueError(
                "the model's file does not state the cell diameter it was trained on, so "
                "--diameter cannot be used; resize the image yourself, "
                "or use a model with 'diameter_px' in its metadata"
            )
        scale = float(known[1]) / settings.diameter_px
    elif settings.pixel_size_um is not None and metadata.get("pixel_size_um"):
        scale = settings.pixel_size_um / float(metadata["pixel_size_um"])
    else:
        return 1.0
    if not SCALE_RANGE[0] <= scale <= SCALE_RANGE[1]:
        raise ValueError(
            f"the image would be resized by {scale:.3g}, outside {SCALE_RANGE[0]:.3g} to "
            f"{SCALE_RANGE[1]:.3g}; check the diameter (pixels of the image) or the pixel size (micrometres)"
        )
    return scale


def with_test_time_augmentation(network: Network, tta: TestTimeAugmentation) -> Network:
    """The network averaged over 4 flips, or over all 8 flips and quarter turns, of its (square) tiles."""
    if tta == "none":
        return network
    turns = (0, 1) if tta == "dihedral" else (0,)
    poses = [(turn, flip) for turn in turns for flip in ((), (-1,), (-2,), (-2, -1))]

    def mean_over_poses(tiles: Tensor) -> Tensor:
        total = torch.zeros((), device=tiles.device)
        for turn, flip in poses:
            output = network(torch.rot90(tiles, turn, (-2, -1)).flip(flip))
            total = total + torch.rot90(output.flip(flip), -turn, (-2, -1))
        return total / len(poses)

    return mean_over_poses
