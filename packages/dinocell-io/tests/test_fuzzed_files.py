"""Damaged label files, tables, OME-Zarr and caches: right values, or an error that names the file (tools/fuzz.py)."""

import importlib
from pathlib import Path

import pytest


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "count"), [("labels", 150), ("csv", 300), ("zarr", 40), ("ledger", 60)])
def test_damaged_files_are_read_right_or_refused_by_name(
    kind: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("zarr")
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "tools")
    verdict = importlib.import_module(f"fuzz_{kind}").verdict
    found = {number: verdict(tmp_path, number, 0) for number in range(count)}
    assert {number: told for number, told in found.items() if told[0] not in ("right", "refused")} == {}
    assert {told[0] for told in found.values()} == {"right", "refused"}, "test invalid"
