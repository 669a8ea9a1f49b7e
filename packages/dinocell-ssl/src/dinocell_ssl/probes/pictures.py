"""What a backbone sees, as pictures: attention, principal components of its patches, masks, side by side.

Pictures are uint8 RGB arrays [y x 3]; maps of patches are enlarged so that each patch is a square of its size.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

Picture = UInt8[np.ndarray, "_ _ 3"]

# Viridis (van der Walt and Smith, CC0) at equal steps: even in brightness, and readable without seeing colours.
_VIRIDIS = np.array(
    [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99],
     [170, 220, 50], [253, 231, 37]],
    np.float64,
)  # fmt: skip
_MASKED_SHARE = 0.25
_GAP_PX = 4


def grey_picture(image: Float[np.ndarray, "y x"], *, low: float = -2.0, high: float = 2.0) -> Picture:
    """A grey image; `low` is black and `high` white: the 1st and the 99.8th percentile of a network input."""
    scaled = (np.clip((image - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
    return np.repeat(scaled[:, :, None], 3, axis=2)


def heat_picture(values: Float[np.ndarray, "row column"], *, patch: int = 1) -> Picture:
    """A map in the colours of viridis from its smallest to its largest value; a constant map has the darkest."""
    spread = float(values.max() - values.min())
    unit = (values - values.min()) / spread if spread > 0 else np.zeros_like(values)
    place = unit.astype(np.float64) * (len(_VIRIDIS) - 1)
    below = np.minimum(place.astype(int), len(_VIRIDIS) - 2)
    share = (place - below)[..., None]
    colours = _VIRIDIS[below] * (1 - share) + _VIRIDIS[below + 1] * share
    return enlarged(colours.round().astype(np.uint8), patch)


def attention_picture(weights: Float[Tensor, "head token"], grid: tuple[int, int], *, patch: int = 1) -> Picture:
    """Attention of the class token to the patches, mean over the heads.

    `weights` are those of one image and the class token's query, over all tokens; the class and storage tokens, which
    come first, are left out. Values are clipped at the 99th percentile: single patches with most of the attention
    would hide the rest.
    """
    patches = _of_patches(weights.mean(dim=0), grid)
    values = patches.float().cpu().numpy()
    return heat_picture(np.minimum(values, np.percentile(values, 99)), patch=patch)


def _of_patches(tokens: Float[Tensor, " token"], grid: tuple[int, int]) -> Float[Tensor, "row column"]:
    rows, columns = grid
    if len(tokens) <= rows * columns:
        raise ValueError(
            f"attention over {len(tokens)} tokens does not hold a class token and {rows} x {columns} patches"
        )
    return tokens[-rows * columns :].unflatten(0, grid)


def pca_pictures(features: Float[Tensor, "image row column feature"], *, patch: int = 1) -> list[Picture]:
    """The three largest principal components of all images' patches together as red, green and blue.

    Equal colours are equal features across the images, so that channels of one field compare. Each component is
    scaled from its 1st to its 99th percentile; its sign is the one that makes its largest weight positive, so that
    pictures of successive steps compare too, as far as the components do. A component without variance is grey.
    """
    grid = features.shape[1:3]
    flat = features.flatten(0, 2).double().cpu()
    centered = flat - flat.mean(dim=0)
    directions = torch.linalg.eigh(centered.T @ centered).eigenvectors.flip(1)[:, :3]
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    values = (centered @ (directions * largest.sign())).numpy()
    channels = np.full((len(values), 3), 0.5)
    low, high = np.percentile(values, (1, 99), axis=0)
    scale = max(1e-12, float(np.abs(flat.numpy()).max()))
    for component in range(values.shape[1]):
        if high[component] - low[component] > 1e-6 * scale:
            channels[:, component] = (values[:, component] - low[component]) / (high[component] - low[component])
    colours = (channels.clip(0, 1) * 255).round().astype(np.uint8).reshape(-1, *grid, 3)
    return [enlarged(image, patch) for image in colours]


def masked_picture(picture: Picture, mask: Bool[np.ndarray, "row column"]) -> Picture:
    """`picture` with its masked patches, which the student does not see, darkened to a quarter and reddish.

    The grid must divide the picture evenly.
    """
    rows, columns = mask.shape
    height, width = picture.shape[:2]
    if height % rows or width % columns:
        raise ValueError(f"a mask of {rows} x {columns} patches does not divide a picture of {height} x {width} pixels")
    hidden = np.kron(mask, np.ones((height // rows, width // columns), bool))[..., None]
    dark = picture * _MASKED_SHARE + np.array([96.0, 0.0, 0.0])
    return np.where(hidden, dark.clip(0, 255).round().astype(np.uint8), picture)


def contact_sheet(rows: Sequence[Sequence[Picture]]) -> Picture:
    """Pictures in rows and columns with white gaps, each in the top left corner of its place."""
    height = max(picture.shape[0] for row in rows for picture in row)
    width = max(picture.shape[1] for row in rows for picture in row)
    num_columns = max(len(row) for row in rows)
    shape = (len(rows) * (height + _GAP_PX) - _GAP_PX, num_columns * (width + _GAP_PX) - _GAP_PX, 3)
    sheet = np.full(shape, 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = i * (height + _GAP_PX), j * (width + _GAP_PX)
            sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def enlarged(picture: Picture, factor: int) -> Picture:
    """Each pixel a square of `factor` pixels."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def network_image(images: Float32[np.ndarray, "channel y x"]) -> Float32[np.ndarray, "y x"]:
    """The mean of an input's channels, to be shown in grey."""
    return images.mean(axis=0)
