import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinocell_kernels import blend_tiles, gather_tiles
from dinocell_kernels.tiles import blend_weights

ONE = np.ones(1, np.float32)
ZERO = np.zeros(1, np.float32)
WIDE = {"low": -np.inf, "high": np.inf}


def plain_gather(image, ys, xs, *, tile, scale, offset, low, high):
    pad = int(max(np.abs(ys).max(), np.abs(xs).max()) + tile)
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    tiles = [[padded[:, pad + y : pad + y + tile, pad + x : pad + x + tile] for x in xs] for y in ys]
    values = np.array(tiles).astype(np.float32)
    return np.clip(values * scale[:, None, None] + offset[:, None, None], np.float32(low), np.float32(high))


def plain_blend(tiles, ys, xs, *, overlap, rows, width):
    """Weighted sum over weight sum, in double precision, on a canvas that holds all tiles."""
    tile = tiles.shape[2]
    ramp = np.ones(tile)
    i = np.arange(overlap)
    ramp[:overlap] = 0.5 * (1 - np.cos(np.pi * (i + 0.5) / max(overlap, 1)))
    ramp[tile - overlap :] = ramp[:overlap][::-1]
    top, left = int(min(*ys, rows[0])), int(min(*xs, 0))
    shape = (int(max(*ys, rows[1])) + tile - top, int(max(*xs, width)) + tile - left)
    total, weight = np.zeros(shape), np.zeros(shape)
    for i, y in enumerate(ys):
        for j, x in enumerate(xs):
            here = (slice(y - top, y - top + tile), slice(x - left, x - left + tile))
            total[here] += np.outer(ramp, ramp) * tiles[i, j]
            weight[here] += np.outer(ramp, ramp)
    shown = (slice(rows[0] - top, rows[1] - top), slice(-left, width - left))
    return total[shown] / weight[shown]


def starts(length, tile, stride):
    """As many tiles as cover [0, length), centred, so that the first may start before 0."""
    count = max(1, -(-(length - tile) // stride) + 1)
    spare = tile + (count - 1) * stride - length
    return np.arange(count, dtype=np.int64) * stride - spare // 2


def test_a_tile_beyond_the_border_is_mirrored_about_the_border_pixel():
    image = np.array([[[1, 2, 3, 4]]], np.uint8)
    tiles = gather_tiles(image, np.array([0]), np.array([-3, 2]), tile=6, scale=ONE, offset=ZERO, **WIDE)
    np.testing.assert_array_equal(tiles[0, 0, 0, 0], [4, 3, 2, 1, 2, 3])
    np.testing.assert_array_equal(tiles[0, 1, 0, 5], [3, 4, 3, 2, 1, 2])


def test_mirroring_repeats_as_often_as_needed_and_one_pixel_repeats_itself():
    image = np.array([[[1, 2]]], np.uint8)
    tiles = gather_tiles(image, np.array([-4]), np.array([-5]), tile=10, scale=ONE, offset=ZERO, **WIDE)
    np.testing.assert_array_equal(tiles[0, 0, 0], [[2, 1] * 5] * 10)
    tiles = gather_tiles(image[..., :1], np.array([3]), np.array([-9]), tile=4, scale=ONE, offset=ZERO, **WIDE)
    assert (tiles == 1).all()


def test_pixels_are_scaled_shifted_and_clipped_by_channel():
    image = np.array([[[0, 100, 200]], [[0, 1, 2]]], np.uint16)
    tiles = gather_tiles(
        image,
        np.array([0]),
        np.array([0]),
        tile=3,
        scale=np.array([0.01, 1], np.float32),
        offset=np.array([-0.5, 10], np.float32),
        low=0.0,
        high=11.0,
    )
    np.testing.assert_array_equal(tiles[0, 0, :, 0], np.array([[0, 0.5, 1.5], [10, 11, 11]], np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float32", ">f4"])
@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_gathering_equals_numpy_bit_for_bit(dtype, order):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, 37, 45)).astype(dtype)
    if order == "F":
        image = np.asfortranarray(image)
    if order == "strided":
        image = np.repeat(image, 2, axis=2)[:, :, ::2]
    options = {
        "tile": 16,
        "scale": rng.normal(size=3).astype(np.float32),
        "offset": rng.normal(size=3).astype(np.float32),
        "low": -100.3,
        "high": 99.7,
    }
    ys, xs = np.array([-5, 3, 18, 30]), np.array([-16, 0, 29, 44])
    np.testing.assert_array_equal(gather_tiles(image, ys, xs, **options), plain_gather(image, ys, xs, **options))


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_image_and_starts_equal_numpy(data):
    height, width, tile = (data.draw(st.integers(1, 12)) for _ in range(3))
    some = st.lists(st.integers(-30, 30), min_size=1, max_size=3)
    ys, xs = np.array(data.draw(some)), np.array(data.draw(some))
    image = np.arange(2 * height * width, dtype=np.float32).reshape(2, height, width)
    options = {"tile": tile, "scale": np.array([1, 2], np.float32), "offset": np.zeros(2, np.float32)} | WIDE
    np.testing.assert_array_equal(gather_tiles(image, ys, xs, **options), plain_gather(image, ys, xs, **options))


def test_nan_pixels_stay_nan():
    image = np.array([[[np.nan, 5]]], np.float32)
    tiles = gather_tiles(image, np.array([0]), np.array([0]), tile=2, scale=ONE, offset=ZERO, low=0.0, high=1.0)
    assert np.isnan(tiles[0, 0, 0, :, 0]).all()
    assert (tiles[0, 0, 0, :, 1] == 1).all()


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_an_identity_model_returns_the_image(data):
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    tile = data.draw(st.integers(1, 24))
    overlap = data.draw(st.integers(0, tile // 2))
    stride = data.draw(st.integers(max(1, overlap), tile))
    image = np.random.default_rng(height * width).random((1, height, width)).astype(np.float32)
    ys, xs = starts(height, tile, stride), starts(width, tile, stride)
    tiles = gather_tiles(image, ys, xs, tile=tile, scale=ONE, offset=ZERO, **WIDE)
    blended = blend_tiles(tiles[:, :, 0], ys, xs, overlap=overlap, rows=(0, height), width=width)
    np.testing.assert_allclose(blended, image[0], rtol=1e-5)


def test_a_constant_stays_constant_and_pixels_under_one_tile_keep_their_bits():
    ys = xs = np.array([0, 12, 24])
    tiles = np.full((3, 3, 16, 16), 0.7, np.float32)
    blended = blend_tiles(tiles, ys, xs, overlap=4, rows=(0, 40), width=40)
    np.testing.assert_allclose(blended, 0.7, rtol=1e-6)
    alone = np.r_[0:12, 16:24, 28:40]
    assert (blended[np.ix_(alone, alone)] == np.float32(0.7)).all()


def test_two_tiles_meet_in_a_cosine_ramp():
    tiles = np.stack([np.zeros((4, 4)), np.ones((4, 4))]).astype(np.float32)[None]
    blended = blend_tiles(tiles, np.array([0]), np.array([0, 2]), overlap=2, rows=(0, 4), width=6)
    ramp = 0.5 * (1 - np.cos(np.pi * (np.arange(2) + 0.5) / 2))
    np.testing.assert_allclose(blended, np.tile([0, 0, *ramp, 1, 1], (4, 1)), rtol=1e-6)


@pytest.mark.parametrize(("overlap", "step"), [(0, 16), (0, 10), (4, 12), (8, 8), (8, 5), (3, 15)])
def test_blending_equals_the_plain_weighted_mean(overlap, step):
    rng = np.random.default_rng(overlap)
    ys, xs = starts(50, 16, step), starts(61, 16, step)
    tiles = rng.random((len(ys), len(xs), 16, 16)).astype(np.float32)
    options = {"overlap": overlap, "rows": (0, 50), "width": 61}
    blended = blend_tiles(tiles, ys, xs, **options)
    np.testing.assert_allclose(blended, plain_blend(tiles, ys, xs, **options), rtol=1e-5)


def test_streamed_rows_have_the_same_bits_as_the_whole():
    rng = np.random.default_rng(1)
    tile, height, width = 16, 70, 50
    ys, xs = starts(height, tile, 12), starts(width, tile, 12)
    tiles = rng.random((len(ys), len(xs), tile, tile)).astype(np.float32)
    whole = blend_tiles(tiles, ys, xs, overlap=4, rows=(0, height), width=width)
    for rows in [(0, 5), (5, 17), (17, 18), (18, 70), (30, 30)]:
        touching = (ys < rows[1]) & (ys + tile > rows[0])
        part = blend_tiles(tiles[touching], ys[touching], xs, overlap=4, rows=rows, width=width)
        np.testing.assert_array_equal(part, whole[rows[0] : rows[1]])


def test_threads_do_not_change_a_bit_of_tiles():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (2, 300, 310)).astype(np.uint8)
    ys = xs = starts(300, 64, 48)
    options = {"tile": 64, "scale": np.ones(2, np.float32) / 7, "offset": np.zeros(2, np.float32)} | WIDE
    tiles = gather_tiles(image, ys, xs, num_threads=1, **options)
    np.testing.assert_array_equal(gather_tiles(image, ys, xs, num_threads=3, **options), tiles)
    plane = np.ascontiguousarray(tiles[:, :, 0])
    blended = blend_tiles(plane, ys, xs, overlap=16, rows=(0, 300), width=300, num_threads=1)
    shared = blend_tiles(plane, ys, xs, overlap=16, rows=(0, 300), width=300, num_threads=3)
    np.testing.assert_array_equal(shared, blended)


def test_results_are_written_into_out():
    image = np.ones((1, 4, 4), np.uint8)
    out = np.full((1, 1, 1, 4, 4), np.nan, np.float32)
    start = np.array([0])
    result = gather_tiles(image, start, start, tile=4, scale=ONE, offset=ZERO, out=out, **WIDE)
    assert result is out
    assert (out == 1).all()
    plane = np.full((4, 4), np.nan, np.float32)
    assert blend_tiles(out[:, :, 0], start, start, overlap=2, rows=(0, 4), width=4, out=plane) is plane
    np.testing.assert_allclose(plane, 1, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_new_results_begin_at_a_cache_line(dtype):
    one = np.ones(1, np.float32)
    for size in range(5, 11):
        starts_at = np.array([-1, 3])
        image = np.zeros((1, size, 9), np.uint8)
        tiles = gather_tiles(image, starts_at, starts_at, tile=7, scale=one, offset=one, dtype=dtype, **WIDE)
        assert tiles.ctypes.data % 64 == 0


def test_weights_add_up_to_one_at_every_position():
    begins = starts(50, 16, 12)
    weights = blend_weights(begins, tile=16, overlap=4, begin=0, end=50, axis="row")
    total = np.zeros(50)
    for begin, weight in zip(begins, weights, strict=True):
        for i in range(16):
            if 0 <= begin + i < 50:
                total[begin + i] += weight[i]
    np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_rows_under_no_tile_are_refused():
    tiles = np.ones((2, 1, 4, 4), np.float32)
    with pytest.raises(ValueError, match="row 4 lies under no tile; give every tile that touches rows 0 to 8"):
        blend_tiles(tiles, np.array([0, 5]), np.array([0]), overlap=1, rows=(0, 9), width=4)
    with pytest.raises(ValueError, match="column 4 lies under no tile"):
        blend_tiles(tiles, np.array([0, 4]), np.array([0]), overlap=1, rows=(0, 8), width=5)


@pytest.mark.parametrize("overlap", [-1, 3])
def test_ramps_longer_than_half_a_tile_are_refused(overlap):
    with pytest.raises(ValueError, match=rf"overlap is {overlap}, but the ramps of a 5-pixel tile take 0 to 2"):
        blend_tiles(
            np.ones((1, 1, 5, 5), np.float32),
            np.array([0]),
            np.array([0]),
            overlap=overlap,
            rows=(0, 5),
            width=5,
        )


def test_rows_that_run_backwards_are_refused():
    with pytest.raises(ValueError, match=r"rows \(5, 2\) and width 5 are not an image"):
        blend_tiles(np.ones((1, 1, 5, 5), np.float32), np.array([0]), np.array([0]), overlap=0, rows=(5, 2), width=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"image": np.ones((1, 2, 2), np.int64)},
            "image must be uint8, uint16 or float32, got int64; convert",
        ),
        ({"image": np.ones((1, 0, 2), np.uint8)}, r"at least one pixel, got shape \(1, 0, 2\)"),
        ({"low": 2.0, "high": 1.0}, "low is 2.0 and high is 1.0; low must not exceed high"),
        ({"low": np.nan}, "low must not exceed high"),
        ({"dtype": "float16"}, "dtype is 'float16'; tiles can be float32 or bfloat16"),
        ({"tile": 0}, "tile is a number of pixels and must be at least 1, got 0"),
        ({"num_threads": -1}, "num_threads must be at least 1, got -1"),
    ],
)
def test_gathering_refuses(change, message):
    arguments = {
        "image": np.ones((1, 2, 2), np.uint8),
        "tile": 2,
        "scale": ONE,
        "offset": ZERO,
        "low": 0.0,
        "high": 1.0,
    }
    arguments |= change
    with pytest.raises(ValueError, match=message):
        gather_tiles(arguments.pop("image"), np.array([0]), np.array([0]), **arguments)


def test_out_that_shares_memory_with_the_input_is_refused():
    image = np.ones((1, 1, 1, 4, 4), np.float32)
    start = np.array([0])
    with pytest.raises(ValueError, match="out shares memory with the input"):
        gather_tiles(image[0, 0], start, start, tile=4, scale=ONE, offset=ZERO, out=image, **WIDE)


def test_bfloat16_tiles_are_the_nearest_with_ties_to_even():
    # bfloat16 keeps 7 bits after the leading one: near 1 its steps are 1/128.
    step = 2.0**-7
    pixels = [1, 1 + 0.49 * step, 1 + 0.5 * step, 1 + 0.51 * step, 1 + 1.5 * step, -1 - 0.5 * step, np.inf, -np.inf]
    expected = [1, 1, 1, 1 + step, 1 + 2 * step, -1, np.inf, -np.inf]
    image = np.array(pixels, np.float32)[None, None]
    begins = np.zeros(1, np.int64)
    image = np.repeat(image, 8, axis=1)
    bits = gather_tiles(image, begins, begins, tile=8, scale=ONE, offset=ZERO, dtype="bfloat16", **WIDE)
    assert bits.dtype == np.uint16
    np.testing.assert_array_equal((bits.astype(np.uint32) << 16).view(np.float32)[0, 0, 0, 3], expected)


def test_nan_stays_nan_in_bfloat16():
    # All bits set: plain rounding would carry into the sign and give zero.
    image = np.array([[[0xFFFFFFFF, 0x7F800001]]], np.uint32).view(np.float32)
    assert np.isnan(image).all(), "test invalid"
    begins = np.zeros(1, np.int64)
    bits = gather_tiles(image, begins, begins, tile=1, scale=ONE, offset=ZERO, dtype="bfloat16", **WIDE)
    assert np.isnan((bits.astype(np.uint32) << 16).view(np.float32)).all()


def test_a_bfloat16_result_in_another_memory_order_is_refused():
    image = np.zeros((1, 4, 4), np.uint8)
    begins = np.zeros(1, np.int64)
    out = np.empty((1, 1, 1, 4, 4), np.uint16, order="F")
    with pytest.raises(ValueError, match=r"row-major uint16 array of shape \(1, 1, 1, 4, 4\)"):
        gather_tiles(image, begins, begins, tile=4, scale=ONE, offset=ZERO, dtype="bfloat16", out=out, **WIDE)


@pytest.mark.parametrize("shift", [0, 3, 4])
@pytest.mark.parametrize("tile", [1021, 1020])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_results_past_the_caches_are_complete_to_the_last_pixel(dtype, tile, shift):
    # 33 MiB and more. Rows of 1021 pixels begin anywhere, those of 1020 at 8 or 16 bytes if the result does; no row is
    # a whole number of vectors.
    begins = np.array([0, 100, 200, 20, 50][: 3 if dtype == "float32" else 5])
    image = (np.arange(1300 * 1300) % 251).astype(np.uint8).reshape(1, 1300, 1300)
    room = np.zeros((len(begins) * tile) ** 2 + 2 * shift, np.float32 if dtype == "float32" else np.uint16)
    out = room[shift : room.size - shift].reshape(len(begins), len(begins), 1, tile, tile)
    assert out.nbytes >= 32 << 20, "test invalid"
    gather_tiles(image, begins, begins, tile=tile, scale=ONE, offset=ZERO, dtype=dtype, out=out, **WIDE)
    for i, y in enumerate(begins):
        for j, x in enumerate(begins):
            found = out[i, j, 0] if dtype == "float32" else (out[i, j, 0].astype(np.uint32) << 16).view(np.float32)
            np.testing.assert_array_equal(found, image[0, y : y + tile, x : x + tile])
    assert not room[:shift].any()
    assert not room[room.size - shift :].any()


def test_blended_images_past_the_caches_are_complete_to_the_last_pixel():
    # One tile of 2920 x 2920 is 32.5 MiB and stays as it is, whatever its address.
    tile = np.random.default_rng(0).random((1, 1, 2920, 2920), np.float32)
    start = np.zeros(1, np.int64)
    room = np.zeros(2920 * 2919 + 1, np.float32)
    out = room[1:].reshape(2920, 2919)
    assert out.nbytes >= 32 << 20, "test invalid"
    blend_tiles(tile, start, start, overlap=8, rows=(0, 2920), width=2919, out=out)
    np.testing.assert_array_equal(out, tile[0, 0, :, :2919])
    assert room[0] == 0
