"""The one rule that makes an image grey, and the choice of a channel."""

import numpy as np
import pytest

from dinocell_io import Image, grey_image


def colour(pixels: np.ndarray) -> Image:
    return Image(pixels, ("red", "green", "blue"), None, True, "colour.png")


def stains(*names: str) -> Image:
    planes = np.arange(len(names), dtype=np.uint16)[:, None, None] + np.zeros((1, 2, 3), np.uint16)
    return Image(planes, names, None, False, "plate.tif")


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((255, 0, 0), 76),  # 76.245
        ((0, 255, 0), 150),  # 149.685
        ((0, 0, 255), 29),  # 29.07
        ((255, 255, 255), 255),
        ((10, 20, 30), 18),  # 18.15
        ((1, 2, 1), 2),  # 1.587
    ],
)
def test_rgb_becomes_luma_rounded_to_nearest(rgb: tuple[int, int, int], expected: int) -> None:
    grey = grey_image(colour(np.array(rgb, np.uint8).reshape(3, 1, 1)))
    assert grey.dtype == np.uint8
    assert grey.item() == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.int32, np.float32, np.float64])
def test_equal_colours_give_that_grey_in_the_same_dtype(dtype: type) -> None:
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1e5
    plane = (np.linspace(0, 1, 600).reshape(20, 30) * top).astype(dtype)
    plane[0, 0] = np.iinfo(dtype).min if np.issubdtype(dtype, np.integer) else -3.5
    grey = grey_image(colour(np.stack([plane] * 3)))
    assert grey.dtype == dtype
    np.testing.assert_array_equal(grey, plane)


def test_bands_of_rows_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (3, 37, 11)).astype(np.uint16)
    plain = np.array(
        [[round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in row] for row in pixels.transpose(1, 2, 0).tolist()]
    )
    monkeypatch.setattr("dinocell_io.images.grey._BAND_PX", 50)
    assert np.abs(grey_image(colour(pixels)).astype(int) - plain).max() == 0


def test_one_channel_is_itself_and_no_copy() -> None:
    image = stains("DNA")
    grey = grey_image(image)
    assert np.shares_memory(grey, image.pixels)
    assert grey.shape == (2, 3)


def test_several_channels_and_none_chosen_are_refused_with_their_names() -> None:
    with pytest.raises(ValueError, match=r"plate\.tif has 3 channels \(DNA, ER, AGP\) and none was chosen.* --channel"):
        grey_image(stains("DNA", "ER", "AGP"))


@pytest.mark.parametrize("choice", ["er", "ER", 1])
def test_a_channel_is_chosen_by_name_in_any_case_or_by_index(choice: str | int) -> None:
    assert (grey_image(stains("DNA", "ER", "AGP"), channel=choice) == 1).all()


def test_a_plane_of_an_rgb_image_can_be_chosen() -> None:
    pixels = np.arange(3, dtype=np.uint8).reshape(3, 1, 1)
    assert grey_image(colour(pixels), channel="Blue").item() == 2


@pytest.mark.parametrize(
    ("choice", "problem"), [("DAPI", "no channel is named 'DAPI'"), (3, "no channel 3"), (-1, "no channel -1")]
)
def test_an_unknown_channel_is_refused_with_the_names(choice: str | int, problem: str) -> None:
    with pytest.raises(ValueError, match=rf"{problem}; it has DNA, ER, AGP\. .*0 to 2"):
        grey_image(stains("DNA", "ER", "AGP"), channel=choice)


@pytest.mark.parametrize(
    ("names", "choice", "index"),
    [
        (("405", "488", "561"), "488", 1),  # a wavelength
        (("405", "488", "561"), 488, 1),  # as YAML reads it
        (("405", "488", "561"), "2", 2),
        (("1", "2", "3"), "1", 0),  # a name comes before an index
        (("1", "2", "3"), 1, 1),  # a number is an index where there is one
        (("1", "2", "3"), "0", 0),
        (("1", "2", "3"), 3, 2),
        (("DNA", "ER", "AGP"), "1", 1),
    ],
)
def test_a_number_may_be_a_name(names: tuple[str, ...], choice: str | int, index: int) -> None:
    assert (grey_image(stains(*names), channel=choice) == index).all()


def test_a_name_that_two_channels_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 channels are named 'dna'; choose by index, 0 or 1$"):
        grey_image(stains("DNA", "Dna"), channel="dna")
