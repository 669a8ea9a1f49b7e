"""Multi-crop of one field: two global and several local squares, channels chosen by a view strategy.

Each sample first chooses a window, a square of the field in its own pixels; crops cover a share of the window's area
and are resized to the network's sizes. So magnification stays within the range that the shares allow (with the
defaults 1 to 1.6 for global and 0.7 to 1.9 for local crops), however large the field is, and the size of a cell keeps
its meaning. Only a field smaller than the window is enlarged beyond that; a smaller `window_px` avoids it.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dinocell_ssl.data.augment import Augmentation, changed_exposure, changed_optics
from dinocell_ssl.data.intensity import ScaledField, network_input
from dinocell_ssl.data.views import Views

_STRUCTURE_BLOCK_PX = 8


class Crops(BaseModel):
    """Sizes and places of the crops."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    global_px: int = Field(default=224, ge=1)
    local_px: int = Field(default=96, ge=1)
    num_local: int = Field(default=8, ge=0)
    window_px: int | None = Field(default=None, ge=1, description="side of the window; null: global_px")
    global_area: tuple[float, float] = Field(default=(0.4, 1.0), description="share of the window's area")
    local_area: tuple[float, float] = Field(default=(0.05, 0.4), description="the same for local crops")
    same_place: bool = Field(default=False, description="both global crops show the same square, in other channels")
    turns: bool = Field(default=True, description="each crop in one of its 8 flips and quarter turns")
    blank_tries: int = Field(default=8, ge=1, description="windows drawn before the least blank one is taken")
    min_structure: float = Field(
        default=0.2, ge=0, le=1, description="least share of contrast beyond 8 px; noise alone has 0.125"
    )

    @model_validator(mode="after")
    def _areas_are_shares(self) -> "Crops":
        for name, (low, high) in (("global_area", self.global_area), ("local_area", self.local_area)):
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name} is {(low, high)}; give (lowest, highest) share of the window within (0, 1]")
        return self


class SampleCrops(NamedTuple):
    """Crops of one sample, ready for the network."""

    global_crops: Float32[np.ndarray, "2 channel y x"]
    local_crops: Float32[np.ndarray, "local_crop channel local_y local_x"]


class _Mixing(NamedTuple):
    """For each crop and each channel it shows, the share of every channel of the field."""

    global_crops: Float32[np.ndarray, "2 view_channel channel"]
    local_crops: Float32[np.ndarray, "local_crop view_channel channel"]


def sample_crops(
    field: ScaledField,
    rng: np.random.Generator,
    *,
    crops: Crops,
    views: Views,
    augmentation: Augmentation,
) -> SampleCrops:
    """All crops of one sample; the same state of `rng` gives the same crops."""
    mixing = channel_mixing(field.pixels.shape[0], rng, views=views, num_local=crops.num_local)
    top, left, side = choose_window(field, rng, crops)
    squares = [_square(rng, side, crops.global_area) for _ in range(2)]
    if crops.same_place:
        squares[1] = squares[0]
    squares += [_square(rng, side, crops.local_area) for _ in range(crops.num_local)]
    weights = [*mixing.global_crops, *mixing.local_crops]
    sizes = [crops.global_px] * 2 + [crops.local_px] * crops.num_local
    cut = [
        _crop(field, rng, share, (top + y, left + x, length), size, crops.turns, augmentation)
        for share, (y, x, length), size in zip(weights, squares, sizes, strict=True)
    ]
    empty = np.zeros((0, mixing.global_crops.shape[1], crops.local_px, crops.local_px), np.float32)
    return SampleCrops(np.stack(cut[:2]), np.stack(cut[2:]) if crops.num_local else empty)


def channel_mixing(num_channels: int, rng: np.random.Generator, *, views: Views, num_local: int) -> _Mixing:
    """The weights that a view strategy gives to the channels of one field.

    Every strategy is linear in the channels. Applied to a field of one row whose channel c is 1 in column c and 0
    elsewhere, it returns its own weights, so only pixels that a crop shows have to be mixed. If there are several
    images (a bag of channels), one is drawn.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    unit = torch.eye(num_channels)[None, :, None]
    drawn = views.views(unit, num_local=num_local, generator=generator)
    image = int(rng.integers(drawn.global_crops.shape[1]))
    return _Mixing(drawn.global_crops[:, image, :, 0].numpy(), drawn.local_crops[:, image, :, 0].numpy())


def choose_window(field: ScaledField, rng: np.random.Generator, crops: Crops) -> tuple[int, int, int]:
    """(top, left, side) of a window that shows more than noise, or the best of `blank_tries` random ones."""
    height, width = field.pixels.shape[1:]
    side = min(crops.window_px or crops.global_px, height, width)
    best, most = (0, 0, side), -1.0
    for _ in range(crops.blank_tries):
        window = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1)), side
        found = _structure(field, window)
        if found > most:
            best, most = window, found
        if most >= crops.min_structure:
            break
    return best


def structure(v: Float32[np.ndarray, "y x"]) -> float:
    """Standard deviation of means of 8 x 8 pixels / standard deviation of pixels; 0 for a constant plane.

    Independent noise has 1/8, cells larger than a few pixels a half or more.
    """
    size = _STRUCTURE_BLOCK_PX
    rows, columns = max(1, v.shape[0] // size), max(1, v.shape[1] // size)
    deviation = float(v.std())
    if deviation == 0:
        return 0.0
    means = cv2.resize(v[: rows * size, : columns * size], (columns, rows), interpolation=cv2.INTER_AREA)
    return float(np.std(means)) / deviation


def _structure(field: ScaledField, window: tuple[int, int, int]) -> float:
    top, left, side = window
    rows, columns = slice(top, top + side), slice(left, left + side)
    return max(structure(field.values(channel, rows, columns)) for channel in range(field.pixels.shape[0]))


def _square(rng: np.random.Generator, side: int, area: tuple[float, float]) -> tuple[int, int, int]:
    """(top, left, length) of a square that covers a share of a window, area uniform."""
    length = max(1, round(side * math.sqrt(rng.uniform(*area))))
    return int(rng.integers(side - length + 1)), int(rng.integers(side - length + 1)), length


def _crop(
    field: ScaledField,
    rng: np.random.Generator,
    weights: Float32[np.ndarray, "view_channel channel"],
    square: tuple[int, int, int],
    size: int,
    turns: bool,
    augmentation: Augmentation,
) -> Float32[np.ndarray, "view_channel size size"]:
    top, left, length = square
    rows, columns = slice(top, top + length), slice(left, left + length)
    planes: dict[int, np.ndarray] = {}
    for channel in np.flatnonzero(weights.any(axis=0)).tolist():
        v = changed_exposure(field.values(channel, rows, columns), rng, augmentation)
        planes[channel] = _resized(v, size)
    turn = int(rng.integers(8)) if turns else 0
    crop = np.zeros((len(weights), size, size), np.float32)
    for shown, shares in zip(crop, weights, strict=True):
        for channel in np.flatnonzero(shares).tolist():
            shown += planes[channel] * shares[channel]
        if shares.any():  # a dropped channel stays dark
            shown[...] = changed_optics(shown.copy(), rng, augmentation)
    return network_input(np.ascontiguousarray(_turned(crop, turn)))


def _resized(v: Float32[np.ndarray, "height width"], size: int) -> Float32[np.ndarray, "size size"]:
    # The mean over areas when shrinking, bilinear when enlarging: neither leaves the range of the pixels, as cubic
    # interpolation does at bright spots.
    if v.shape == (size, size):
        return v
    interpolation = cv2.INTER_AREA if v.shape[0] > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(v, (size, size), interpolation=interpolation), np.float32)


def _turned(crop: Float32[np.ndarray, "channel y x"], turn: int) -> Float32[np.ndarray, "channel y x"]:
    if turn >= 4:
        crop = crop[:, :, ::-1]
    return np.rot90(crop, turn % 4, axes=(1, 2))
