"""Masks of the iBOT task: rectangles of patches (Bao 2021, BEiT), completed to an exact count."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

MIN_BLOCK_PATCHES = 4
MAX_LOG_ASPECT = math.log(1 / 0.3)
TRIES_PER_BLOCK = 10


def block_mask(
    grid: tuple[int, int], num_masked: int, *, max_block_patches: int | None = None, generator: torch.Generator
) -> Bool[Tensor, "y x"]:
    """Mask of a (height, width) grid with exactly `num_masked` true patches, on the CPU.

    Rectangles of random area (4 patches to what is missing, at most `max_block_patches`, by default half the rows of
    the grid, rounded down as in the published code: 21 of 7 x 7) and aspect (0.3 to 1 / 0.3), always smaller than the
    grid on both axes. If ten draws give none that adds a patch and fits the count, single random patches complete the
    mask.
    """
    height, width = grid
    if not 0 <= num_masked <= height * width:
        raise ValueError(f"num_masked is {num_masked}; a grid of {height} x {width} has {height * width} patches")
    largest = height // 2 * width if max_block_patches is None else max_block_patches
    mask = torch.zeros(height, width, dtype=torch.bool)
    missing = num_masked
    while missing > 0:
        added = _add_block(mask, min(missing, largest), generator)
        if added == 0:
            break
        missing -= added
    free = (~mask).flatten().nonzero().flatten()
    mask.view(-1)[free[torch.randperm(len(free), generator=generator)[:missing]]] = True
    return mask


def image_masks(
    num_images: int,
    grid: tuple[int, int],
    *,
    masked_share: float = 0.5,
    ratios: tuple[float, float] = (0.1, 0.5),
    circular_shift: bool = False,
    generator: torch.Generator,
) -> Bool[Tensor, "image y x"]:
    """Masks of a batch: exactly int(num_images · masked_share) images get one, in random order.

    The ratios are not random: the k-th masked image has int(patches · edge) masked patches with edge the k-th upper
    edge of equal intervals of `ratios`, so that every batch has the same number of masked tokens. `circular_shift`
    rolls each mask by a random offset, which evens out the border's rarer masking.
    """
    counts = _masked_counts(num_images, grid, masked_share, ratios, generator)
    masks = torch.zeros(num_images, *grid, dtype=torch.bool)
    for place, count in enumerate(counts):
        if count == 0:
            continue
        mask = block_mask(grid, count, generator=generator)
        if circular_shift:
            shifts = tuple(int(torch.randint(size, (), generator=generator)) for size in grid)
            mask = mask.roll(shifts, dims=(0, 1))
        masks[place] = mask
    return masks


def own_image_masks(
    images: Sequence[int],
    num_images: int,
    grid: tuple[int, int],
    *,
    masked_share: float = 0.5,
    ratios: tuple[float, float] = (0.1, 0.5),
    seed: Sequence[int],
) -> Bool[Tensor, "image y x"]:
    """Masks of some `images` of a batch of `num_images`, independent of who computes the others.

    The counterpart of `image_masks` for ranks that hold a part of the batch: which images are masked, and how much, is
    drawn for all (cheap); the masks themselves only for the rank's own images, each from its own seed.
    """
    counts = _masked_counts(num_images, grid, masked_share, ratios, _generator(*seed))
    return torch.stack([block_mask(grid, counts[image], generator=_generator(*seed, image + 1)) for image in images])


def _masked_counts(
    num_images: int,
    grid: tuple[int, int],
    masked_share: float,
    ratios: tuple[float, float],
    generator: torch.Generator,
) -> list[int]:
    """Masked patches of every image of a batch."""
    if not 0 <= masked_share <= 1:
        raise ValueError(f"masked_share is {masked_share}; give the share of masked images, a number of [0, 1]")
    low, high = ratios
    if not 0 <= low <= high <= 1:
        raise ValueError(f"ratios are {ratios}; give (lowest, highest) share of masked patches within [0, 1]")
    num_masked_images = int(num_images * masked_share)
    edges = torch.linspace(low, high, num_masked_images + 1)[1:]
    places = torch.randperm(num_images, generator=generator)[:num_masked_images]
    counts = [0] * num_images
    for place, edge in zip(places.tolist(), edges.tolist(), strict=True):
        counts[place] = int(grid[0] * grid[1] * edge)
    return counts


def _generator(*seed: int) -> torch.Generator:
    # Seeds that differ in one number by one give unrelated streams, which torch's own seeding does not promise.
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))


def _add_block(mask: Bool[Tensor, "y x"], max_patches: int, generator: torch.Generator) -> int:
    """Set one random rectangle of `mask` that adds 1 to `max_patches` patches; returns how many it added, or 0."""
    for _ in range(TRIES_PER_BLOCK):
        u_area, u_aspect, u_top, u_left = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        area = MIN_BLOCK_PATCHES + (max_patches - MIN_BLOCK_PATCHES) * u_area
        aspect = math.exp(MAX_LOG_ASPECT * (2 * u_aspect - 1))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height >= mask.shape[0] or width >= mask.shape[1]:
            continue
        top, left = int(u_top * (mask.shape[0] - height + 1)), int(u_left * (mask.shape[1] - width + 1))
        block = mask[top : top + height, left : left + width]
        added = block.numel() - int(block.sum())
        if 0 < added <= max_patches:
            block.fill_(True)
            return added
    return 0
