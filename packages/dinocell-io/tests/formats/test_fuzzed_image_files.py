"""Damaged images of every format: right pixels, or an error that names the file (tools/fuzz.py --kind images)."""

import importlib
import logging
from pathlib import Path

import pytest


@pytest.mark.filterwarnings("ignore")
def test_damaged_images_are_read_right_or_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[4] / "tools")
    monkeypatch.setattr(logging, "lastResort", None)
    logger = logging.getLogger("tifffile")
    monkeypatch.setattr(logger, "level", logger.level)
    verdict = importlib.import_module("fuzz_images").verdict
    found = {number: verdict(tmp_path, number, 0) for number in range(200)}
    assert {number: told for number, told in found.items() if told[0] not in ("right", "refused")} == {}
    assert {told[0] for told in found.values()} == {"right", "refused"}, "test invalid"
