from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from dinocell_seg import exports
from dinocell_seg.exports import overlay, write_distance_map, write_overlay
from dinocell_seg.normalize import Normalization, prepare, prepare_as_fitted


def two_cells() -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros((20, 30), np.int32)
    labels[4:12, 4:12], labels[4:12, 12:20] = 1, 2
    plane = np.where(labels > 0, 3000, 1000).astype(np.uint16)
    return plane, labels


def test_outlines_are_coloured_and_the_rest_is_stretched_grey() -> None:
    plane, labels = two_cells()
    picture = overlay(prepare(plane), labels)
    assert (picture[0, 0] == 0).all()
    assert (picture[8, 8] == 255).all()
    assert np.ptp(picture[4, 6].astype(int)) > 100


def test_touching_cells_have_different_colours() -> None:
    plane, labels = two_cells()
    picture = overlay(prepare(plane), labels).astype(int)
    assert abs(picture[8, 11] - picture[8, 12]).sum() > 100


def test_a_low_contrast_16_bit_image_is_not_black() -> None:
    plane = (np.random.default_rng(0).integers(0, 40, (50, 50)) + 200).astype(np.uint16)
    assert overlay(prepare(plane), np.zeros((50, 50), np.int32)).std() > 50


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize(
    "settings",
    [Normalization(low_percentile=20, high_percentile=60), Normalization(robust=False), Normalization(method="clahe")],
)
def test_the_overlay_is_stretched_as_the_run_was(settings: Normalization, dtype: type) -> None:
    plane = np.random.default_rng(0).integers(0, 200, (50, 60)).astype(dtype)
    labels = np.zeros(plane.shape, np.int32)
    prepared = prepare_as_fitted(plane, settings, prepare(plane, settings).affine)
    expected = overlay(prepare(plane, settings), labels)
    np.testing.assert_array_equal(overlay(prepared, labels), expected)
    if settings.robust:
        assert (expected != overlay(prepare(plane), labels)).any(), "test invalid"


def test_wide_images_are_shrunk_with_their_outlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MAX_OVERLAY_PX", 15)
    plane, labels = two_cells()
    picture = overlay(prepare(plane), labels)
    assert overlay(prepare(plane.T), labels.T).shape == (15, 10, 3)
    assert picture.shape == (10, 15, 3)
    assert np.ptp(picture[2, 3].astype(int)) > 100


def test_the_png_holds_the_overlay(tmp_path: Path) -> None:
    plane, labels = two_cells()
    write_overlay(tmp_path / "o.png", prepare(plane), labels)
    read = cv2.imread(str(tmp_path / "o.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read[..., ::-1], overlay(prepare(plane), labels))
    assert [path.name for path in tmp_path.iterdir()] == ["o.png"]


def test_the_distance_map_comes_back_bit_for_bit(tmp_path: Path) -> None:
    distance_map = np.random.default_rng(0).random((13, 17)).astype(np.float32)
    write_distance_map(tmp_path / "d.tif", distance_map)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "d.tif"), distance_map)
    with tifffile.TiffFile(tmp_path / "d.tif") as tif:
        assert tif.pages[0].predictor == 1  # ImageJ knows no predictor for floats
