"""What `dinocell info` shows of a file."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from dinocell_io import describe_image, read_image, write_thumbnail


def test_an_image_is_described_channel_by_channel(tmp_path: Path) -> None:
    planes = np.stack([np.arange(1000).reshape(20, 50), np.full((20, 50), 7)]).astype(np.uint16)
    metadata = {"axes": "CYX", "Channel": {"Name": ["DNA", "ER"]}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, metadata=metadata, photometric="minisblack")
    info = describe_image(tmp_path / "a.ome.tif")
    assert (info.axes, info.shape, info.dtype, info.is_rgb, info.pixel_size_um) == (
        "cyx",
        (2, 20, 50),
        "uint16",
        False,
        0.5,
    )
    dna, er = info.channels
    assert (dna.name, dna.minimum, dna.maximum, dna.median) == ("DNA", 0, 999, 499.5)
    assert dna.percentile_1 == pytest.approx(np.percentile(planes[0], 1))
    assert dna.percentile_99_8 == pytest.approx(np.percentile(planes[0], 99.8))
    assert (er.minimum, er.percentile_1, er.maximum, er.num_not_finite) == (7, 7, 7, 0)


def test_values_that_are_not_finite_are_counted_and_left_out(tmp_path: Path) -> None:
    plane = np.array([[np.nan, 1.0], [np.inf, 3.0]], np.float32)
    tifffile.imwrite(tmp_path / "a.tif", plane)
    (channel,) = describe_image(tmp_path / "a.tif").channels
    assert (channel.minimum, channel.median, channel.maximum, channel.num_not_finite) == (1, 2, 3, 2)
    tifffile.imwrite(tmp_path / "a.tif", np.full((2, 2), np.nan, np.float32))
    (channel,) = describe_image(tmp_path / "a.tif").channels
    assert (channel.minimum, channel.maximum, channel.num_not_finite) == (None, None, 4)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "f4"])
def test_percentiles_are_those_of_numpy_for_every_number_type(tmp_path: Path, dtype: str) -> None:
    plane = (np.random.default_rng(0).normal(size=(70, 90)) * 50).astype(dtype)
    np.save(tmp_path / "a.npy", plane)
    (channel,) = describe_image(tmp_path / "a.npy").channels
    expected = np.percentile(plane.astype(float), (0, 1, 50, 99.8, 100))
    found = (channel.minimum, channel.percentile_1, channel.median, channel.percentile_99_8, channel.maximum)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert sum(channel.histogram) == plane.size


@pytest.mark.parametrize(
    "values",
    [
        np.full(2, 1e17),
        np.full(2, 1e17, np.float32),
        np.full(2, 2**63, np.uint64),
        np.full(2, -(2**63), np.int64),
        np.array([1e17, np.nextafter(1e17, 2e17)]),
        np.array([1.0, np.nextafter(1.0, 2.0)], np.float32),
        np.array([0, 5e-324]),
        np.array([-1e308, 1e308]) / 2,
        np.array([2**63, 2**64 - 1], np.uint64),
    ],
)
def test_every_range_has_a_histogram(tmp_path: Path, values: np.ndarray) -> None:
    plane = np.repeat(values[None], 1000, axis=0)
    np.save(tmp_path / "a.npy", plane)
    (channel,) = describe_image(tmp_path / "a.npy").channels
    assert sum(channel.histogram) == plane.size
    if values[0] == values[1]:
        assert channel.histogram[0] == plane.size
    elif values[1] != 5e-324:  # where halves of the range are no numbers any more
        assert (channel.histogram[0], channel.histogram[-1]) == (1000, 1000)


def test_whole_numbers_at_the_edges_of_bins_are_in_the_upper_one(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.repeat(np.arange(0, 250, 10, dtype=np.uint16)[None], 1000, axis=0))
    (channel,) = describe_image(tmp_path / "a.npy").channels
    assert channel.histogram == (*[1000] * 23, 2000)


def test_the_histogram_shows_where_the_pixels_are(tmp_path: Path) -> None:
    plane = np.repeat(np.array([[10, 20, 33]], np.uint16), 100, axis=0)
    plane[:, 0] = np.arange(100) // 50 + 10  # half 10, half 11
    np.save(tmp_path / "a.npy", plane)
    (channel,) = describe_image(tmp_path / "a.npy").channels
    assert len(channel.histogram) == 24
    # bins of (33 - 10) / 24: 10 in the first, 11 and 20 in theirs, 33 in the last
    assert {number: count for number, count in enumerate(channel.histogram) if count} == {
        0: 50,
        1: 50,
        10: 100,
        23: 100,
    }


def test_a_stack_is_described_at_its_middle_plane_unless_chosen(tmp_path: Path) -> None:
    stack = np.broadcast_to(np.arange(15, dtype=np.uint16).reshape(3, 5, 1, 1), (3, 5, 6, 7))
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "TZYX"}, photometric="minisblack")
    info = describe_image(tmp_path / "a.tif")
    assert (info.axes, info.shape, info.z, info.t) == ("tzcyx", (3, 5, 1, 6, 7), 2, 0)
    assert info.channels[0].maximum == 2
    info = describe_image(tmp_path / "a.tif", z=4, t=1)
    assert (info.z, info.t, info.channels[0].maximum) == (4, 1, 9)
    tifffile.imwrite(tmp_path / "b.tif", stack[0, 0], photometric="minisblack")
    assert (describe_image(tmp_path / "b.tif").z, describe_image(tmp_path / "b.tif").t) == (None, None)


def test_large_images_are_measured_on_a_smaller_level_or_in_bands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = np.random.default_rng(1).integers(0, 1000, (64, 80)).astype(np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(full, subifds=1, tile=(16, 16), photometric="minisblack", metadata={"axes": "YX"})
        writer.write(full[::2, ::2], subfiletype=1, tile=(16, 16), photometric="minisblack")
    assert describe_image(tmp_path / "a.ome.tif").measured_level == 0
    monkeypatch.setattr("dinocell_io.preview.describe._MEASURED_PX", 2000)
    info = describe_image(tmp_path / "a.ome.tif")
    assert (info.measured_level, info.channels[0].maximum) == (1, full[::2, ::2].max())
    tifffile.imwrite(tmp_path / "b.tif", full)
    monkeypatch.setattr("dinocell_io.preview.describe._BAND_PX", 700)
    (channel,) = describe_image(tmp_path / "b.tif").channels
    assert (channel.minimum, channel.maximum) == (full.min(), full.max())
    assert channel.percentile_99_8 == pytest.approx(np.percentile(full, 99.8))


def test_a_thumbnail_shows_channels_side_by_side(tmp_path: Path) -> None:
    planes = np.zeros((5, 40, 60), np.uint16)
    planes[0, :20] = 1000
    planes[4, :, 30:] = 50
    np.save(tmp_path / "a.npy", planes)
    write_thumbnail(tmp_path / "a.png", tmp_path / "a.npy", side=30)
    picture = read_image(tmp_path / "a.png").pixels[0]
    assert picture.shape == (2 * 20 + 2, 4 * 30 + 6)  # 60 x 40 halved, four in a row, then one
    assert (picture[:10, :30] == 255).all()
    assert (picture[10:20, :30] == 0).all()
    assert (picture[20:22] == 255).all()  # the gap
    assert (picture[:20, 32:62] == 0).all()  # a constant channel is dark, not noise
    assert (picture[22:, :15] == 0).all()
    assert (picture[22:, 15:30] == 255).all()


def test_a_thumbnail_of_rgb_keeps_its_colours(tmp_path: Path) -> None:
    pixels = np.zeros((64, 32, 3), np.uint8)
    pixels[:32] = (200, 40, 90)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    write_thumbnail(tmp_path / "a.png", tmp_path / "a.tif", side=16)
    picture = read_image(tmp_path / "a.png")
    assert picture.is_rgb
    assert picture.pixels.shape == (3, 16, 8)
    assert picture.pixels[:, 0, 0].tolist() == [200, 40, 90]
    assert picture.pixels[:, 15, 0].tolist() == [0, 0, 0]


def test_a_thumbnail_in_bands_is_that_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(2).normal(size=(90, 70)).astype(np.float32))
    write_thumbnail(tmp_path / "whole.png", tmp_path / "a.npy", side=20)
    monkeypatch.setattr("dinocell_io.preview.thumbnail._BAND_PX", 700)
    write_thumbnail(tmp_path / "bands.png", tmp_path / "a.npy", side=20)
    assert (tmp_path / "bands.png").read_bytes() == (tmp_path / "whole.png").read_bytes()
    with pytest.raises(ValueError, match=r"a\.jpg, side 512: expected a \.png"):
        write_thumbnail(tmp_path / "a.jpg", tmp_path / "a.npy")
