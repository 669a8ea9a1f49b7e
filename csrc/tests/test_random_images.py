"""Ten thousand random small images for each kernel against other implementations, over all instruction sets.

DINOCELL_RANDOM_IMAGES=1000000 asks for more; seeds are the image numbers, so a failure can be repeated alone.
"""

import heapq
import os

import edt
import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import watershed as skimage_watershed

from dinocell_kernels import (
    _native,
    blend_tiles,
    build_info,
    connected_components,
    distance_map,
    gather_tiles,
    heap_watershed,
    label_overlap,
    marker_watershed,
    prominent_maxima,
    relabel,
    remove_small,
    watershed,
)

NUM_IMAGES = int(os.environ.get("DINOCELL_RANDOM_IMAGES", "10000"))
ISAS = _native.available_isas()


@pytest.fixture(autouse=True)
def restored_isa():
    before = str(build_info()["isa"])
    yield
    _native.use_isa(before)


def random_images(share=1.0):
    """(generator, shape, number of threads) for each image; every tenth is tall enough to be cut into bands."""
    for seed in range(int(NUM_IMAGES * share)):
        rng = np.random.default_rng(seed)
        _native.use_isa(ISAS[seed % len(ISAS)])
        tall = seed % 10 == 0
        shape = (int(rng.integers(65, 140)) if tall else int(rng.integers(1, 24)), int(rng.integers(1, 24)))
        yield rng, shape, 3 if tall else 1


def random_cells(rng, shape):
    block = int(rng.integers(1, 7))
    coarse = rng.integers(0, int(rng.integers(2, 9)), (shape[0] // block + 1, shape[1] // block + 1))
    return coarse.repeat(block, 0).repeat(block, 1)[: shape[0], : shape[1]].astype(np.int32)


def distinct_values(rng, shape):
    """A float32 image in [0, 1) that is smooth half of the time and never holds a value twice."""
    field = rng.random(shape)
    if rng.random() < 0.5:
        field = ndimage.uniform_filter(field, 3)
    ranks = np.empty(field.size, np.float32)
    ranks[np.argsort(field, axis=None)] = np.arange(field.size)
    return (ranks / np.float32(field.size)).reshape(shape)


def plain_watershed(distances, markers, fill):
    """Flooding by (value, age) with Python's heap; markers in raster order."""
    height, width = distances.shape
    labels = markers.copy()
    heap = [(-distances[y, x], 0, y, x) for y, x in np.argwhere(labels)]
    heapq.heapify(heap)
    age = 0
    while heap:
        value, _, y, x = heapq.heappop(heap)
        for ny, nx in ((y - 1, x), (y, x - 1), (y, x + 1), (y + 1, x)):
            if 0 <= ny < height and 0 <= nx < width and distances[ny, nx] > fill and labels[ny, nx] == 0:
                age += 1
                labels[ny, nx] = labels[y, x]
                heapq.heappush(heap, (max(-distances[ny, nx], value), age, ny, nx))
    return labels


def test_distance_maps_equal_the_edt_library():
    for rng, shape, threads in random_images():
        labels = random_cells(rng, shape)
        if (labels == labels[0, 0]).all():
            continue  # undefined in the library
        border, normalize = (bool(choice) for choice in rng.integers(2, size=2))
        expected = edt.edt(labels, black_border=border)
        if normalize:
            deepest = np.zeros(labels.max() + 1, np.float32)
            np.maximum.at(deepest, labels, expected)
            deepest[deepest == 0] = 1
            expected = expected / deepest[labels]
        result = distance_map(labels, normalize=normalize, border_is_background=border, num_threads=threads)
        np.testing.assert_array_equal(result, expected)


def test_connected_components_equal_scipy():
    eight = np.ones((3, 3), int)
    for rng, shape, threads in random_images():
        mask = rng.random(shape) < rng.random()
        connectivity = int(rng.integers(1, 3))
        labels, count = connected_components(mask, connectivity=connectivity, num_threads=threads)
        expected, expected_count = ndimage.label(mask, structure=eight if connectivity == 2 else None)
        assert count == expected_count
        np.testing.assert_array_equal(labels, expected)


def test_watersheds_of_distinct_values_equal_scikit_image():
    for rng, shape, threads in random_images():
        distances = distinct_values(rng, shape)
        fill, peak = np.sort(rng.uniform(-0.2, 1, 2)).astype(np.float32)
        markers = ndimage.label(distances > peak)[0]
        expected = skimage_watershed(-distances, markers, mask=distances > fill)
        result = watershed(distances, peak=float(peak), fill=float(fill), num_threads=threads)
        np.testing.assert_array_equal(result, expected)


def test_watersheds_full_of_ties_follow_the_canonical_order():
    for rng, shape, threads in random_images(share=0.2):
        levels = int(rng.integers(2, 60))
        distances = np.round(distinct_values(rng, shape) * levels).astype(np.float32) / np.float32(levels)
        fill, peak = (float(value) for value in np.sort(rng.uniform(-0.2, 1, 2)).astype(np.float32))
        result = watershed(distances, peak=peak, fill=fill, num_threads=threads)
        markers = ndimage.label(distances > np.float32(peak))[0]
        np.testing.assert_array_equal(result, plain_watershed(distances, markers, np.float32(fill)))


def test_watersheds_by_prominence_of_distinct_values_equal_scikit_image():
    several = 0
    for rng, shape, threads in random_images(share=0.5):
        distances = distinct_values(rng, shape)
        fill, peak = (float(value) for value in np.sort(rng.uniform(-0.2, 1, 2)).astype(np.float32))
        prominence = float(rng.choice([0.0, rng.uniform(0, 0.5)]))
        markers, count = prominent_maxima(distances, peak=peak, fill=fill, prominence=prominence)
        expected = skimage_watershed(-distances, markers, mask=distances > fill)
        result = watershed(distances, peak=peak, fill=fill, prominence=prominence, num_threads=threads)
        np.testing.assert_array_equal(result, expected)
        several += count > ndimage.label(distances > peak)[1]
    assert several > NUM_IMAGES // 20, "test invalid: hardly any maxima above one peak"


def test_watersheds_by_prominence_full_of_ties_follow_the_canonical_order():
    for rng, shape, threads in random_images(share=0.2):
        levels = int(rng.integers(2, 60))
        distances = np.round(distinct_values(rng, shape) * levels).astype(np.float32) / np.float32(levels)
        fill, peak = (float(value) for value in np.sort(rng.uniform(-0.2, 1, 2)).astype(np.float32))
        prominence = int(rng.integers(0, 4)) / levels
        markers, _ = prominent_maxima(distances, peak=peak, fill=fill, prominence=prominence)
        result = watershed(distances, peak=peak, fill=fill, prominence=prominence, num_threads=threads)
        np.testing.assert_array_equal(result, plain_watershed(distances, markers, np.float32(fill)))


def test_marker_watersheds_of_distinct_values_equal_scikit_image():
    for rng, shape, _ in random_images():
        image = distinct_values(rng, shape)
        markers = np.where(rng.random(shape) < 0.15, rng.integers(-3, 9, shape), 0).astype(np.int32)
        mask = rng.random(shape) < 0.8 if rng.random() < 0.5 else None
        connectivity = int(rng.integers(1, 3))
        expected = skimage_watershed(image, markers, mask=mask, connectivity=connectivity)
        result = marker_watershed(image, markers, mask=mask, connectivity=connectivity)
        np.testing.assert_array_equal(result, expected)


def test_heap_watersheds_full_of_ties_equal_scikit_image():
    differs = 0
    for rng, shape, _ in random_images(share=0.25):
        image = np.round(distinct_values(rng, shape) * 6)
        markers = np.where(rng.random(shape) < 0.2, rng.integers(-3, 9, shape), 0).astype(np.int32)
        mask = rng.random(shape) < 0.8 if rng.random() < 0.5 else None
        connectivity = int(rng.integers(1, 3))
        expected = skimage_watershed(image, markers, mask=mask, connectivity=connectivity)
        np.testing.assert_array_equal(heap_watershed(image, markers, mask=mask, connectivity=connectivity), expected)
        differs += (marker_watershed(image, markers, mask=mask, connectivity=connectivity) != expected).any()
    assert differs > 0, "test invalid: ties never mattered"


def test_labels_are_renumbered_and_counted_as_numpy_does():
    for rng, shape, _ in random_images():
        labels = random_cells(rng, shape) * int(rng.choice([1, -1, 1 << 20]))
        names, first, inverse, pixels = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
        cells = names != 0
        rank = np.zeros(len(names), int)
        rank[np.flatnonzero(cells)[np.argsort(first[cells])]] = np.arange(1, cells.sum() + 1)
        result, count = relabel(labels)
        assert count == cells.sum()
        np.testing.assert_array_equal(result, rank[inverse].reshape(shape))

        kept = cells & (pixels >= 9)
        result, count = remove_small(labels, min_size=9)
        assert count == kept.sum()
        np.testing.assert_array_equal(result, (np.cumsum(kept) * kept)[inverse].reshape(shape))

        other = random_cells(rng, shape)
        overlap = label_overlap(labels, other)
        pairs, shared = np.unique(np.stack([labels.ravel(), other.ravel()]), axis=1, return_counts=True)
        np.testing.assert_array_equal(np.stack([overlap.truth, overlap.predicted]), pairs)
        np.testing.assert_array_equal(overlap.pixels, shared)


def test_tiles_equal_a_padded_image_and_blend_back_to_it():
    for rng, shape, threads in random_images(share=0.25):
        tile = int(rng.integers(2, 20))
        image = rng.integers(0, 255, (1, *shape)).astype(np.uint8)
        step = tile - tile // 3
        ys, xs = (np.arange(-int(rng.integers(0, step)), length, step) for length in shape)
        one, none = np.ones(1, np.float32), np.zeros(1, np.float32)
        tiles = gather_tiles(image, ys, xs, tile=tile, scale=one, offset=none, low=0.0, high=255.0, num_threads=threads)
        padded = np.pad(image[0], 2 * tile, mode="reflect")
        for i, y in enumerate(ys + 2 * tile):
            for j, x in enumerate(xs + 2 * tile):
                np.testing.assert_array_equal(tiles[i, j, 0], padded[y : y + tile, x : x + tile])
        blended = blend_tiles(
            tiles[:, :, 0],
            ys,
            xs,
            overlap=int(rng.integers(0, tile // 2 + 1)),
            rows=(0, shape[0]),
            width=shape[1],
            num_threads=threads,
        )
        np.testing.assert_allclose(blended, image[0], rtol=1e-5, atol=1e-4)
