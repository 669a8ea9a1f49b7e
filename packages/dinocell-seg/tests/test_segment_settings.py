from pathlib import Path

import pytest

from dinocell_core.recipe import read_recipe, validated
from dinocell_seg.settings import PRESETS, SegmentSettings, settings_of_model, updated


def test_a_recipe_file_becomes_settings(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("tile: 128\noverlap: 32\nthresholds:\n  peak: 0.4\n")
    settings = validated(SegmentSettings, read_recipe(tmp_path / "r.yaml", expected="lines"))
    assert (settings.tile, settings.thresholds.peak, settings.thresholds.fill) == (128, 0.4, 0.09)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tlie": 128}, r"unknown setting 'tlie'; did you mean 'tile'\?"),
        ({"thresholds": {"peek": 0.4}}, r"unknown setting 'thresholds\.peek'; did you mean 'peak'\?"),
        ({"zzz": 1}, r"unknown setting 'zzz'; known here: batch_size, diameter_px, normalization"),
        ({"tile": "big"}, r"tile: Input should be a valid integer"),
        ({"thresholds": {"peak": 0.05}}, r"thresholds: peak 0\.05 is below fill 0\.09"),
        ({"tile": 64, "overlap": 40}, r"overlap 40 is more than half of tile 64"),
        ({"tta": "all"}, r"tta: Input should be 'none', 'flips' or 'dihedral'"),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validated(SegmentSettings, values)


def test_a_models_calibration_becomes_the_settings() -> None:
    metadata = {
        "thresholds": {"peak": 0.3, "fill": 0.2, "min_size": 15},
        "normalization": {"low_percentile": 2.0},
        "tile": 128,
        "overlap": 32,
        "scores": {"seg": 0.9},
    }
    settings = settings_of_model(metadata)
    assert settings.thresholds.min_size == 15
    assert settings.normalization.low_percentile == 2
    assert (settings.tile, settings.overlap) == (None, 32)
    assert settings_of_model({}) == SegmentSettings()


def test_changes_are_checked_against_what_they_change() -> None:
    settings = SegmentSettings()
    assert updated(settings, PRESETS["samcell"]).thresholds.peak == 0.47
    with pytest.raises(ValueError, match=r"overlap 64 is more than half of tile 64"):
        updated(settings, {"tile": 64})
