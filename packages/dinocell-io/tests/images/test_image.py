import numpy as np
import pytest

from dinocell_io import Image


def test_an_array_is_an_image_whose_channels_have_numbers() -> None:
    image = Image(np.zeros((2, 4, 5), np.uint8))
    assert (image.channels, image.pixel_size_um, image.is_rgb, image.uri) == (("C0", "C1"), None, False, "array")


def test_too_few_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"array: 2 channels but 1 name \(DNA\); give one name per channel"):
        Image(np.zeros((2, 4, 5), np.uint8), ("DNA",))
