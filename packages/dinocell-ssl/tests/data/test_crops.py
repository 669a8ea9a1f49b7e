import numpy as np
import pytest

from dinocell_ssl.data.augment import Augmentation
from dinocell_ssl.data.crops import Crops, channel_mixing, choose_window, sample_crops, structure
from dinocell_ssl.data.intensity import ScaledField, scaled_field
from dinocell_ssl.data.views import Views

PLAIN = Augmentation.none()


def field_of(*channels, dtype=np.uint16):
    """A field whose v is the given numbers / 100."""
    pixels = np.stack(channels).astype(dtype)
    ones = np.ones(len(channels), np.float32)
    return ScaledField(pixels, 0 * ones, 100 * ones)


def cells_on_noise(rng, side=256):
    """Camera noise everywhere, blobs of 12 px in the lower right quarter."""
    pixels = rng.poisson(100, (side, side)).astype(np.float64)
    y, x = np.mgrid[:side, :side]
    for cy, cx in rng.integers(side // 2 + 12, side - 12, (12, 2)):
        pixels += 400 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 72)
    return scaled_field(pixels.astype(np.uint16)[None], drop_constant=True)


def test_a_crop_of_the_whole_window_without_augmentation_is_the_field_itself():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 100, (16, 16))
    crops = sample_crops(
        field_of(pixels),
        rng,
        crops=Crops(global_px=16, local_px=8, num_local=1, global_area=(1, 1), turns=False),
        views=Views(),
        augmentation=PLAIN,
    )
    expected = (pixels.astype(np.float32) / 100 - 0.5) / 0.25
    np.testing.assert_allclose(crops.global_crops, np.stack([[expected], [expected]]), atol=1e-6)
    assert crops.local_crops.shape == (1, 1, 8, 8)


def test_the_same_generator_gives_the_same_crops_and_another_gives_others():
    field = cells_on_noise(np.random.default_rng(0))
    made = [
        sample_crops(
            field,
            np.random.default_rng(seed),
            crops=Crops(global_px=32, local_px=16, num_local=2),
            views=Views(),
            augmentation=Augmentation(),
        )
        for seed in (3, 3, 4)
    ]
    np.testing.assert_array_equal(made[0].global_crops, made[1].global_crops)
    np.testing.assert_array_equal(made[0].local_crops, made[1].local_crops)
    assert not np.array_equal(made[0].global_crops, made[2].global_crops)


def test_sixteen_bits_stay_until_the_crop_is_float():
    pixels = np.full((8, 8), 65_000)
    pixels[0, 0] = 65_001  # eight bits, or half precision, would lose the difference
    field = scaled_field(pixels.astype(np.uint16)[None], drop_constant=True)
    assert field.pixels.dtype == np.uint16
    v = field.values(0, slice(0, 2), slice(0, 2))
    np.testing.assert_array_equal(v > 0.5, [[True, False], [False, False]])


def test_mean_against_single_mixes_channels_evenly_and_shows_one():
    rng = np.random.default_rng(0)
    singles = set()
    for _ in range(40):
        mixing = channel_mixing(4, rng, views=Views(strategy="mean_vs_single"), num_local=3)
        np.testing.assert_allclose(mixing.global_crops[0], np.full((1, 4), 0.25))
        assert sorted(mixing.global_crops[1, 0]) == [0, 0, 0, 1]
        singles.add(int(mixing.global_crops[1, 0].argmax()))
    assert singles == {0, 1, 2, 3}


def test_pairwise_shows_two_different_channels():
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second = channel_mixing(3, rng, views=Views(strategy="pairwise"), num_local=1).global_crops[:, 0]
        assert sorted(first) == sorted(second) == [0, 0, 1]
        assert (first * second).sum() == 0


def test_a_bag_of_channels_shows_one_channel_in_every_crop():
    rng = np.random.default_rng(0)
    shown = set()
    for _ in range(30):
        mixing = channel_mixing(3, rng, views=Views(strategy="bag_of_channels"), num_local=2)
        every = np.concatenate([mixing.global_crops, mixing.local_crops])[:, 0]
        assert len(np.unique(every.argmax(axis=1))) == 1
        shown.add(int(every[0].argmax()))
    assert shown == {0, 1, 2}


def test_a_dropped_channel_is_dark_even_after_offset_and_noise():
    rng = np.random.default_rng(0)
    channel = np.full((16, 16), 80)
    found = []
    for _ in range(30):
        crops = sample_crops(
            field_of(channel, channel),
            rng,
            crops=Crops(global_px=16, local_px=8, num_local=0),
            views=Views(strategy="channel_drop", drop_probability=0.5),
            augmentation=Augmentation(offset=(0.2, 0.3), noise_probability=1.0, saturation_probability=0.0),
        )
        found += [plane for crop in crops.global_crops for plane in crop]
    dark = [plane for plane in found if plane.std() == 0]
    assert 10 < len(dark) < 50
    assert {float(plane.max()) for plane in dark} == {-2.0}


def test_both_global_crops_may_show_the_same_place():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 100, (64, 64))
    settings = Crops(global_px=32, local_px=16, num_local=0, same_place=True, turns=False)
    same = sample_crops(field_of(pixels), rng, crops=settings, views=Views(), augmentation=PLAIN).global_crops
    np.testing.assert_array_equal(same[0], same[1])
    apart = settings.model_copy(update={"same_place": False})
    other = sample_crops(field_of(pixels), rng, crops=apart, views=Views(), augmentation=PLAIN).global_crops
    assert not np.array_equal(other[0], other[1])


def test_crops_come_in_all_eight_turns():
    rng = np.random.default_rng(0)
    pixels = np.arange(16).reshape(4, 4)
    settings = Crops(global_px=4, local_px=4, num_local=8, global_area=(1, 1), local_area=(1, 1))
    crops = sample_crops(field_of(pixels), rng, crops=settings, views=Views(), augmentation=PLAIN)
    for _ in range(3):
        more = sample_crops(field_of(pixels), rng, crops=settings, views=Views(), augmentation=PLAIN)
        crops = crops._replace(local_crops=np.concatenate([crops.local_crops, more.local_crops]))
    assert len(np.unique(crops.local_crops.reshape(-1, 16).round(4), axis=0)) == 8


def test_shrinking_takes_means_so_that_thin_bright_lines_keep_their_light():
    pixels = np.zeros((64, 64))
    pixels[:, ::4] = 100
    settings = Crops(global_px=16, local_px=16, num_local=0, window_px=64, global_area=(1, 1), turns=False)
    rng = np.random.default_rng(0)
    crops = sample_crops(field_of(pixels), rng, crops=settings, views=Views(), augmentation=PLAIN)
    np.testing.assert_allclose(crops.global_crops, (0.25 - 0.5) / 0.25, atol=1e-5)


def test_magnification_stays_within_the_shares_of_the_window_however_large_the_field():
    rng = np.random.default_rng(0)
    ramp = np.tile(np.arange(2000) * 5, (300, 1))  # one pixel to the right is 0.05 more
    settings = Crops(global_px=64, local_px=32, num_local=4, turns=False, min_structure=0)
    field = ScaledField(ramp[None].astype(np.uint16), np.zeros(1, np.float32), np.full(1, 1e4, np.float32))
    slopes: dict[str, list[float]] = {"global_crops": [], "local_crops": []}
    for _ in range(30):
        crops = sample_crops(field, rng, crops=settings, views=Views(), augmentation=PLAIN)
        for name, found in slopes.items():
            for crop in getattr(crops, name):
                found.append(float(np.median(np.diff(crop[0], axis=1))) / 4 * 0.25 * 4 * 1e4 / 5)
    assert 1 / max(slopes["global_crops"]) == pytest.approx(1.0, abs=0.05)
    assert 1 / min(slopes["global_crops"]) <= np.sqrt(1 / 0.4) * 1.03
    assert 1 / max(slopes["local_crops"]) >= 32 / (64 * np.sqrt(0.4)) * 0.97
    assert 1 / min(slopes["local_crops"]) <= 32 / (64 * np.sqrt(0.05)) * 1.05


def test_structure_tells_cells_from_noise():
    rng = np.random.default_rng(0)
    assert structure(rng.standard_normal((128, 128), dtype=np.float32)) == pytest.approx(1 / 8, abs=0.02)
    y, x = np.mgrid[:128, :128]
    assert structure(np.sin(x / 6).astype(np.float32) * np.cos(y / 6).astype(np.float32)) > 0.5
    assert structure(np.full((128, 128), 3, np.float32)) == 0


def test_windows_of_nothing_but_noise_are_rejected():
    rng = np.random.default_rng(1)
    field = cells_on_noise(rng)
    settings = Crops(global_px=64, local_px=16)
    tried = [choose_window(field, rng, settings.model_copy(update={"blank_tries": 1})) for _ in range(40)]
    chosen = [choose_window(field, rng, settings) for _ in range(40)]

    def blank(windows):
        return sum(top + side < 128 or left + side < 128 for top, left, side in windows)

    assert blank(tried) > 10, "test invalid"
    assert blank(chosen) <= 1


def test_a_field_of_noise_alone_still_gives_a_window():
    rng = np.random.default_rng(0)
    field = scaled_field(rng.poisson(100, (1, 80, 90)).astype(np.uint16), drop_constant=True)
    top, left, side = choose_window(field, rng, Crops(global_px=64, local_px=16))
    assert 0 <= top <= 16
    assert 0 <= left <= 26
    assert side == 64


def test_a_field_smaller_than_the_window_is_used_whole():
    rng = np.random.default_rng(0)
    field = scaled_field(rng.integers(0, 9, (1, 20, 50)).astype(np.uint8), drop_constant=True)
    assert choose_window(field, rng, Crops(global_px=64, local_px=16))[2] == 20
    crops = sample_crops(
        field,
        rng,
        crops=Crops(global_px=64, local_px=16, num_local=2),
        views=Views(),
        augmentation=Augmentation(),
    )
    assert crops.global_crops.shape == (2, 1, 64, 64)
    assert crops.local_crops.shape == (2, 1, 16, 16)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_percentiles_are_those_of_numpy(dtype):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 250, (2, 40, 50)).astype(dtype)
    field = scaled_field(pixels, drop_constant=True)
    np.testing.assert_allclose(field.low, [np.percentile(channel, 1) for channel in pixels], rtol=1e-6)
    np.testing.assert_allclose(field.high, [np.percentile(channel, 99.8) for channel in pixels], rtol=1e-6)


def test_a_few_bright_pixels_on_an_empty_field_keep_their_range():
    pixels = np.zeros((1, 100, 100), np.uint16)
    pixels[0, 0, 0] = 9
    field = scaled_field(pixels, drop_constant=True)
    assert (field.low[0], field.high[0]) == (0, 9)


def test_constant_channels_are_left_out_or_dark():
    pixels = np.stack([np.full((8, 8), 7), np.arange(64).reshape(8, 8)]).astype(np.uint16)
    assert scaled_field(pixels, drop_constant=True).pixels.shape[0] == 1
    kept = scaled_field(pixels, drop_constant=False)
    assert kept.values(0, slice(None), slice(None)).max() == 0


def test_blank_and_broken_fields_are_refused():
    with pytest.raises(ValueError, match="the field is blank"):
        scaled_field(np.full((2, 8, 8), 7, np.uint16), drop_constant=True)
    pixels = np.ones((1, 8, 8), np.float32)
    pixels[0, 3, 3] = np.nan
    with pytest.raises(ValueError, match="1 of 64 pixels are NaN or infinite"):
        scaled_field(pixels, drop_constant=True)


def test_areas_outside_the_window_are_refused():
    with pytest.raises(ValueError, match=r"local_area is \(0.5, 1.2\)"):
        Crops(local_area=(0.5, 1.2))
