"""The kernel benchmarks at 512 x 512: their comparisons hold and are recorded, and --check guards the ratios.

Times gate nothing here. What was measured goes to runs/kernel_ratios.json and into pytest's output (-rA shows it).
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "runs" / "kernel_ratios.json"
ALWAYS = {
    "distance_map 512": "edt + numpy.maximum.at",
    "watershed 512": "scikit-image",
    "watershed confluent 512": "scikit-image",
}
KERNELS = ("distance_map", "watershed", "connected_components", "relabel", "label_overlap", "tiles")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="benchmarks/ is beside csrc/ in a checkout"),
]


def run_benchmarks(*arguments: str | Path, kernels: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    files = [ROOT / "benchmarks" / f"bench_{kernel}.py" for kernel in kernels]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--quick", *files, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One run over all kernels, and the folder of the baselines it recorded."""
    baselines = tmp_path_factory.mktemp("baselines")
    return run_benchmarks("--record", "--baselines", baselines, "--results", RESULTS, kernels=KERNELS), baselines


def baseline_of(folder: Path) -> tuple[Path, dict[str, float]]:
    (path,) = folder.iterdir()
    return path, json.loads(path.read_text())


def test_kernels_agree_with_other_libraries_and_the_ratios_are_recorded(quick):
    run, _ = quick
    assert run.returncode == 0, run.stdout + run.stderr
    sys.stdout.write(run.stdout)
    kernels = json.loads(RESULTS.read_text())["kernels"]
    for name, rival in ALWAYS.items():
        assert kernels[name]["times_longer"][rival] > 0
        assert kernels[name]["percent_of_memcpy"] > 0


def test_the_table_shows_ratios_and_the_share_of_memcpy_speed(quick):
    run, _ = quick
    assert "| kernel | ours, ms | % of memcpy | against, times longer |" in run.stdout
    assert "| watershed 512 |" in run.stdout


def test_baselines_are_kept_by_cpu(quick):
    _, folder = quick
    path, ratios = baseline_of(folder)
    assert path.stem == json.loads(RESULTS.read_text())["cpu"]
    assert set(ratios) >= {f"{name} vs {rival}" for name, rival in ALWAYS.items()}


@pytest.mark.parametrize(("factor", "returncode"), [(0.01, 0), (100, 1)])
def test_check_fails_if_and_only_if_a_ratio_fell_far_below_its_baseline(quick, tmp_path, factor, returncode):
    path, ratios = baseline_of(quick[1])
    (tmp_path / path.name).write_text(json.dumps({name: factor * ratio for name, ratio in ratios.items()}))
    run = run_benchmarks("--check", "--baselines", tmp_path, kernels=("distance_map",))
    assert run.returncode == returncode, run.stdout + run.stderr
    message = "slower than the baseline:\ndistance_map 512 vs edt + numpy.maximum.at is "
    assert (message in run.stdout) == (returncode == 1)


@pytest.fixture
def contest(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("contest")


def test_a_cpu_without_a_baseline_is_told_how_to_record_one(contest, tmp_path):
    (message,) = contest.losses({"kernel 512 vs library": 10.0}, folder=tmp_path)
    assert message.startswith("no baseline for this CPU; record one with --record")


def test_a_ratio_may_fall_by_a_quarter_but_not_by_more(contest, tmp_path):
    contest.record({"kernel 512 vs library": 10.0}, folder=tmp_path)
    assert contest.losses({"kernel 512 vs library": 7.51}, folder=tmp_path) == []
    assert contest.losses({"kernel 512 vs library": 7.49}, folder=tmp_path) == [
        "kernel 512 vs library is 7.49x, its baseline 10.00x"
    ]
