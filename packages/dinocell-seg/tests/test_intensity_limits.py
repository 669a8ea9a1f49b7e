"""Images whose plain percentiles lie in noise, in flecks or in a frame; and those that must keep theirs."""

import numpy as np
import pytest

from dinocell_io import simulate_field
from dinocell_seg import DINOCellPipeline
from dinocell_seg.normalize import AffineNormalization, Normalization, fit_normalization, normalize, prepare

PLAIN = Normalization(robust=False)


def discs(side: int, centers: list[tuple[int, int]], *, height: float = 20_000, radius: float = 12) -> np.ndarray:
    """Discs with soft edges on noise of 200 +- 10."""
    y, x = np.mgrid[:side, :side]
    image = np.random.default_rng(0).normal(200, 10, (side, side))
    for row, column in centers:
        image += height / (1 + np.exp(np.clip(np.hypot(y - row, x - column) - radius, -50, 50)))
    return image


def rounded(image: np.ndarray) -> np.ndarray:
    return image.round().clip(0, 65_535).astype(np.uint16)


def limits(fit: AffineNormalization) -> tuple[float, float]:
    return fit.low_value, fit.high_value


def nuclei() -> np.ndarray:
    return simulate_field((256, 256), num_cells=20, diameter_px=34, channels=("DNA",), seed=3).image.pixels[0].copy()


@pytest.mark.parametrize("height", [300, 20_000, 60_000])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_the_contrast_of_two_cells_does_not_depend_on_how_empty_the_field_is(height: float, dtype: type) -> None:
    field = discs(700, [(60, 60), (110, 140)], height=height).clip(0, 65_535).astype(dtype)
    crop, whole, plain = fit_normalization(field[:200, :200]), fit_normalization(field), fit_normalization(field, PLAIN)
    assert plain.high_value < 0.7 * crop.high_value, "test invalid"
    assert whole.basis == "adapted"
    assert whole.high_value == pytest.approx(crop.high_value, rel=0.15)
    assert "stand out of the noise" in whole.notes[0]
    assert "--set normalization.robust=false" in whole.notes[0]


def test_dark_cells_in_a_bright_empty_field_are_treated_as_bright_ones_in_a_dark_one() -> None:
    field = discs(700, [(60, 60), (110, 140)])
    bright, dark = fit_normalization(rounded(field)), fit_normalization(rounded(30_000 - field))
    assert dark.low_value == pytest.approx(30_000 - bright.high_value, abs=1)
    # the plain limits differ: 1 % below, 0.2 % above
    assert dark.high_value == fit_normalization(rounded(30_000 - field), PLAIN).high_value


@pytest.mark.parametrize("side", [10, 20, 40])
@pytest.mark.parametrize("value", [65_535, 40_000])
def test_a_fleck_does_not_darken_the_cells(side: int, value: int) -> None:
    image = nuclei()
    expected = fit_normalization(image).high_value
    image[60 : 60 + side, 60 : 60 + side] = value
    fit = fit_normalization(image)
    assert fit.high_value < 4.5 * expected
    if side > 20:
        assert fit_normalization(image, PLAIN).high_value == value, "test invalid"
        assert "much brighter than most cells" in fit.notes[0]


def test_a_dark_fleck_does_not_lighten_dark_cells() -> None:
    image = (20_000 - nuclei().astype(np.int64)).clip(0, None).astype(np.uint16)
    expected = fit_normalization(image)
    image[60:90, 60:90] = 0
    fit = fit_normalization(image)
    assert fit_normalization(image, PLAIN).low_value == 0, "test invalid"
    assert expected.high_value - fit.low_value < 5.5 * (expected.high_value - expected.low_value)


@pytest.mark.parametrize("value", [0, 65_535])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int32])
@pytest.mark.parametrize("kind", ["frame", "stripe", "corner", "circle"])
def test_a_frame_changes_nothing_but_itself(kind: str, value: int, dtype: type) -> None:
    image = nuclei().astype(dtype) + dtype(300)
    y, x = np.mgrid[:256, :256]
    framed, inside = {
        "frame": (np.pad(image, 60, constant_values=value), np.pad(np.ones(image.shape, bool), 60)),
        "stripe": (np.pad(image, ((0, 0), (90, 0)), constant_values=value), np.pad(image > -1, ((0, 0), (90, 0)))),
        "corner": (np.where((y > 180) & (x < 90), dtype(value), image), ~((y > 180) & (x < 90))),
        "circle": (np.where(np.hypot(y - 128, x - 128) > 128, dtype(value), image), np.hypot(y - 128, x - 128) <= 128),
    }[kind]
    picture = framed[inside]
    fit = fit_normalization(framed)
    assert limits(fit) == pytest.approx((np.percentile(picture, 1), np.percentile(picture, 99.8)), rel=1e-6)
    assert fit.frame_share == pytest.approx(1 - inside.mean())
    assert bool(fit.notes) == (value > 0)  # 0 is near the background
    assert all("is a frame of one intensity, which is left out" in note for note in fit.notes)
    outside = normalize(framed)[~inside]
    assert np.ptp(outside) == 0
    assert abs(outside[0] - float(np.median(normalize(framed)[inside]))) < 1.1  # FRAME_BEYOND is 1 there
    assert framed[~inside][0] == value, "the caller's image was changed"


def test_a_background_clipped_to_zero_is_no_frame() -> None:
    image = np.zeros((200, 200), np.uint8)
    y, x = np.mgrid[:200, :200]
    for row, column in ((40, 40), (150, 60), (90, 160)):
        image[np.hypot(y - row, x - column) < 20] = 200
    fit = fit_normalization(image)
    assert limits(fit) == (0, 200)
    np.testing.assert_array_equal(np.unique(normalize(image)), [-2, 2])


def test_a_saturated_cell_in_a_corner_is_no_frame() -> None:
    image = nuclei()
    image[:30, :30] = 65_535
    fit = fit_normalization(image)
    assert fit.frame_share == 0
    assert normalize(image)[0, 0] > 2


def test_a_single_cell_cut_out_on_zero_keeps_its_background() -> None:
    image = np.zeros((90, 90), np.uint8)
    image[30:60, 30:60] = np.random.default_rng(0).integers(150, 250, (30, 30))
    fit = fit_normalization(image)
    assert fit.low_value == 0
    assert fit.frame_share == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_usual_image_keeps_exactly_its_percentiles(dtype: type) -> None:
    image = nuclei()
    image = (image / image.max() * 250).astype(dtype)
    fit = fit_normalization(image)
    assert (fit.basis, fit.notes, fit.frame_share) == ("percentile", (), 0)
    assert fit == fit_normalization(image, PLAIN)


def test_noise_alone_keeps_its_percentiles_and_is_told() -> None:
    noise = rounded(discs(300, []))
    fit = fit_normalization(noise)
    assert limits(fit) == limits(fit_normalization(noise, PLAIN))
    assert "nothing stands out of the noise" in fit.notes[0]
    noise[::100, ::100] = 60_000  # 9 hot pixels
    assert limits(fit_normalization(noise)) == limits(fit_normalization(noise, PLAIN))


def test_specks_on_a_confluent_layer_do_not_hide_it() -> None:
    y, x = np.mgrid[:400, :400]
    layer = 1000 + 600 * np.sin(y / 9) * np.sin(x / 9) + np.random.default_rng(0).normal(0, 20, (400, 400))
    image = rounded(layer)
    image[50:62, 50:62] = 60_000
    assert limits(fit_normalization(image)) == limits(fit_normalization(image, PLAIN))


def test_a_percentile_of_0_or_100_is_never_moved() -> None:
    image = nuclei()
    image[60:100, 60:100] = 65_535
    extremes = Normalization(low_percentile=0, high_percentile=100)
    assert limits(fit_normalization(image, extremes)) == (image.min(), 65_535)


def test_pixels_are_copied_only_to_fill_a_frame() -> None:
    image = nuclei()
    assert prepare(image).pixels is image
    image[:5] = 0
    assert prepare(image[5:]).pixels.base is image


def test_the_embedded_model_draws_a_lone_pair_of_cells_as_in_a_crop() -> None:
    field = rounded(discs(512, [(60, 60), (110, 140)], height=60_000, radius=8))
    pipeline = DINOCellPipeline(tile=256)
    in_crop, in_field = (np.bincount(pipeline.run(image).ravel())[1:] for image in (field[:256, :256], field))
    assert len(in_field) == 2
    np.testing.assert_allclose(in_field, in_crop, rtol=0.03)


def test_the_embedded_model_finds_cells_beside_a_fleck() -> None:
    image = nuclei()
    before = DINOCellPipeline().run(image).max()
    image[60:85, 60:85] = 65_535
    assert DINOCellPipeline(normalization={"robust": False}).run(image).max() < before / 2, "test invalid"
    assert DINOCellPipeline().run(image).max() >= before - 2


@pytest.mark.parametrize("share", [0.003, 0.01, 0.02])
@pytest.mark.parametrize("values", [(65_535, 65_536), (40_000, 65_536)])
def test_hot_pixels_do_not_darken_the_cells(share: float, values: tuple[int, int]) -> None:
    image = nuclei()
    expected = fit_normalization(image).high_value
    rng = np.random.default_rng(0)
    hot = rng.random(image.shape) < share
    image[hot] = rng.integers(*values, hot.sum())
    assert fit_normalization(image, PLAIN).high_value > 10 * expected, "test invalid"
    fit = fit_normalization(image)
    assert fit.high_value == pytest.approx(expected, rel=0.03)
    assert "of the pixels are much brighter than those beside them" in fit.notes[0]
    assert float(fit.notes[0].split("%")[0]) / 100 == pytest.approx(share, rel=0.1)
    assert fit.high_value < image[~hot].max()


def test_dead_pixels_do_not_lighten_dark_cells() -> None:
    image = (60_000 - nuclei().astype(np.int64)).astype(np.uint16)
    expected = fit_normalization(image).low_value
    image[np.random.default_rng(0).random(image.shape) < 0.02] = 0
    assert fit_normalization(image, PLAIN).low_value == 0, "test invalid"
    fit = fit_normalization(image)
    assert fit.low_value == pytest.approx(expected, rel=0.01)
    assert "much darker than those beside them" in fit.notes[0]


def test_the_embedded_model_finds_cells_among_hot_pixels() -> None:
    image = nuclei()
    expected = DINOCellPipeline().run(image).max()
    image[np.random.default_rng(0).random(image.shape) < 0.02] = 65_535
    assert DINOCellPipeline(normalization={"robust": False}).run(image).max() < expected / 2, "test invalid"
    assert abs(int(DINOCellPipeline().run(image).max()) - int(expected)) <= 1


def with_highest(share: float, dtype: type, highest: int) -> np.ndarray:
    """Nuclei of which the brightest pixels were cut off at one intensity."""
    image = nuclei().astype(np.float64)
    scaled = image / np.percentile(image, 100 * (1 - share)) * highest
    return scaled.clip(0, highest).astype(dtype)


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("share", [0.06, 0.3, 0.995])
@pytest.mark.parametrize(("dtype", "highest"), [(np.uint8, 255), (np.uint16, 65_535), (np.uint16, 4095)])
def test_an_overexposed_picture_is_told(dtype: type, highest: int, share: float, robust: bool) -> None:
    image = with_highest(share, dtype, highest)
    expected = highest != 4095 or share >= 0.1
    notes = fit_normalization(image, Normalization(robust=robust)).notes
    overexposed = [note for note in notes if "overexposed" in note]
    assert len(overexposed) == expected
    for note in overexposed:
        assert float(note.split("%")[0]) / 100 == pytest.approx((image == highest).mean(), rel=0.01)
        assert f"% of the pixels have the highest value ({highest}); " in note


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_white_frame_a_mask_and_a_few_saturated_cells_are_not_overexposed(dtype: type) -> None:
    highest = np.iinfo(dtype).max
    mask = np.zeros((200, 200), dtype)
    mask[50:150, 50:150] = highest
    framed = np.pad(with_highest(0.01, dtype, highest // 2), 60, constant_values=highest)
    for image in (mask, framed, with_highest(0.02, dtype, highest)):
        assert not any("overexposed" in note for note in fit_normalization(image).notes)
