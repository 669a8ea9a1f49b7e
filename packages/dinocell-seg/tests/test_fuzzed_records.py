"""Damaged records of results: right values, or an error that names the file (tools/fuzz.py)."""

import importlib
from pathlib import Path

import pytest


def test_damaged_records_are_read_right_or_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "tools")
    verdict = importlib.import_module("fuzz_manifest").verdict
    found = {number: verdict(tmp_path, number, 0) for number in range(400)}
    assert {number: told for number, told in found.items() if told[0] not in ("right", "refused")} == {}
    assert {told[0] for told in found.values()} == {"right", "refused"}, "test invalid"
