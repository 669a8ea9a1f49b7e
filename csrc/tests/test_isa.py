"""The same bits from every instruction set, on inputs with every kind of remainder."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from dinocell_kernels import (
    _native,
    blend_tiles,
    build_info,
    connected_components,
    distance_map,
    gather_tiles,
    label_overlap,
    relabel,
    remove_small,
    watershed,
)

SHAPES = [(1, 1), (3, 63), (17, 64), (40, 65), (33, 129), (150, 257), (9, 1000)]


def cells(seed, shape):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 9, (shape[0] // 7 + 1, shape[1] // 11 + 1))
    return np.kron(coarse, np.ones((7, 11), int))[: shape[0], : shape[1]].astype(np.int32)


def smooth(seed, shape, dtype):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 2.5)
    return ((field - field.min()) / max(np.ptp(field), 1e-9)).astype(dtype)


def on_every_isa(compute):
    """The results of `compute`, one for each instruction set, as tuples of arrays."""
    before = build_info()["isa"]
    results = []
    try:
        for name in _native.available_isas():
            _native.use_isa(name)
            assert build_info()["isa"] == name
            result = compute()
            results.append(result if isinstance(result, tuple) else (result,))
    finally:
        _native.use_isa(before)
    return results


def assert_same_bits(compute):
    first, *others = on_every_isa(compute)
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["uint16", "int32", "int64"])
def test_label_kernels_give_the_same_bits(shape, dtype):
    labels = cells(1, shape).astype(dtype)
    moved = np.roll(labels, (2, 3), (0, 1))
    assert_same_bits(lambda: distance_map(labels))
    assert_same_bits(lambda: distance_map(labels, normalize=False, border_is_background=True))
    assert_same_bits(lambda: relabel(labels))
    assert_same_bits(lambda: remove_small(labels, min_size=60))
    assert_same_bits(lambda: (lambda o: (o.truth, o.predicted, o.pixels))(label_overlap(labels, moved)))
    assert_same_bits(lambda: connected_components(labels > 4))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_watersheds_give_the_same_labels(shape, dtype):
    distances = smooth(3, shape, dtype)
    for peak, fill in ((0.5, 0.2), (0.8, -1.0)):
        assert_same_bits(lambda peak=peak, fill=fill: watershed(distances, peak=peak, fill=fill))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("tile", [1, 16, 37, 96])
def test_tiles_give_the_same_bits(dtype, tile):
    rng = np.random.default_rng(4)
    image = (rng.random((2, 90, 113)) * 200).astype(dtype)
    begins = np.array([-5, 0, 40, 100])
    arguments = {
        "tile": tile,
        "scale": np.array([0.013, 0.02], np.float32),
        "offset": np.array([-1.1, -2], np.float32),
        "low": -2.0,
        "high": 1.5,
    }
    assert_same_bits(lambda: gather_tiles(image, begins, begins, **arguments))
    assert_same_bits(lambda: gather_tiles(image, begins, begins, dtype="bfloat16", **arguments))


@pytest.mark.parametrize("overlap", [0, 9, 20])
def test_blending_gives_the_same_bits(overlap):
    begins = np.array([-3, 25, 52])
    tiles = np.random.default_rng(5).random((3, 3, 40, 40), np.float32)
    assert_same_bits(lambda: blend_tiles(tiles, begins, begins, overlap=overlap, rows=(0, 91), width=90))


def run_with(name):
    script = "import dinocell_kernels; print(dinocell_kernels.build_info()['isa'])"
    environment = {**os.environ, "DINOCELL_ISA": name}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)


def test_the_environment_variable_chooses_the_instruction_set():
    assert run_with("portable").stdout.strip() == "portable"
    assert run_with("").stdout.strip() == _native.available_isas()[-1]


def test_an_unknown_instruction_set_is_refused_at_import():
    result = run_with("mmx")
    assert result.returncode != 0
    assert 'DINOCELL_ISA is "mmx", but this CPU offers: portable' in result.stderr
