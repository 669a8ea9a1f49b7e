"""Block masks meet their counts exactly, and come in blocks."""

import pytest
import torch

from dinocell_ssl.data import masking
from dinocell_ssl.data.masking import block_mask, image_masks


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("num_masked", [0, 1, 3, 4, 17, 98, 195, 196])
def test_mask_has_exactly_the_requested_count(num_masked):
    for seed in range(3):
        assert int(block_mask((14, 14), num_masked, generator=seeded(seed)).sum()) == num_masked


@pytest.mark.parametrize(("grid", "largest"), [((6, 6), 18), ((7, 7), 21), ((7, 5), 15), ((14, 14), 98)])
def test_the_largest_block_has_half_the_rows_of_the_grid_rounded_down(grid, largest, monkeypatch):
    asked = []
    monkeypatch.setattr(masking, "_add_block", lambda mask, max_patches, generator: asked.append(max_patches) or 0)
    assert int(block_mask(grid, grid[0] * grid[1], generator=seeded()).sum()) == grid[0] * grid[1]
    assert asked == [largest]


def test_grids_too_small_for_a_block_get_single_patches():
    assert int(block_mask((1, 5), 3, generator=seeded()).sum()) == 3


@pytest.mark.parametrize(
    ("num_images", "side", "num_tokens"),
    [
        *((64, 14, 1906), (64, 16, 2496), (64, 28, 7671), (64, 32, 10023)),
        *((128, 14, 3771), (128, 16, 4941), (128, 28, 15182), (128, 32, 19840)),
    ],
)
def test_ratios_of_a_batch_add_up_to_the_published_number_of_tokens(num_images, side, num_tokens):
    edges = torch.linspace(0.1, 0.5, num_images // 2 + 1)[1:]
    assert sum(int(side * side * edge) for edge in edges) == num_tokens


def test_batch_of_64_crops_has_the_published_counts():
    masks = image_masks(64, (14, 14), generator=seeded())
    counts = masks.sum(dim=(1, 2))
    masked = counts[counts > 0]
    assert (len(masked), int(masked.min()), int(masked.max()), int(masked.sum())) == (32, 22, 98, 1906)
    assert masked.tolist() != sorted(masked.tolist())


def test_masked_images_are_others_for_another_seed_and_the_same_for_the_same():
    first, again, other = (image_masks(8, (6, 6), generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_masked_patches_lie_in_blocks():
    def share_of_equal_neighbours(mask):
        return float((mask[:, 1:] == mask[:, :-1]).float().mean())

    block = torch.stack([block_mask((14, 14), 60, generator=seeded(seed)) for seed in range(20)])
    scattered = block.flatten(1)[:, torch.randperm(196, generator=seeded())].view_as(block)
    assert share_of_equal_neighbours(scattered) < 0.65, "test invalid"
    assert share_of_equal_neighbours(block) > 0.75


def test_circular_shift_keeps_the_counts():
    plain, shifted = (
        image_masks(6, (5, 7), circular_shift=shift, generator=seeded()).sum(dim=(1, 2)) for shift in (False, True)
    )
    assert sorted(plain.tolist()) == sorted(shifted.tolist())


def test_no_image_is_masked_when_the_share_is_less_than_one_image():
    assert not image_masks(3, (4, 4), masked_share=0.3, generator=seeded()).any()


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="num_masked is 10; a grid of 3 x 3 has 9 patches"):
        block_mask((3, 3), 10, generator=seeded())
    with pytest.raises(ValueError, match=r"masked_share is 1.5; give the share of masked images"):
        image_masks(4, (3, 3), masked_share=1.5, generator=seeded())
    with pytest.raises(ValueError, match=r"ratios are \(0.5, 0.1\); give \(lowest, highest\)"):
        image_masks(4, (3, 3), ratios=(0.5, 0.1), generator=seeded())
