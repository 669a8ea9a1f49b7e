"""Tiles for a network and back: 256-pixel tiles at stride 192 with ramps of 32 pixels.

Timed: gathering three uint8 channels into scaled float32 or bfloat16 tiles; blending one float32 channel; one thread.
Ours writes into `out`, as a caller does who tiles one image after the other; NumPy's gathering too.
Not timed: making image and tiles, imports, the comparison of the results.
Against: numpy.pad and a loop over tiles (then torch's rounding to bfloat16); a numpy loop with a weight image;
torch.nn.functional.fold. Two threads of torch are kept from starting.
The way there and back with a network that does nothing is also set against MONAI's sliding_window_inference, where
MONAI is installed (`pip install --no-deps monai`; it is in no requirements file, since it pins torch): one channel,
16 tiles at a time, its Gaussian weights.
"""

import numpy as np
import pytest

from dinocell_kernels import blend_tiles, gather_tiles

torch = pytest.importorskip("torch", reason="tiles are compared with torch: pip install torch")
functional = pytest.importorskip("torch.nn.functional")

TILE, STRIDE, RAMP = 256, 192, 32
SCALE = np.array([0.02, 0.03, 0.04], np.float32)
OFFSET = np.array([-2, -1.5, -1], np.float32)


def starts(size: int) -> np.ndarray:
    count = max(1, -(-(size - TILE) // STRIDE) + 1)
    return np.arange(count) * STRIDE - (TILE + (count - 1) * STRIDE - size) // 2


def image_of(labels: np.ndarray) -> np.ndarray:
    return np.stack([labels % 251, labels % 241, labels % 239]).astype(np.uint8)


def gather(image: np.ndarray, begins: np.ndarray, dtype="float32", out: np.ndarray | None = None) -> np.ndarray:
    scaling = {"scale": SCALE, "offset": OFFSET, "low": -4.0, "high": 6.0}
    return gather_tiles(image, begins, begins, tile=TILE, **scaling, dtype=dtype, out=out, num_threads=1)


def numpy_gather(image: np.ndarray, begins: np.ndarray, out: np.ndarray) -> np.ndarray:
    pad = TILE
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    for i, y in enumerate(begins + pad):
        for j, x in enumerate(begins + pad):
            tile = padded[:, y : y + TILE, x : x + TILE] * SCALE[:, None, None] + OFFSET[:, None, None]
            np.clip(tile, -4, 6, out=out[i, j])
    return out


def ramps() -> np.ndarray:
    ramp = np.ones(TILE, np.float32)
    ramp[:RAMP] = 0.5 * (1 - np.cos(np.pi * (np.arange(RAMP) + 0.5) / RAMP))
    ramp[TILE - RAMP :] = ramp[:RAMP][::-1]
    return np.outer(ramp, ramp)


def numpy_blend(tiles: np.ndarray, begins: np.ndarray, size: int) -> np.ndarray:
    lead = -int(begins[0])
    length = int(begins[-1]) + lead + TILE
    total, weight, window = (
        np.zeros((length, length), np.float32),
        np.zeros((length, length), np.float32),
        ramps(),
    )
    for i, y in enumerate(begins + lead):
        for j, x in enumerate(begins + lead):
            total[y : y + TILE, x : x + TILE] += tiles[i, j] * window
            weight[y : y + TILE, x : x + TILE] += window
    return (total / weight)[lead : lead + size, lead : lead + size]


def fold_blend(tiles: np.ndarray, begins: np.ndarray, size: int) -> np.ndarray:
    lead = -int(begins[0])
    length = int(begins[-1]) + lead + TILE
    window = torch.from_numpy(ramps())
    weighted = (torch.from_numpy(tiles) * window).reshape(len(begins) ** 2, -1).T[None]
    weights = window.reshape(1, -1, 1).expand(1, -1, len(begins) ** 2)
    total, weight = (
        functional.fold(columns, (length, length), kernel_size=TILE, stride=STRIDE) for columns in (weighted, weights)
    )
    return (total / weight)[0, 0, lead : lead + size, lead : lead + size].numpy()


def predictions(labels: np.ndarray, begins: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(gather(image_of(labels), begins)[:, :, 0])


@pytest.fixture(autouse=True)
def one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_gather_tiles(contest, labels, size):
    image, begins = image_of(labels), starts(size)
    out = gather(image, begins)
    other = np.empty_like(out)
    np.testing.assert_array_equal(out, numpy_gather(image, begins, other))
    contest(
        f"gather_tiles {size}",
        lambda: gather(image, begins, out=out),
        {"numpy": lambda: numpy_gather(image, begins, other)},
        bytes_moved=image.nbytes + out.nbytes,
    )


def test_gather_tiles_bfloat16(contest, labels, size):
    image, begins = image_of(labels), starts(size)
    out = gather(image, begins, "bfloat16")
    other = np.empty(out.shape, np.float32)

    def rounded() -> "torch.Tensor":
        return torch.from_numpy(numpy_gather(image, begins, other)).to(torch.bfloat16)

    assert torch.equal(torch.from_numpy(out).view(torch.bfloat16), rounded())
    contest(
        f"gather_tiles_bfloat16 {size}",
        lambda: gather(image, begins, "bfloat16", out),
        {"numpy + torch": rounded},
        bytes_moved=image.nbytes + out.nbytes,
    )


def test_blend_tiles(contest, labels, size):
    begins = starts(size)
    tiles = predictions(labels, begins)
    out = np.empty((size, size), np.float32)

    def blend() -> np.ndarray:
        return blend_tiles(tiles, begins, begins, overlap=RAMP, rows=(0, size), width=size, num_threads=1, out=out)

    expected = numpy_blend(tiles, begins, size)
    np.testing.assert_allclose(blend(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(fold_blend(tiles, begins, size), expected, rtol=1e-5, atol=1e-5)
    contest(
        f"blend_tiles {size}",
        blend,
        {
            "numpy": lambda: numpy_blend(tiles, begins, size),
            "torch.nn.functional.fold": lambda: fold_blend(tiles, begins, size),
        },
        bytes_moved=tiles.nbytes + out.nbytes,
    )


def test_there_and_back(contest, labels, size):
    inferers = pytest.importorskip("monai.inferers", reason="MONAI is not installed: pip install --no-deps monai")
    image, begins = labels[None].astype(np.float32), starts(size)
    one, none = np.ones(1, np.float32), np.zeros(1, np.float32)
    limits = {"low": float(image.min()), "high": float(image.max())}
    out = np.empty((size, size), np.float32)
    tiles = gather_tiles(image, begins, begins, tile=TILE, scale=one, offset=none, **limits)

    def ours() -> np.ndarray:
        gather_tiles(image, begins, begins, tile=TILE, scale=one, offset=none, **limits, out=tiles, num_threads=1)
        return blend_tiles(
            tiles[:, :, 0], begins, begins, overlap=RAMP, rows=(0, size), width=size, num_threads=1, out=out
        )

    def monai() -> np.ndarray:
        return inferers.sliding_window_inference(
            torch.from_numpy(image)[None], (TILE, TILE), 16, lambda windows: windows, overlap=0.25, mode="gaussian"
        )[0, 0].numpy()

    np.testing.assert_allclose(ours(), image[0], rtol=1e-5)
    np.testing.assert_allclose(monai(), image[0], rtol=1e-4)
    contest(
        f"there and back {size}",
        ours,
        {"monai.sliding_window_inference": monai},
        bytes_moved=2 * (image.nbytes + tiles.nbytes),
    )
