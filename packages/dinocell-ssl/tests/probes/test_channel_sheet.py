"""The fields that are shown: the square with most contrast of each."""

import numpy as np
import pytest

from dinocell_io import Image, write_image
from dinocell_ssl.data.fields import open_folders
from dinocell_ssl.probes.channel_sheet import shown_fields


def test_shown_fields_are_their_squares_with_most_contrast(tmp_path):
    for index, shape in enumerate([(2, 64, 96), (2, 40, 96), (2, 31, 96)]):
        pixels = np.full(shape, 100, np.uint16)
        pixels[:, 10:20, 70:90] = 4000
        pixels[:, 10:20:2] += 1000
        write_image(tmp_path / f"{index}.tif", Image(pixels, ("DNA", "ER"), None, False, ""))
    fields = open_folders([tmp_path])
    images, notes = shown_fields(fields, count=3, size=32, in_channels=1)
    assert [image.shape for image in images] == [(2, 1, 32, 32)] * 2
    assert len(notes) == 1
    assert "2.tif was left out: it has 31 x 96 pixels" in notes[0]
    assert float(images[0].max()) == pytest.approx(2, abs=0.5)
    assert (images[0] > 0).mean() > 0.15
    larger, _ = shown_fields(fields, count=3, size=64, smallest=32, in_channels=1)
    assert [image.shape for image in larger] == [(2, 1, 64, 64), (2, 1, 40, 40)]
