"""What `dinocell info` shows of a file."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from dinocell_io import describe_image


def test_an_image_is_described_channel_by_channel(tmp_path: Path) -> None:
    planes = np.stack([np.arange(1000).reshape(20, 50), np.full((20, 50), 7)]).astype(np.uint16)
    metadata = {"axes": "CYX", "Channel": {"Name": ["DNA", "ER"]}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, metadata=metadata, photometric="minisblack")
    info = describe_image(tmp_path / "a.ome.tif")
    assert (info.shape, info.dtype, info.is_rgb, info.pixel_size_um) == ((2, 20, 50), "uint16", False, 0.5)
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
