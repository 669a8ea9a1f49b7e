"""The device algorithms, run thread by thread on this CPU, against the CPU kernels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinocell_kernels import (
    _native,
    blend_tiles,
    connected_components,
    distance_map,
    gather_tiles,
    label_overlap,
    relabel,
    remove_small,
)

emulated = _native.device_emulation

NUM_IMAGES = 10_000  # random images for each kernel


def blobs(rng: np.random.Generator, shape: tuple[int, int], num_labels: int) -> np.ndarray:
    """Labels of touching regions, some in fragments, with holes of background."""
    coarse = rng.integers(0, num_labels + 1, (shape[0] // 4 + 1, shape[1] // 4 + 1))
    labels = np.kron(coarse, np.ones((4, 4), int))[: shape[0], : shape[1]]
    labels = np.where(rng.random(shape) < rng.choice([0.0, 0.02, 0.2]), 0, labels)
    return np.roll(labels, rng.integers(0, 4, 2), (0, 1))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_distance_maps_of_random_labels_have_the_bits_of_the_cpu(dtype: type) -> None:
    rng = np.random.default_rng(np.dtype(dtype).itemsize)
    for _ in range(NUM_IMAGES // 3):
        shape = tuple(int(n) for n in rng.integers(1, 48, 2))
        labels = np.ascontiguousarray(blobs(rng, shape, int(rng.integers(1, 12))), dtype)
        normalize, border = bool(rng.integers(2)), bool(rng.integers(2))
        device = emulated.distance_map(labels, 12, normalize, border)
        np.testing.assert_array_equal(
            device, distance_map(labels, normalize=normalize, border_is_background=border, num_threads=1)
        )


@pytest.mark.parametrize("border", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (300, 5), (70, 300)])
def test_one_label_over_the_whole_image_is_measured_to_the_border(shape: tuple[int, int], border: bool) -> None:
    labels = np.ones(shape, np.int32)
    np.testing.assert_array_equal(
        emulated.distance_map(labels, 1, False, border),
        distance_map(labels, normalize=False, border_is_background=border),
    )


def test_cells_wider_than_a_block_share_one_maximum_over_all_their_runs() -> None:
    labels = np.zeros((40, 700), np.int32)
    labels[2:38, 3:600] = 1
    labels[5:9, 640:660] = 1  # a fragment
    labels[20:30, 650:690] = 2
    np.testing.assert_array_equal(emulated.distance_map(labels, 2, True, False), distance_map(labels))


def test_labels_that_the_table_does_not_hold_become_nan() -> None:
    labels = np.array([[0, 1, 1, 5, -2]], np.int32)
    result = emulated.distance_map(labels, 4, True, True)
    assert result[0, 0] == 0
    assert (result[0, 1:3] == 1).all()
    assert np.isnan(result[0, 3:]).all()


@settings(max_examples=300)
@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    channels=st.integers(1, 3),
    tile=st.integers(1, 40),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    starts=st.lists(st.integers(-90, 90), min_size=2, max_size=5),
    seed=st.integers(0, 99),
)
def test_gathered_tiles_have_the_bits_of_the_cpu(
    height: int, width: int, channels: int, tile: int, dtype: type, starts: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = (rng.random((channels, height, width)) * 250).astype(dtype)
    if dtype == np.float32:
        image[0, 0, 0] = np.nan
    ys, xs = np.sort(np.array(starts[:2], np.int64)), np.sort(np.array(starts, np.int64))
    scale, offset = rng.random(channels).astype(np.float32), rng.random(channels).astype(np.float32)
    np.testing.assert_array_equal(
        emulated.gather_tiles(image, ys, xs, tile, scale, offset, 0.5, 100.0),
        gather_tiles(image, ys, xs, tile=tile, scale=scale, offset=offset, low=0.5, high=100.0),
    )


def test_tiles_of_many_images_are_gathered_as_on_the_cpu() -> None:
    rng = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        dtype = (np.uint8, np.uint16, np.float32)[number % 3]
        image = (rng.random((int(rng.integers(1, 4)), *rng.integers(1, 30, 2))) * 250).astype(dtype)
        ys, xs = (np.sort(rng.integers(-20, 40, rng.integers(1, 4))) for _ in range(2))
        tile, (scale, offset) = int(rng.integers(1, 20)), rng.random((2, len(image)), np.float32)
        np.testing.assert_array_equal(
            emulated.gather_tiles(image, ys, xs, tile, scale, offset, 0.5, 100.0),
            gather_tiles(image, ys, xs, tile=tile, scale=scale, offset=offset, low=0.5, high=100.0),
        )


@settings(max_examples=300)
@given(data=st.data(), tile=st.integers(1, 40), height=st.integers(1, 150), width=st.integers(1, 300))
def test_blended_tiles_are_those_of_the_cpu(data: st.DataObject, tile: int, height: int, width: int) -> None:
    overlap = data.draw(st.integers(0, tile // 2))
    stride = data.draw(st.integers(max(1, tile // 6), max(1, tile - overlap)))  # up to seven tiles over a pixel
    ys, xs = (np.append(np.arange(0, max(0, n - tile), stride), max(0, n - tile)) for n in (height, width))
    tiles = np.random.default_rng(tile).random((len(ys), len(xs), tile, tile), np.float32)
    begin = data.draw(st.integers(0, height - 1))
    end = data.draw(st.integers(begin, min(height, int(ys[-1]) + tile)))
    covered = min(width, int(xs[-1]) + tile)
    np.testing.assert_allclose(
        emulated.blend_tiles(tiles, ys, xs, overlap, begin, end, covered),
        blend_tiles(tiles, ys, xs, overlap=overlap, rows=(begin, end), width=covered),
        rtol=1e-5,
        atol=1e-6,
    )


def test_tiles_of_many_images_are_blended_as_on_the_cpu() -> None:
    rng = np.random.default_rng(1)
    for _ in range(NUM_IMAGES):
        tile = int(rng.integers(1, 20))
        overlap = int(rng.integers(0, tile // 2 + 1))
        stride = int(rng.integers(max(1, tile // 6), max(1, tile - overlap) + 1))
        height, width = rng.integers(1, 60, 2).tolist()
        ys, xs = (np.append(np.arange(0, max(0, n - tile), stride), max(0, n - tile)) for n in (height, width))
        tiles = rng.random((len(ys), len(xs), tile, tile), np.float32)
        begin = int(rng.integers(height))
        end = int(rng.integers(begin, min(height, int(ys[-1]) + tile) + 1))
        covered = min(width, int(xs[-1]) + tile)
        device = emulated.blend_tiles(tiles, ys, xs, overlap, begin, end, covered)
        cpu = blend_tiles(tiles, ys, xs, overlap=overlap, rows=(begin, end), width=covered)
        assert device.shape == cpu.shape
        assert np.abs(device - cpu).max(initial=0) <= 2e-6  # of values up to 1


def test_starts_that_do_not_ascend_or_are_too_many_are_refused() -> None:
    image, one = np.zeros((1, 4, 4), np.float32), np.ones(1, np.float32)
    good = np.zeros(1, np.int64)
    for starts, message in (
        (np.array([3, 1]), "ys must ascend for a GPU call; sort the tiles"),
        (np.arange(1025), "ys holds 1025 starts; a GPU call takes at most 1024"),
        (np.array([1 << 40]), "ys holds 1099511627776, expected a start within 32 bits"),
    ):
        with pytest.raises(ValueError, match=message):
            emulated.gather_tiles(image, starts, good, 2, one, one, 0.0, 1.0)


@pytest.mark.parametrize("connectivity", [1, 2])
def test_components_of_random_masks_are_numbered_as_on_the_cpu(connectivity: int) -> None:
    rng = np.random.default_rng(connectivity)
    for _ in range(NUM_IMAGES // 2):
        shape = tuple(int(n) for n in rng.integers(1, 60, 2))
        mask = (rng.random(shape) < rng.choice([0.3, 0.5, 0.6, 0.8, 1.0])).astype(np.uint8)
        expected, number = connected_components(mask, connectivity=connectivity)
        labels, count = emulated.connected_components(mask, connectivity)
        np.testing.assert_array_equal(labels, expected)
        assert count == number


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_relabelling_random_labels_is_that_of_the_cpu(dtype: type) -> None:
    rng = np.random.default_rng(7)
    for _ in range(NUM_IMAGES // 3):
        shape = tuple(int(n) for n in rng.integers(1, 70, 2))
        largest = int(rng.integers(1, 3000))
        labels = np.ascontiguousarray(blobs(rng, shape, int(rng.integers(1, 60))), dtype)
        labels = np.where(labels > 0, (labels * 37) % largest + 1, 0).astype(dtype)
        min_size = int(rng.integers(0, 40))
        for (result, count), (expected, number) in (
            (emulated.relabel(labels, largest), relabel(labels)),
            (emulated.remove_small(labels, largest, min_size), remove_small(labels, min_size=min_size)),
        ):
            np.testing.assert_array_equal(result, expected)
            assert count == number


def sorted_pairs(keys: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `torch_cuda` makes of the device's list."""
    order = np.argsort(keys)
    truth, predicted = ((half ^ 0x80000000).astype(np.uint32).view(np.int32) for half in (keys >> 32, keys))
    return truth[order], predicted[order], pixels[order]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_pairs_of_random_labels_are_counted_as_on_the_cpu(dtype: type) -> None:
    rng = np.random.default_rng(9)
    for number in range(NUM_IMAGES // 3):
        shape = tuple(int(n) for n in rng.integers(1, 400 if number < 4 else 60, 2))
        truth, predicted = (blobs(rng, shape, int(rng.integers(1, 60))) * 37 % 1000 for _ in range(2))
        if dtype is not np.uint16 and number % 3 == 0:
            truth, predicted = truth - 500, predicted * 4_294_967 - 2**31
        truth, predicted = truth.astype(dtype), predicted.astype(dtype)
        result = sorted_pairs(*emulated.label_overlap(truth, predicted, 1 << 14))
        expected = label_overlap(truth, predicted)
        for column, column_expected in zip(result, (expected.truth, expected.predicted, expected.pixels), strict=True):
            np.testing.assert_array_equal(column, column_expected)


def test_the_pair_whose_key_marks_free_slots_is_counted_too() -> None:
    largest = np.full((3, 5), 2**31 - 1, np.int32)
    keys, pixels = emulated.label_overlap(largest, largest, 16)
    assert sorted_pairs(keys, pixels) == ([2**31 - 1], [2**31 - 1], [15])


def test_more_pairs_than_the_table_holds_are_noticed() -> None:
    truth = np.arange(5000, dtype=np.int32)[None]
    assert emulated.label_overlap(truth, truth, 64) is None
    keys, pixels = emulated.label_overlap(truth, truth, 1 << 14)
    assert len(keys) == 5000
    assert (pixels == 1).all()
