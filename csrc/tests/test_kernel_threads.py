"""However many threads share the work, every kernel gives the same bits."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

import dinocell_kernels as kernels

SHAPE = (451, 333)  # rows that neither 2 nor 3 nor 7 threads share evenly


def field(seed: int, sigma: float) -> np.ndarray:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), sigma)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


HEIGHTS = field(0, 3.0)
MASK = HEIGHTS > 0.4
LABELS = ndimage.label(MASK)[0].astype(np.int32)
OTHERS = np.roll(LABELS, (3, 2), axis=(0, 1))
BEGINS = np.arange(-10, 300, 48)
TILES = np.random.default_rng(1).random((7, 7, 64, 64), np.float32)
ONE, NONE = np.ones(1, np.float32), np.zeros(1, np.float32)


def gathered(num_threads: int) -> np.ndarray:
    return kernels.gather_tiles(
        HEIGHTS[None], BEGINS, BEGINS, tile=64, scale=ONE, offset=NONE, low=0.0, high=1.0, num_threads=num_threads
    )


def blended(num_threads: int) -> np.ndarray:
    return kernels.blend_tiles(TILES, BEGINS, BEGINS, overlap=16, rows=(0, 330), width=340, num_threads=num_threads)


def overlap(num_threads: int) -> tuple[np.ndarray, ...]:
    pairs = kernels.label_overlap(LABELS, OTHERS, num_threads=num_threads)
    return pairs.truth, pairs.predicted, pairs.pixels


KERNELS: dict[str, Callable[[int], object]] = {
    "distance_map": lambda n: kernels.distance_map(LABELS, num_threads=n),
    "connected_components": lambda n: kernels.connected_components(MASK, num_threads=n),
    "connected_components of 8": lambda n: kernels.connected_components(MASK, connectivity=2, num_threads=n),
    "watershed": lambda n: kernels.watershed(HEIGHTS, peak=0.6, fill=0.4, num_threads=n),
    "confluent watershed": lambda n: kernels.watershed(HEIGHTS, peak=0.6, fill=-1.0, num_threads=n),
    "watershed with ties": lambda n: kernels.watershed(np.round(HEIGHTS * 40) / 40, peak=0.6, fill=0.3, num_threads=n),
    "marker_watershed": lambda n: kernels.marker_watershed(-HEIGHTS, OTHERS % 50, mask=MASK, num_threads=n),
    "gather_tiles": gathered,
    "blend_tiles": blended,
    "relabel": lambda n: kernels.relabel(LABELS[::-1], num_threads=n),
    "remove_small": lambda n: kernels.remove_small(LABELS, min_size=40, num_threads=n),
    "label_overlap": overlap,
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_two_three_and_seven_threads_give_the_bits_of_one(kernel):
    alone = KERNELS[kernel](1)
    assert np.asarray(alone[0]).any(), "test invalid: nothing was computed"
    for num_threads in (2, 3, 7):
        for ours, expected in zip(KERNELS[kernel](num_threads), alone, strict=True):
            np.testing.assert_array_equal(ours, expected)


# Large images are cut into strips of rows, which threads take in any order.
RAMPS = np.repeat(0.9 - np.arange(2000, dtype=np.float32)[:, None] * np.float32(2e-4), 1100, axis=1)
RAMPS[:, 550] -= 0.05
RAMPS[:, 551:] -= 1e-3


@pytest.mark.parametrize("prominence", [None, 0.01])
def test_basins_as_high_as_a_large_image_are_labelled_whole_by_many_threads(prominence):
    two_cells = np.where(np.arange(1100) <= 550, 1, 2)
    for num_threads in (1, 2, 3, 5, 8):
        for _ in range(3):
            labels = kernels.watershed(RAMPS, peak=0.88, fill=0.09, prominence=prominence, num_threads=num_threads)
            assert (labels == two_cells).all()


@pytest.mark.parametrize("prominence", [None, 0.15])
def test_large_confluent_images_get_the_same_labels_with_many_threads(prominence, isa):
    smooth = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(1301, 901)).astype(np.float32), 6.0)
    heights = np.clip((smooth / smooth.std() + 0.5) / 3, 0, 1)
    alone = kernels.watershed(heights, peak=0.45, fill=0.07, prominence=prominence, num_threads=1)
    assert alone.max() > 100, "test invalid: too few cells"
    for num_threads in (2, 3, 8):
        np.testing.assert_array_equal(
            kernels.watershed(heights, peak=0.45, fill=0.07, prominence=prominence, num_threads=num_threads), alone
        )


@pytest.mark.parametrize("kernel", KERNELS)
def test_more_threads_than_can_be_counted_give_the_bits_of_one(kernel):
    for ours, expected in zip(KERNELS[kernel](2**62), KERNELS[kernel](1), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_where_the_system_gives_no_threads_the_one_there_is_does_all_the_work():
    code = """
import resource
import numpy as np
from dinocell_kernels import watershed
heights = np.random.default_rng(0).random((400, 300), np.float32)
alone = watershed(heights, peak=0.8, fill=0.3, num_threads=1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), resource.RLIM_INFINITY))  # less than the stack of a thread
import threading
try:
    threading.Thread(target=print).start()
    print("test invalid: a thread could start")
except RuntimeError:
    print((watershed(heights, peak=0.8, fill=0.3, num_threads=4) == alone).all())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
