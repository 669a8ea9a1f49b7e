"""Random watersheds until the time or the number is reached, each compared with one thread of portable code.

    python tools/soak_watershed.py --seconds 60
    python tools/soak_watershed.py --count 1000000

Maps are small to several megapixels, smooth, noisy, quantised, plateaus or ramps, confluent or not, some with
infinities; every instruction set, 1 to 8 threads, with and without prominence, in memory filled with nonsense. Small
maps are also compared with scikit-image where its order among ties says nothing. The first difference ends the run
with its seed (`--seed` repeats it), and so does a crash: `--seed` is printed every few seconds.
"""

import argparse
import sys
import time

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed as skimage_watershed

from dinocell_kernels import _native, build_info, prominent_maxima

ISAS = _native.available_isas()
NUM_THRESHOLDS = 16  # of each map
TALLEST_SMALL = 200  # small maps are many and cheap; a few large ones have strips and bands for every thread


def random_map(rng: np.random.Generator, *, large: bool) -> np.ndarray:
    """A float32 map, mostly in [0, 1]."""
    longest = 2200 if large else int(rng.choice([12, 40, TALLEST_SMALL], p=[0.6, 0.37, 0.03]))
    height, width = (int(n) for n in rng.integers(longest // 4 if large else 1, longest, 2))
    kind = rng.integers(6)
    if kind == 0:  # basins as high as the image: ways through all strips
        rows = np.linspace(0.9, 0.1, height, dtype=np.float32)[:, None]
        field = rows + 0.05 * rng.random(width, np.float32)
    else:
        field = rng.random((height, width), np.float32)
        sigma = float(rng.uniform(1, 9 if large else 3))
        field = ndimage.uniform_filter(ndimage.uniform_filter(field, int(sigma) + 1), int(sigma) + 1)
        field = np.clip((field - field.mean()) / max(float(field.std()), 1e-6) / 4 + rng.uniform(0.2, 0.7), 0, 1)
    if kind == 1:  # ties
        levels = int(rng.integers(2, 300))
        field = np.round(field * levels) / levels
    if kind == 2:  # plateaus
        field = np.minimum(field, field.mean())
    if kind == 3 and rng.random() < 0.2:
        field[tuple(rng.integers(field.shape))] = rng.choice([np.inf, -np.inf])
    turned = field.T if rng.random() < 0.3 else field[::-1] if rng.random() < 0.3 else field
    return np.ascontiguousarray(turned, np.float32)


def thresholds(rng: np.random.Generator, heights: np.ndarray) -> np.ndarray:
    """Rows of (fill, peak); every third is confluent."""
    pairs = np.sort(rng.choice(heights.ravel(), (NUM_THRESHOLDS, 2)).astype(float))
    pairs[::3, 0] = np.minimum(pairs[::3, 1], -1)
    return pairs


def nonsense(rng: np.random.Generator, size: int) -> None:
    """Leaves memory of this size full of a pattern, which the next result of the size is likely to get."""
    np.full(size, rng.choice([0, -1, 2**31 - 1, -(2**31), 0x3F0F0F0F]), np.int32)


def check(seed: int, *, large: bool) -> int:
    """Runs one map with many pairs of thresholds; the number of watersheds. Raises AssertionError where they differ."""
    rng = np.random.default_rng(seed)
    heights = random_map(rng, large=large)
    if rng.random() < 0.1:
        heights = heights.astype(np.float64)
    distinct = heights.size < 300 and len(np.unique(heights)) == heights.size
    done = 0
    for fill, peak in thresholds(rng, heights)[: 2 if large else None]:
        prominence = -1.0 if rng.random() < 0.5 else float(rng.choice([0.0, rng.uniform(0, 0.3)]))
        _native.use_isa("portable")
        expected = _native.watershed(heights, peak, fill, prominence, 1)
        done += 1
        nonsense(rng, heights.size)
        for isa in ISAS:
            # Starting threads takes longer than a small map.
            num_threads = int(rng.integers(2, 9)) if large or rng.random() < 0.1 else 1
            if (isa, num_threads) == ("portable", 1):
                continue
            _native.use_isa(isa)
            labels = _native.watershed(heights, peak, fill, prominence, num_threads)
            done += 1
            differing = np.count_nonzero(labels != expected)
            assert differing == 0, f"{isa} with {num_threads} threads differs in {differing} of {heights.shape} pixels"
        if distinct and rng.random() < 0.2:
            _compare_with_skimage(heights, peak, fill, prominence, expected)
    return done


def _compare_with_skimage(heights, peak: float, fill: float, prominence: float, expected: np.ndarray) -> None:
    value = heights.dtype.type
    if prominence < 0:
        markers = ndimage.label(heights > value(peak))[0]
    else:
        markers, _ = prominent_maxima(heights, peak=peak, fill=fill, prominence=prominence)
    reference = skimage_watershed(-heights, markers, mask=heights > value(fill))
    assert (reference == expected).all(), f"{heights.shape} map differs from scikit-image"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--count", type=int, default=None, help="watersheds; without it and --seconds: 100,000")
    parser.add_argument("--seed", type=int, default=0, help="of the first map")
    arguments = parser.parse_args()
    most = arguments.count or (sys.maxsize if arguments.seconds < float("inf") else 100_000)
    begin = told = time.monotonic()
    done, large_maps, seed = 0, 0, arguments.seed
    print(f"soak: {build_info()['flags']}; {', '.join(ISAS)}", flush=True)
    while done < most and time.monotonic() - begin < arguments.seconds:
        large = seed % 2000 == 500
        try:
            done += check(seed, large=large)
        except (AssertionError, RuntimeError) as error:
            sys.exit(f"soak: seed {seed}: {error}")
        large_maps += large
        seed += 1
        if time.monotonic() - told > 5:
            told = time.monotonic()
            print(f"soak: {done:,} watersheds, next --seed {seed}", flush=True)
    print(f"soak: {done:,} watersheds of {seed - arguments.seed:,} maps ({large_maps:,} large), 0 differ")


if __name__ == "__main__":
    main()
