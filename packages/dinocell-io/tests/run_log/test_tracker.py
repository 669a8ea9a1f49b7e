"""The log survives kills and resumes, holds no NaN, and says how it goes; Weights & Biases gets it offline."""

import io
import json
import math
import sys
import time

import pytest
from rich.console import Console

from dinocell_io import LogWarning, Tracker, WandbSettings, read_log


def quiet():
    return Console(file=io.StringIO(), width=200)


def lines_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_every_call_is_one_line_that_a_killed_run_leaves_behind(tmp_path):
    tracker = Tracker(tmp_path, config={}, num_steps=3, console=quiet())
    tracker.log({"step": 1, "loss": 2.5, "view": "mean_vs_single"})
    assert lines_of(tmp_path) == [{"step": 1, "loss": 2.5, "view": "mean_vs_single"}]  # nothing was closed
    tracker.__exit__(None, None, None)


def test_numbers_that_are_not_finite_become_null_and_are_named(tmp_path):
    with Tracker(tmp_path, config={}, num_steps=3, console=quiet()) as tracker:
        tracker.log({"step": 1, "loss": math.nan, "koleo": -math.inf, "dino": 1.0})
    assert lines_of(tmp_path) == [
        {"step": 1, "loss": None, "koleo": None, "dino": 1.0, "non_finite": {"loss": "nan", "koleo": "-inf"}}
    ]


def test_a_resumed_run_drops_later_lines_and_one_that_was_cut_short(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "lo')
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [1, 2, 3]
    with Tracker(tmp_path, config={}, num_steps=9, step=2, console=quiet()) as tracker:
        tracker.log({"step": 3, "loss": 0.5})
    assert lines_of(tmp_path) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 0.5}]


def test_a_new_run_starts_an_empty_log(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n')
    with Tracker(tmp_path, config={}, num_steps=9, console=quiet()):
        assert lines_of(tmp_path) == []


def test_a_log_damaged_in_its_middle_is_refused_and_kept(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"line 2 of .* is not a JSON object with a step: .* move it away"):
        Tracker(tmp_path, config={}, num_steps=9, step=3, console=quiet())
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 3


def test_a_full_disk_costs_lines_and_leaves_a_log_that_can_be_read(tmp_path, monkeypatch):
    class Full:
        """A file on a disk that has room for five more bytes, once."""

        def __init__(self, file):
            self.file, self.is_full = file, True

        def write(self, data):
            return self.file.write(data[:5] if self.is_full else data)

        def __getattr__(self, name):
            return getattr(self.file, name)

    with Tracker(tmp_path, config={}, num_steps=4, console=quiet()) as tracker:
        tracker.log({"step": 1, "loss": 1.0})
        full = tracker._file._file = Full(tracker._file._file)
        with pytest.warns(LogWarning, match=r"lines of .*log.jsonl are lost \(No space left on device\)"):
            tracker.log({"step": 2, "loss": 1.0})
        tracker.log({"step": 3, "loss": 1.0})  # a second warning would be an error here
        full.is_full = False
        tracker.log({"step": 4, "loss": 1.0})
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 4]


def test_values_without_a_step_are_refused(tmp_path):
    with (
        Tracker(tmp_path, config={}, num_steps=3, console=quiet()) as tracker,
        pytest.raises(ValueError, match="values to log have step=None; give the number of steps done"),
    ):
        tracker.log({"loss": 1.0})


def test_without_a_terminal_a_line_comes_at_intervals_and_at_the_end(tmp_path):
    console = quiet()
    with Tracker(tmp_path, config={}, num_steps=4, console=console, line_seconds=3600.0) as tracker:
        for step in range(1, 5):
            tracker.log({"step": step, "loss": 2.5, "images_per_second": 41.26, "data_wait": 0.031})
    lines = console.file.getvalue().split("\n")
    assert [line for line in lines if line] == [  # rich 13.9 ends with an empty one
        "step 1/4: loss 2.5000, 41.3 images/s, data wait 3%",
        "step 4/4: loss 2.5000, 41.3 images/s, data wait 3%",
    ]


def test_a_terminal_shows_a_bar_with_speed_memory_and_time_left(tmp_path):
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    with Tracker(tmp_path, config={}, num_steps=4, console=console) as tracker:
        tracker.log({"step": 3, "loss": 2.5, "images_per_second": 41.26, "data_wait": 0.25, "peak_memory_gb": 1.5})
    shown = console.file.getvalue()
    for part in ("3/4", "left", "loss 2.5000", "41.3 images/s", "data wait 25%", "1.50 GB"):
        assert part in shown


def test_missing_wandb_is_told_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"pip install wandb"):
        Tracker(tmp_path, config={}, num_steps=1, wandb=WandbSettings(project="p"), console=quiet())


class FakeWandb:
    """What wandb is asked; the real one is asked in the next test."""

    def __init__(self):
        self.calls = []
        self.Settings = dict
        self.log = lambda values: self.calls.append(("log", values))
        self.finish = lambda exit_code: self.calls.append(("finish", exit_code))
        self.define_metric = lambda name, step_metric: self.calls.append(("define_metric", name, step_metric))

    def init(self, **arguments):
        self.calls.append(("init", arguments["project"], arguments["mode"], arguments["id"], arguments["resume"]))
        return self


def test_wandb_gets_values_and_a_resumed_run_continues_it(tmp_path, monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    settings = WandbSettings(project="cells", mode="offline")
    with Tracker(tmp_path, config={}, num_steps=2, wandb=settings, console=quiet()) as tracker:
        tracker.log({"step": 1, "loss": 0.5})
    with (
        pytest.raises(KeyboardInterrupt),
        Tracker(tmp_path, config={}, num_steps=2, step=1, wandb=settings, console=quiet()),
    ):
        raise KeyboardInterrupt
    run_id = (tmp_path / "wandb_run_id").read_text()
    start = [("init", "cells", "offline", run_id, "allow"), ("define_metric", "*", "step")]
    assert fake.calls == [
        *start,
        ("log", {"step": 1, "loss": 0.5}),
        ("finish", 0),
        *start,
        ("finish", 1),
    ]


def test_a_run_of_wandb_that_breaks_costs_no_line_of_the_log(tmp_path, monkeypatch):
    class Broken(Exception):
        pass

    def fail(values):
        raise Broken("the service is gone")

    fake = FakeWandb()
    fake.log, fake.Error = fail, Broken
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with Tracker(tmp_path, config={}, num_steps=2, wandb=WandbSettings(project="p"), console=quiet()) as tracker:
        with pytest.warns(LogWarning, match=r"does not accept more values \(the service is gone\); training continues"):
            tracker.log({"step": 1, "loss": 0.5})
        tracker.log({"step": 2, "loss": 0.5})  # a second warning would be an error
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2]


@pytest.mark.slow
def test_an_offline_run_of_the_real_wandb_is_left_in_the_folder(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    settings = WandbSettings(project="cells", mode="offline")
    with Tracker(tmp_path, config={"size": "tiny"}, num_steps=1, wandb=settings, console=quiet()) as tracker:
        tracker.log({"step": 1, "koleo_of_this_test": 0.5})
    (written,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert written.name == f"run-{(tmp_path / 'wandb_run_id').read_text()}.wandb"
    patience = time.monotonic() + 60  # wandb's own process may write a moment after finish()
    while b"koleo_of_this_test" not in written.read_bytes() and time.monotonic() < patience:
        time.sleep(0.05)
    assert b"koleo_of_this_test" in written.read_bytes()
