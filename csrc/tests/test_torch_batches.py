"""Batches through the torch operators on the CPU: each image as if alone, and the rules of torch.library."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch operators need torch")

from dinocell_kernels import torch_ops  # noqa: E402  # after the skip

ops = torch.ops.dinocell
BATCHES = [(3,), (2, 2), (0,)]


def some_labels(batch):
    coarse = torch.randint(0, 6, (*batch, 3, 4), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    return coarse.repeat_interleave(3, -1).repeat_interleave(4, -2)


def some_maps(batch):
    return torch.rand((*batch, 9, 11), generator=torch.Generator().manual_seed(1))


def by_image(results, images, operator):
    """What the operator gives for each image alone stands at its place in the results for all."""
    results = results if isinstance(results, tuple) else (results,)
    for at in np.ndindex(*images.shape[:-2]):
        alone = operator(images[at])
        for result, expected in zip(results, alone if isinstance(alone, tuple) else (alone,), strict=True):
            assert result.dtype == expected.dtype
            assert torch.equal(result[at], expected)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(
    "operator",
    [
        torch_ops.distance_map,
        torch_ops.relabel,
        lambda labels: torch_ops.remove_small(labels, min_size=13),
        lambda labels: torch_ops.connected_components(labels > 2),
    ],
)
def test_labels_of_a_batch_are_those_of_its_images(batch, operator):
    labels = some_labels(batch)
    results = operator(labels)
    first = results[0] if isinstance(results, tuple) else results
    assert first.shape == labels.shape
    by_image(results, labels, operator)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("prominence", [None, 0.2])
def test_labels_of_a_batch_of_maps_are_those_of_its_maps(batch, prominence):
    maps = some_maps(batch)
    thresholds = {"peak": 0.5, "fill": 0.25, "prominence": prominence}
    labels = torch_ops.watershed(maps, **thresholds)
    assert labels.shape == maps.shape
    by_image(labels, maps, lambda image: torch_ops.watershed(image, **thresholds))
    queued, status = torch_ops.queue_watershed(maps, **thresholds)
    assert torch.equal(torch_ops.settle_watershed(maps, queued, status), labels)
    assert status.shape == (3, *batch)
    assert not status[1:].any()
    for at in np.ndindex(*batch):
        assert status[0][at] == labels[at].max()


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tiles_of_a_batch_are_those_of_its_images(batch, dtype):
    images = (200 * some_maps((*batch, 2))).to(torch.uint8)
    scale, offset = torch.rand((2, *batch, 2), generator=torch.Generator().manual_seed(2))
    options = {"tile": 6, "low": 0.0, "high": 90.0, "dtype": dtype}
    tiles = torch_ops.gather_tiles(images, [0, 3], [-2, 3, 5], scale=scale, offset=offset, **options)
    assert tiles.shape == (*batch, 2, 3, 2, 6, 6)
    assert tiles.dtype == dtype
    blending = {"overlap": 2, "rows": (0, 9), "width": 11}
    blended = torch_ops.blend_tiles(tiles[..., 0, :, :], [0, 3], [-2, 3, 5], **blending)
    assert blended.shape == (*batch, 9, 11)
    assert blended.dtype == torch.float32
    for at in np.ndindex(*batch):
        alone = torch_ops.gather_tiles(images[at], [0, 3], [-2, 3, 5], scale=scale[at], offset=offset[at], **options)
        assert torch.equal(tiles[at], alone)
        assert torch.equal(blended[at], torch_ops.blend_tiles(alone[..., 0, :, :], [0, 3], [-2, 3, 5], **blending))


def test_tiles_in_bfloat16_are_rounded_from_float32():
    image, factor = 200 * some_maps((1,)), torch.tensor([0.37])
    exact, rounded = (
        torch_ops.gather_tiles(image, [0], [0], tile=9, scale=factor, offset=factor, low=0.0, high=50.0, dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert torch.equal(rounded, exact.to(torch.bfloat16))
    with pytest.raises(ValueError, match=r"tiles cannot be torch\.float16; choose torch\.float32 or torch\.bfloat16"):
        torch_ops.gather_tiles(
            image, [0], [0], tile=9, scale=factor, offset=factor, low=0.0, high=50.0, dtype=torch.float16
        )


def test_the_gradient_of_blending_a_batch_is_that_of_each_image_and_has_the_tiles_type():
    for dtype in (torch.float32, torch.bfloat16):
        tiles = torch.rand((2, 2, 2, 8, 8), generator=torch.Generator().manual_seed(3)).to(dtype).requires_grad_()
        arguments = {"overlap": 2, "rows": (1, 10), "width": 12}
        torch_ops.blend_tiles(tiles, [-2, 4], [-2, 4], **arguments).square().sum().backward()
        assert tiles.grad is not None
        assert tiles.grad.dtype == dtype
        for image, gradient in zip(tiles.detach(), tiles.grad, strict=True):
            alone = image.clone().requires_grad_()
            torch_ops.blend_tiles(alone, [-2, 4], [-2, 4], **arguments).square().sum().backward()
            assert torch.equal(gradient, alone.grad)


def test_thresholds_of_a_float16_map_are_those_of_float32():
    """0.09 is between two numbers of float16, of which the larger lies above it: its pixel is in the mask."""
    heights = torch.tensor([[0.09, 0.6, 0.09]]).to(torch.float16)
    assert float(heights[0, 0]) > 0.09
    for prominence in (None, 0.0):
        assert torch_ops.watershed(heights, peak=0.5, fill=0.09, prominence=prominence).tolist() == [[1, 1, 1]]


def test_nan_in_a_batch_of_maps_is_refused():
    maps = some_maps((2,))
    maps[1, 2, 3] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        torch_ops.watershed(maps)


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("distance_map", lambda: (some_labels((2,)), True, False)),
        ("connected_components", lambda: (some_maps((2, 3)) > 0.5, 1)),
        ("relabel", lambda: (some_labels((2,)),)),
        ("remove_small", lambda: (some_labels((2,)), 12)),
        ("watershed", lambda: (some_maps((2,)), 0.5, 0.2)),
        ("queue_watershed", lambda: (some_maps((2,)), 0.5, 0.2, 0.1)),
        ("queue_watershed", lambda: (some_maps(()), 0.5, 0.2)),
        (
            "gather_tiles",
            lambda: (some_maps((2, 1)), [0], [0, 5], 8, torch.ones((2, 1)), torch.zeros(1), 0.0, 1.0, torch.bfloat16),
        ),
        ("blend_tiles", lambda: (torch.rand((2, 1, 1, 8, 8), requires_grad=True), [0], [0], 2, 0, 8, 8)),
        ("blend_tiles", lambda: (torch.rand((1, 1, 8, 8)).to(torch.bfloat16), [0], [0], 2, 0, 8, 8)),
        ("spread_tiles", lambda: (some_maps((2,)), [0, 3], [0, 5], 6, 2, 0, 9, 11)),
    ],
)
def test_operators_on_batches_keep_the_rules_of_torch_library(op, arguments):
    torch.library.opcheck(getattr(ops, op).default, arguments())
