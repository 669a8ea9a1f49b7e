"""The diameter of an image's cells, estimated by a model with a diameter head before the image is segmented."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Shaped
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F

from dinocell_seg.normalize import AffineNormalization
from dinocell_seg.resizing import resized

DIAMETER_RANGE_PX = (12.0, 60.0)  # of median cells in training, for model files that do not tell theirs
_SIDE_PX = 768  # of the middle of the image that is looked at; coarser looks see more of it
_COARSER = 0.4  # of the pixels of the look before, while cells are too large for the network
_SMALLEST_SIDE_PX = 64
_FOREGROUND = 0.1  # distance above which a pixel is a cell's


def estimates_diameters(model: nn.Module) -> bool:
    """Whether the model has a diameter head."""
    return getattr(model, "diameter_head", None) is not None


def diameter_range(metadata: Mapping[str, Any]) -> tuple[float, float]:
    """The median diameters, in pixels, that a model was trained on: within them no image need be resized."""
    low, high = metadata.get("diameter_range_px") or DIAMETER_RANGE_PX
    return float(low), float(high)


def scale_into(diameter_px: float | None, known: tuple[float, float]) -> float:
    """The factor nearest to 1 that brings cells into a range of diameters; 1 for an image without cells."""
    if diameter_px is None:
        return 1.0
    return min(max(diameter_px, known[0]), known[1]) / diameter_px


@torch.inference_mode()
def estimate_diameter(
    pixels: Shaped[ndarray, "y x"],
    model: nn.Module,
    *,
    affine: AffineNormalization,
    known: tuple[float, float],
    in_channels: int = 1,
    device: str | torch.device = "cpu",
) -> float | None:
    """Median diameter of the cells, in pixels of the image; None where the model sees no cell.

    The middle of the image is looked at as it is, and coarser and coarser while no cell is seen or cells are larger
    than the model knows. Every patch counts by its share of foreground.
    """
    scale, estimate = 1.0, None
    while True:
        shape = (max(1, round(pixels.shape[0] * scale)), max(1, round(pixels.shape[1] * scale)))
        seen = _median(_network_input(resized(pixels, shape), affine, in_channels).to(device), model)
        if seen is not None:
            estimate = seen / scale
        if (seen is not None and seen <= known[1]) or _COARSER * min(shape) < _SMALLEST_SIDE_PX:
            return estimate
        scale *= _COARSER


def _network_input(
    pixels: Shaped[ndarray, "y x"], affine: AffineNormalization, in_channels: int
) -> Float[Tensor, "1 {in_channels} y_middle x_middle"]:
    """The middle of a plane, normalised."""
    starts = [max(0, (side - _SIDE_PX) // 2) for side in pixels.shape]
    middle = pixels[starts[0] : starts[0] + _SIDE_PX, starts[1] : starts[1] + _SIDE_PX]
    values = torch.from_numpy(middle.astype("float32")) * affine.scale + affine.offset
    return values.clamp(affine.low, affine.high).expand(1, in_channels, -1, -1).contiguous()


def _median(image: Float[Tensor, "1 channel y x"], model: Any) -> float | None:
    """Median over patches, weighted by their foreground, of the diameters that the model tells."""
    logits, log2_diameters = model.logits_and_diameters(image)
    foreground = (logits.float().sigmoid() > _FOREGROUND).float()
    rows, columns = log2_diameters.shape[-2:]
    patch = model.architecture.patch
    padded = F.pad(foreground, (0, columns * patch - image.shape[-1], 0, rows * patch - image.shape[-2]))
    weights = F.avg_pool2d(padded, patch).flatten()
    if float(weights.sum()) == 0:
        return None
    order = log2_diameters.float().flatten().argsort()
    reached = weights[order].cumsum(0) >= weights.sum() / 2
    return float(2 ** log2_diameters.float().flatten()[order][reached.int().argmax()])
