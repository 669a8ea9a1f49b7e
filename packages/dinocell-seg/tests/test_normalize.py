import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinocell_seg.normalize import Normalization, equalize, fit_normalization, normalize, prepare, prepare_as_fitted


def plain_normalize(plane: np.ndarray, low: float = 1.0, high: float = 99.8) -> np.ndarray:
    p_low, p_high = np.percentile(plane.astype(np.float64), (low, high))
    v = (plane.astype(np.float64) - p_low) / (p_high - p_low)
    return np.clip((v - 0.5) / 0.25, -4, 6)


def noise(dtype: type, shape: tuple[int, int] = (37, 53), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.gamma(2.0, 20.0, shape)
    if np.issubdtype(dtype, np.integer):
        values = np.clip(values, 0, np.iinfo(dtype).max)
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32, np.int64, np.float32, np.float64])
def test_every_dtype_gives_the_formula(dtype: type) -> None:
    plane = noise(dtype)
    result = normalize(plane)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, plain_normalize(plane), atol=2e-5)


@given(
    seed=st.integers(0, 999),
    size=st.integers(2, 400),
    spread=st.integers(2, 60_000),
    percents=st.tuples(st.floats(0, 49), st.floats(51, 100)),
)
@settings(max_examples=60, deadline=None)
def test_integer_percentiles_equal_numpy(seed: int, size: int, spread: int, percents: tuple[float, float]) -> None:
    plane = np.random.default_rng(seed).integers(0, spread, (1, size)).astype(np.uint16)
    plane[0, :2] = 0, spread - 1
    fit = fit_normalization(plane, Normalization(low_percentile=percents[0], high_percentile=percents[1]))
    if fit.basis == "percentile":
        assert (fit.low_value, fit.high_value) == pytest.approx(tuple(np.percentile(plane, percents)), abs=1e-7)
    else:
        assert (fit.low_value, fit.high_value) == (0, spread - 1)


def test_a_constant_image_is_background_everywhere() -> None:
    for dtype in (np.uint8, np.uint16, np.float32, np.int32):
        assert (normalize(np.full((5, 7), 9, dtype)) == -2).all()


def test_a_few_bright_pixels_on_an_empty_field_fall_back_to_min_and_max() -> None:
    plane = np.zeros((100, 100), np.uint16)
    plane[50, 50] = 1000
    fit = fit_normalization(plane)
    assert (fit.basis, fit.low_value, fit.high_value) == ("min-max", 0, 1000)
    result = normalize(plane)
    assert result[50, 50] == pytest.approx(2)
    assert result[0, 0] == pytest.approx(-2)


def test_a_small_signal_on_a_large_offset_keeps_its_digits() -> None:
    signal = np.random.default_rng(1).random((40, 40))
    shifted = normalize(signal + 1e9)
    np.testing.assert_allclose(shifted, normalize(signal), atol=1e-5)


@pytest.mark.parametrize("gain", [0.01, 3.0, 1e6])
def test_gain_and_offset_of_the_camera_do_not_matter(gain: float) -> None:
    plane = noise(np.float64)
    np.testing.assert_allclose(normalize(plane * gain + 7), normalize(plane), atol=1e-5)


def test_values_are_clipped_to_the_network_range() -> None:
    plane = noise(np.float32, (100, 100))
    plane[0, 0], plane[0, 1] = -1e9, 1e9
    result = normalize(plane)
    assert result.min() == -4
    assert result.max() == 6


def test_nan_and_infinite_pixels_are_counted_and_refused() -> None:
    plane = np.ones((4, 5), np.float32)
    plane[0, :3] = np.nan
    plane[1, 0] = np.inf
    with pytest.raises(ValueError, match=r"3 NaN and 1 infinite of 20 pixels.*fill them"):
        normalize(plane)


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="no pixels"):
        normalize(np.zeros((0, 5), np.uint8))


def test_complex_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="dtype complex64"):
        normalize(np.zeros((2, 5), np.complex64))


def test_intensities_that_overflow_are_refused() -> None:
    with pytest.raises(ValueError, match="overflow"):
        normalize(np.array([[-1.5e308, 1.5e308]]), Normalization(low_percentile=0, high_percentile=100))


def test_a_mask_counts_as_an_image() -> None:
    plane = np.zeros((10, 10), bool)
    plane[:5] = True
    assert set(np.unique(normalize(plane))) == {-2, 2}


def test_eight_and_sixteen_bit_pixels_are_not_copied() -> None:
    for dtype in (np.uint8, np.uint16):
        plane = noise(dtype)
        assert prepare(plane).pixels is plane


def test_large_float_images_are_subsampled_close_to_the_exact_percentiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plane = noise(np.float32, (300, 300))
    exact = fit_normalization(plane)
    monkeypatch.setattr("dinocell_io.intensity.limits._MAX_EXACT_FLOAT_PIXELS", 10_000)
    subsampled = fit_normalization(plane)
    assert subsampled.high_value != exact.high_value
    assert subsampled.high_value == pytest.approx(exact.high_value, rel=0.15)


def test_row_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = [noise(np.uint16), noise(np.float32), noise(np.int64)]
    whole = [normalize(plane) for plane in planes]
    monkeypatch.setattr("dinocell_io.intensity.fitted_plane._BLOCK_PIXELS", 60)
    monkeypatch.setattr("dinocell_io.intensity.limits._BLOCK_PIXELS", 60)
    for plane, expected in zip(planes, whole, strict=True):
        np.testing.assert_array_equal(normalize(plane), expected)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 64), (100, 37)])
def test_clahe_runs_once_on_the_whole_image(shape: tuple[int, int]) -> None:
    plane = noise(np.uint16, shape)
    settings = Normalization(method="clahe")
    prepared = prepare(plane, settings)
    np.testing.assert_array_equal(prepared.pixels, equalize(plane))
    if plane.size > 1:
        np.testing.assert_allclose(normalize(plane, settings), plain_normalize(equalize(plane)), atol=2e-5)


def test_clahe_lifts_a_faint_region() -> None:
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 1000, (128, 128)).astype(np.uint16)
    plane[:, 64:] //= 20
    equalized = equalize(plane)

    def contrast(pixels: np.ndarray) -> float:
        return float(pixels[:, 80:].std() / pixels[:, :48].std())

    assert contrast(equalized) > 1.2 * contrast(plane)


def test_reversed_percentiles_are_refused() -> None:
    with pytest.raises(ValueError, match=r"low_percentile 99\.0 is not below high_percentile 1.0"):
        Normalization(low_percentile=99, high_percentile=1)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        Normalization(low=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("dtype", "offset"),
    [
        (np.int8, -128),
        (np.int16, -32_768),
        (np.uint32, 2**31),
        (np.int32, -(2**31)),
        (np.uint64, 2**63),
        (np.uint64, 2**64 - 256),
        (np.int64, 2**62),
        (np.int64, -(2**63)),
    ],
)
@pytest.mark.parametrize("method", ["percentile", "clahe"])
def test_an_offset_of_integers_changes_nothing(dtype: type, offset: int, method: str) -> None:
    plane = noise(np.uint8).astype(np.uint64) % 256
    shifted = (plane + np.uint64(offset % 2**64)).view(np.int64 if offset < 0 else np.uint64).astype(dtype)
    assert int(shifted.max()) - int(shifted.min()) == int(plane.max()), "test invalid"
    settings = Normalization(method=method)
    np.testing.assert_allclose(normalize(shifted, settings), normalize(plane, settings), atol=2e-6)
    as_fitted = prepare_as_fitted(shifted, settings, fit_normalization(shifted, settings))
    np.testing.assert_array_equal(as_fitted.pixels, prepare(shifted, settings).pixels)


@pytest.mark.parametrize("offset", [2**62, 2**63 + 2**62])
def test_a_frame_of_zeros_around_large_integers_is_left_out(offset: int) -> None:
    plane = noise(np.uint8, (200, 200))
    framed = np.zeros((300, 300), np.uint64)
    framed[50:250, 50:250] = plane.astype(np.uint64) + np.uint64(offset)
    assert fit_normalization(framed).frame_share == pytest.approx(5 / 9)
    np.testing.assert_allclose(normalize(framed)[50:250, 50:250], normalize(plane), atol=2e-6)
