"""`dinocell doctor --parity` with the CPU in the place of the GPU."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from dinocell import parity as parity_module
from dinocell.doctor import doctor, driver_and_runtime
from dinocell.parity import DeviceRun, Parity, check_parity, compare
from dinocell_io import simulate_field, write_labels


def some_run() -> DeviceRun:
    labels = np.array([[0, 1, 1], [2, 2, 0]], np.int32)
    heights = np.where(labels > 0, np.float32(0.7), np.float32(0))
    return DeviceRun("cpu", heights, labels, labels, heights, {"map": 0.2, "labels": 0.001})


def changed(array: np.ndarray, by: float) -> np.ndarray:
    array = array.copy()
    array[0, 1] += by
    return array


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parity") / "plane.tif"
    pixels = simulate_field((96, 96), num_cells=6, channels=("DNA",), seed=1).image.pixels[0]
    write_labels(path, pixels)  # any integer plane is a readable TIFF
    return path


@pytest.fixture(scope="module")
def on_the_cpu_twice(image: Path) -> Parity:
    return check_parity(image, second="cpu")


def test_a_device_agrees_with_itself(on_the_cpu_twice: Parity) -> None:
    assert on_the_cpu_twice.first.labels.max() > 0
    assert on_the_cpu_twice.kernels_agree
    assert on_the_cpu_twice.maps_agree
    assert on_the_cpu_twice.label_pixels_that_differ == 0


def test_the_report_has_both_devices_their_cells_and_times(on_the_cpu_twice: Parity) -> None:
    text = "\n".join(on_the_cpu_twice.lines())
    cells = str(on_the_cpu_twice.first.labels.max())
    assert text.splitlines()[1].split() == ["cells", cells, cells]
    for part in ("map, ms", "labels, ms", "distances of labels, ms", "0 of 9216 pixels differ (expected: none)"):
        assert part in text


def test_every_kind_of_difference_is_counted() -> None:
    first = some_run()
    worse_map = compare(first, replace(first, distance_map=changed(first.distance_map, 0.01)))
    assert not worse_map.maps_agree
    assert worse_map.kernels_agree
    other_labels = compare(first, replace(first, labels=changed(first.labels, 5)))
    assert other_labels.label_pixels_that_differ == 1
    assert other_labels.kernels_agree  # of other maps
    assert not compare(first, replace(first, labels_of_first=changed(first.labels, 5))).kernels_agree
    assert not compare(first, replace(first, distances_of_first=changed(first.distance_map, 1e-7))).kernels_agree


def run_doctor(image: Path) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(doctor)
    result = CliRunner().invoke(app, ["--parity", str(image)])
    return result.exit_code, result.output


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_the_command_says_so_and_fails(image: Path) -> None:
    code, output = run_doctor(image)
    assert code == 1
    assert "there is no GPU to compare with" in output


@pytest.mark.parametrize(("differs", "expected"), [(False, 0), (True, 1)])
def test_the_exit_code_tells_whether_the_devices_agree(
    differs: bool, expected: int, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = some_run()
    second = replace(first, labels_of_first=changed(first.labels, 5)) if differs else first
    monkeypatch.setattr(parity_module, "check_parity", lambda image: compare(first, second))
    code, output = run_doctor(image)
    assert code == expected
    assert "labels of one map:" in output


@pytest.mark.parametrize(
    ("driver", "status", "found"),
    [
        (0, "ok", "built with CUDA 13.0, no driver on this machine"),
        (12080, "note", "built with CUDA 13.0, the driver supports 12.8"),
        (13000, "ok", "built with CUDA 13.0, the driver supports 13.0"),
        (14010, "ok", "built with CUDA 13.0, the driver supports 14.1"),
    ],
)
def test_a_driver_older_than_the_kernels_is_noted_with_what_to_do(driver: int, status: str, found: str) -> None:
    finding = driver_and_runtime(driver=driver, runtime=13000)
    assert (finding.status, finding.found) == (status, found)
    assert ("update the driver" in finding.fix) == (status == "note")
