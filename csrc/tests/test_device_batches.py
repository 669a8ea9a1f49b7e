"""Batches on the device, run thread by thread on this CPU in several orders: each image as if alone, order unseen."""

import numpy as np
import pytest

from dinocell_kernels import _native

emulated = _native.device_emulation
SHAPES = [(3, 7, 9), (2, 1, 1), (5, 1, 13), (4, 17, 1), (2, 40, 150), (3, 0, 4), (0, 5, 6), (2, 2, 3, 5)]


def labels_of(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    coarse = rng.integers(0, 9, (*shape[:-2], shape[-2] // 3 + 1, shape[-1] // 3 + 1))
    fine = np.repeat(np.repeat(coarse, 3, -2), 3, -1)[..., : shape[-2], : shape[-1]]
    return np.ascontiguousarray(np.where(rng.random(shape) < 0.1, 0, fine), dtype)


def heights_of(rng: np.random.Generator, shape: tuple[int, ...], *, levels: int | None) -> np.ndarray:
    heights = rng.random(shape)
    heights = heights + sum(np.roll(heights, step, axis) for step in (-1, 1) for axis in (-1, -2))
    return (heights / 5 if levels is None else np.round(heights / 5 * levels) / levels).astype(np.float32)


def all_results(rng: np.random.Generator, shape: tuple[int, ...]):
    """Functions of an order, and of one image of the batch, to a list of arrays whose first axes are the batch's."""
    labels, narrow = labels_of(rng, shape, np.int32), labels_of(rng, shape, np.uint16)
    mask = (rng.random(shape) < 0.6).astype(np.uint8)
    smooth, tied = heights_of(rng, shape, levels=None), heights_of(rng, shape, levels=6)
    yield labels, lambda x, order: [emulated.distance_map(x, 9, True, False, order)]
    yield narrow, lambda x, order: [emulated.distance_map(x, 9, False, True, order)]
    for connectivity in (1, 2):
        yield mask, lambda x, order, c=connectivity: emulated.connected_components(x, c, order)
    yield labels, lambda x, order: emulated.relabel(x, 9, order)
    yield narrow, lambda x, order: emulated.remove_small(x, 9, 4, order)
    for heights in (smooth, tied):
        for prominence in (-1.0, 0.05):
            yield heights, lambda x, order, p=prominence: with_status_last(emulated.watershed(x, 0.5, 0.3, p, order))


def with_status_last(result: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    labels, status = result
    return [labels, np.moveaxis(status, 0, -1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_batch_is_its_images_one_by_one(shape: tuple[int, ...]) -> None:
    for images, run in all_results(np.random.default_rng(1), shape):
        together = run(images, 0)
        for at in np.ndindex(shape[:-2]):
            for result, alone in zip(together, run(images[at], 0), strict=True):
                np.testing.assert_array_equal(result[at], alone)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_order_of_blocks_and_threads_does_not_show(order: int) -> None:
    for shape in [(40, 90), (2, 20, 50)]:
        for images, run in all_results(np.random.default_rng(order), shape):
            for result, expected in zip(run(images, order), run(images, 0), strict=True):
                np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_tiles_of_a_batch_are_those_of_its_images(order: int) -> None:
    rng = np.random.default_rng(order)
    images = rng.integers(0, 255, (3, 2, 30, 41)).astype(np.uint8)
    scale, offset = rng.random((2, 3, 2)).astype(np.float32)
    ys, xs = np.array([-3, 9, 20]), np.array([0, 15, 30, 31])
    tiles = emulated.gather_tiles(images, ys, xs, 12, scale, offset, 0.0, 99.0, order)
    for image, factor, shift, expected in zip(images, scale, offset, tiles, strict=True):
        np.testing.assert_array_equal(emulated.gather_tiles(image, ys, xs, 12, factor, shift, 0.0, 99.0), expected)
    one_channel = np.ascontiguousarray(tiles[:, :, :, 0])
    blended = emulated.blend_tiles(one_channel, ys, xs, 4, 0, 30, 41, order)
    spread = emulated.spread_tiles(blended, ys, xs, 12, 4, 0, 30, 41, order)
    for tile, image, gradient in zip(one_channel, blended, spread, strict=True):
        np.testing.assert_array_equal(emulated.blend_tiles(tile, ys, xs, 4, 0, 30, 41), image)
        np.testing.assert_array_equal(emulated.spread_tiles(image, ys, xs, 12, 4, 0, 30, 41), gradient)


@pytest.mark.parametrize("order", [1, 2])
def test_the_order_does_not_show_in_pairs_and_sums(order: int) -> None:
    rng = np.random.default_rng(order)
    truth, predicted = labels_of(rng, (60, 80), np.int32), labels_of(rng, (60, 80), np.int32)
    results = [emulated.label_overlap(truth, predicted, 1 << 8, o) for o in (0, order)]
    (keys, pixels), (other_keys, other_pixels) = results
    assert dict(zip(keys.tolist(), pixels.tolist(), strict=True)) == dict(
        zip(other_keys.tolist(), other_pixels.tolist(), strict=True)
    )
    logits, v, u = (rng.random(size, np.float32) for size in ((70, 130), 70, 130))
    maxima = emulated.sinkhorn_sample_max(logits, 0.5, order)
    np.testing.assert_array_equal(maxima, emulated.sinkhorn_sample_max(logits, 0.5))
    for name, factors in (("prototype_mass", (v,)), ("sample_mass", (u,)), ("targets", (u, v))):
        step = getattr(emulated, f"sinkhorn_{name}")
        np.testing.assert_array_equal(step(logits, 0.5, maxima, *factors, order), step(logits, 0.5, maxima, *factors))


def test_sizes_that_the_kernels_words_do_not_hold_are_refused() -> None:
    emulated.require_distances_fit(65534, 628)
    emulated.require_distances_fit(0, 70_000)
    for shape in ((65534, 629), (65535, 1), (50_000, 50_000)):
        with pytest.raises(ValueError, match=rf"shape {shape[0]} x {shape[1]}; a GPU call takes sides up to 65534"):
            emulated.require_distances_fit(*shape)
    emulated.require_pixels_fit(3, 1 << 29)
    for images, pixels in ((4, 1 << 29), (1 << 31, 1), (1 << 40, 1 << 40)):
        with pytest.raises(ValueError, match=f"got {images} images of {pixels} pixels; a GPU call takes fewer than"):
            emulated.require_pixels_fit(images, pixels)


def test_a_grid_of_more_blocks_than_a_gpu_takes_is_refused() -> None:
    image, one = np.zeros((1, 1, 1), np.float32), np.ones(1, np.float32)
    no_rows, column = np.zeros(0, np.int64), np.zeros(1, np.int64)
    with pytest.raises(
        ValueError, match="gather_tiles asks for 0 x 65536 x 32768 blocks; a GPU takes 2147483647 x 65535"
    ):
        emulated.gather_tiles(image, no_rows, column, 1 << 21, one, one, 0.0, 1.0)
