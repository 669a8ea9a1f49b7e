import numpy as np
import pytest

from dinocell_io.stream.field import FieldFiles, FieldPixels
from dinocell_io.stream.resample import ResampleTo, resample_plane

FILES = FieldFiles("a", {})


def plain_resample(plane, shape):
    """Linear between the two nearest centres along each axis, in double precision."""
    for axis, wanted in enumerate(shape):
        size = plane.shape[axis]
        centres = np.clip((np.arange(wanted) + 0.5) * (size / wanted) - 0.5, 0, size - 1)
        first = np.minimum(centres.astype(int), max(0, size - 2))
        second = np.minimum(first + 1, size - 1)
        share = np.expand_dims(centres - first, 1 - axis)
        plane = np.take(plane, first, axis) * (1 - share) + np.take(plane, second, axis) * share
    return plane


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64, ">u2", ">f4"])
@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((540, 430), (497, 396)), ((31, 29), (40, 58)), ((33, 31), (17, 16)), ((3, 20_000), (3, 18_001))],
)
def test_a_resampled_plane_is_linear_between_the_centres_of_pixels(shape, wanted, dtype):
    plane = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    np.testing.assert_allclose(resample_plane(plane, wanted), plain_resample(plane, wanted), rtol=0, atol=1e-4)


def test_parts_of_planes_and_planes_that_may_not_be_written_are_resampled():
    whole = np.random.default_rng(0).integers(0, 4000, (80, 60)).astype(np.uint16)
    whole.flags.writeable = False
    for plane in (whole[::2, 5:], whole.T, np.asfortranarray(whole)):
        np.testing.assert_allclose(resample_plane(plane, (33, 44)), plain_resample(plane, (33, 44)), rtol=1e-6)


def test_a_plane_that_rises_evenly_still_does_at_another_size():
    y, x = np.mgrid[:40, :60].astype(np.float32)
    resampled = resample_plane(3 * y + 2 * x, (50, 45))
    centres_y = (np.arange(50) + 0.5) * 40 / 50 - 0.5
    centres_x = (np.arange(45) + 0.5) * 60 / 45 - 0.5
    expected = 3 * np.clip(centres_y, 0, 39)[:, None] + 2 * np.clip(centres_x, 0, 59)
    np.testing.assert_allclose(resampled, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 1)])
def test_planes_of_one_row_or_column_are_repeated(shape):
    plane = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    resampled = resample_plane(plane, (3, 3 * shape[1]))
    assert resampled.min() == plane.min()
    assert resampled.max() == plane.max()


def test_the_same_size_gives_the_same_values():
    plane = np.random.default_rng(0).integers(0, 65536, (13, 9)).astype(np.uint16)
    np.testing.assert_array_equal(resample_plane(plane, (13, 9)), plane)


def test_all_channels_get_the_wanted_pixel_size_in_their_own_type():
    plane = np.full((1080, 1080), 700, np.uint16)
    given = FieldPixels("a", {"DNA": plane, "ER": plane + 1}, 0.598)
    one = ResampleTo(0.65)(FILES, given)
    assert one.pixel_size_um == 0.65
    assert one.shape == (994, 994)
    assert one.channels["ER"].dtype == np.uint16
    assert (one.channels["ER"] == 701).all()
    assert ResampleTo(0.598)(FILES, given) is given


def test_unknown_sizes_and_strong_shrinking_are_refused():
    plane = np.zeros((4, 4), np.uint16)
    with pytest.raises(ValueError, match="a has pixels of None um"):
        ResampleTo(0.65)(FILES, FieldPixels("a", {"DNA": plane}, None))
    with pytest.raises(ValueError, match=r"a has pixels of 0.1 um and cannot be resampled to 0.65 um"):
        ResampleTo(0.65)(FILES, FieldPixels("a", {"DNA": plane}, 0.1))
    with pytest.raises(ValueError, match="pixel_size_um is 0"):
        ResampleTo(0)
