import numpy as np
import pytest

from dinocell_io.stream.field import FieldFiles, FieldPixels
from dinocell_io.stream.resample import ResampleTo, resample_plane

FILES = FieldFiles("a", {})


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
