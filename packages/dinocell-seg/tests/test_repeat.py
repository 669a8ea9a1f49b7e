import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
from torch import nn
from typer.testing import CliRunner, Result

from dinocell_seg.cli import segment
from dinocell_seg.pipeline import ModelIdentity
from dinocell_seg.repeat import read_record


@pytest.fixture
def run(stand_in: nn.Module, monkeypatch: pytest.MonkeyPatch):
    def of_model(sha256: str, *words: str | Path) -> Result:
        identity = ModelIdentity("stand-in", sha256, None)
        monkeypatch.setattr("dinocell_seg.pipeline._loaded", lambda model, device: (stand_in, identity))
        app = typer.Typer(pretty_exceptions_enable=False)
        app.command()(segment)
        return CliRunner().invoke(app, [str(word) for word in words])

    return of_model


@pytest.fixture
def channels(three_discs: np.ndarray, tmp_path: Path) -> Path:
    """Two times of two channels; the discs are at t = 1 in ER alone."""
    empty = np.zeros_like(three_discs)
    frames = np.stack([np.stack([empty, empty]), np.stack([empty, three_discs])])
    tifffile.imwrite(tmp_path / "a.ome.tif", frames, metadata={"axes": "TCYX", "Channel": {"Name": ["DNA", "ER"]}})
    return tmp_path / "a.ome.tif"


FIRST = ["--channel", "ER", "--t", "1", "--tile", "64", "--overlap", "16", "--peak", "0.7", "--fill", "0.5"]


def test_the_record_of_a_result_repeats_it(run, channels: Path, tmp_path: Path) -> None:
    assert run("0" * 64, channels, "-o", tmp_path / "first", *FIRST).exit_code == 0
    record = tmp_path / "first" / "a_run.json"
    result = run("0" * 64, channels, "-o", tmp_path / "again", "--recipe", record)
    assert result.exit_code == 0, result.output
    for name in ("a_labels.tif", "a_cells.csv", "a_overlay.png"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()
    first, again = (json.loads((tmp_path / name / "a_run.json").read_text()) for name in ("first", "again"))
    assert first["result"]["num_cells"] == 3
    assert again["input"] == first["input"]
    assert again["settings"] == first["settings"] | {"precision": first["precision"]}


def test_options_count_more_than_the_record(run, channels: Path, tmp_path: Path) -> None:
    assert run("0" * 64, channels, "-o", tmp_path / "first", *FIRST).exit_code == 0
    words = ["--recipe", tmp_path / "first" / "a_run.json", "--channel", "0", "--peak", "0.6"]
    assert run("0" * 64, channels, "-o", tmp_path / "again", *words).exit_code == 0
    again = json.loads((tmp_path / "again" / "a_run.json").read_text())
    assert (again["input"]["channel_used"], again["input"]["t"]) == ("DNA", 1)
    assert (again["settings"]["thresholds"]["peak"], again["settings"]["thresholds"]["fill"]) == (0.6, 0.5)


def test_another_model_than_the_recorded_one_is_refused(run, channels: Path, tmp_path: Path) -> None:
    assert run("0" * 64, channels, "-o", tmp_path / "first", *FIRST).exit_code == 0
    result = run("1" * 64, channels, "-o", tmp_path / "again", "--recipe", tmp_path / "first" / "a_run.json")
    assert result.exit_code == 2
    assert f"a_run.json was made with a model of sha256 {'0' * 64}, but that of stand-in is {'1' * 64}" in result.stderr
    assert not (tmp_path / "again").exists()


def test_a_measured_precision_is_repeated_as_it_was_used(tmp_path: Path) -> None:
    record = tmp_path / "a_run.json"
    run = {
        "format": "dinocell-run",
        "format_version": 1,
        "input": {"channel_asked": None},
        "model": {"sha256": None},
        "settings": {"precision": "auto"},
        "precision": "bf16",
    }
    record.write_text(json.dumps(run))
    assert read_record(record).settings == {"precision": "bf16"}
    record.write_text(json.dumps(run | {"format_version": 2}))
    with pytest.raises(ValueError, match=r"has format_version 2, expected 1: another version.*give a NAME_run\.json"):
        read_record(record)
    record.write_text("{")
    with pytest.raises(ValueError, match=r"a_run\.json is not JSON .*it is damaged; give a NAME_run\.json"):
        read_record(record)
