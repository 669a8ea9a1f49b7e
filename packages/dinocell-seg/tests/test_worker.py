"""A worker process that crashes, is killed, or never begins: one image fails, and the batch goes on."""

import contextlib
import csv
import importlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import tifffile

import dinocell_seg.worker as worker
from dinocell_seg.outcomes import Outcome
from dinocell_seg.segment_request import SegmentRequest
from dinocell_seg.worker import WorkerBatch

REAL_WORKER = WorkerBatch  # before the tests' conftest puts another in its place


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))  # a worker process has the same path


def fatal(name: str) -> Callable[[Connection, SegmentRequest], None]:
    serve: Callable[[Connection, SegmentRequest], None] = getattr(importlib.import_module("fatal_workers"), name)
    return serve


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Five images, 0.tif to 4.tif; the largest intensity of each is its number."""
    paths = [tmp_path / f"{number}.tif" for number in range(5)]
    for number, path in enumerate(paths):
        tifffile.imwrite(path, np.pad(np.full((8, 8), number, np.uint8), 12))
    return [str(path) for path in paths]


@contextlib.contextmanager
def started(serve: str, output: Path) -> Iterator[WorkerBatch]:
    output.mkdir(exist_ok=True)
    batch = REAL_WORKER(SegmentRequest(output, device="cpu", options={"tile": 64, "overlap": 16}), serve=fatal(serve))
    try:
        batch.start()
        yield batch
    finally:
        batch.stop()
        assert batch._process is None


def run(serve: str, images: list[str], output: Path) -> list[Outcome]:
    with started(serve, output) as batch:
        return batch.segment(images, left_out={}, report=lambda outcome: None)


def rows(output: Path) -> list[tuple[str, str]]:
    table = csv.DictReader((output / "segment_summary.csv").read_text().splitlines())
    return [(Path(row["image"]).name, row["status"]) for row in table]


@pytest.mark.slow
@pytest.mark.parametrize("serve", ["crash_at_2", "crash_while_reading"])
def test_an_image_that_crashes_the_worker_fails_alone_and_is_named(
    serve: str, images: list[str], tmp_path: Path
) -> None:
    outcomes = run(serve, images, tmp_path / "out")
    assert [outcome.image for outcome in outcomes] == images
    assert [outcome.status for outcome in outcomes] == ["done", "done", "failed", "done", "done"]
    expected = "the worker process died (signal 11: segmentation fault), twice with this image"
    assert outcomes[2].message == expected
    assert rows(tmp_path / "out")[2] == ("2.tif", "failed")
    assert len(rows(tmp_path / "out")) == 5
    assert not (tmp_path / "out" / "2_run.json").exists()
    assert (tmp_path / "out" / "4_run.json").exists()


@pytest.mark.slow
def test_an_image_with_which_the_worker_was_killed_once_is_tried_again(images: list[str], tmp_path: Path) -> None:
    outcomes = run("crash_once", images, tmp_path / "out")
    assert (tmp_path / "out" / "crashed").exists(), "test invalid"
    assert [outcome.status for outcome in outcomes] == ["done"] * 5


@pytest.mark.slow
def test_a_batch_of_which_every_image_is_fatal_ends(images: list[str], tmp_path: Path) -> None:
    outcomes = run("crash_always", images[:2], tmp_path / "out")
    assert [outcome.status for outcome in outcomes] == ["failed"] * 2
    assert "signal 9: killed; the system ends processes so when memory runs out" in outcomes[0].message


@pytest.mark.slow
def test_an_error_that_nobody_expected_fails_its_image_only(
    images: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcomes = run("bug_at_2", images[1:4], tmp_path / "out")
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert "exit code 1; its error is above" in outcomes[1].message
    assert "AssertionError: a bug" in capfd.readouterr().err


@pytest.mark.slow
def test_a_file_that_kills_the_worker_when_it_is_looked_at_hides_no_set(images: list[str], tmp_path: Path) -> None:
    outcomes = {Path(one.image).name: one for one in run("crash_when_looked_at", images, tmp_path / "out")}
    assert outcomes["3.tif"].status == "left out"
    assert outcomes["3.tif"].message == "part of 0.tif"
    assert [outcomes[f"{number}.tif"].status for number in (0, 1, 4)] == ["done"] * 3


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_starts_again_is_started_once_more(images: list[str], tmp_path: Path) -> None:
    outcomes = run("die_at_the_second_start", images[:4], tmp_path / "out")
    assert [outcome.status for outcome in outcomes] == ["done", "done", "failed", "done"]


@pytest.mark.slow
def test_where_no_worker_can_be_started_again_the_rest_has_failed(images: list[str], tmp_path: Path) -> None:
    outcomes = run("die_at_every_start_but_the_first", images, tmp_path / "out")
    assert [Path(outcome.image).name for outcome in outcomes] == [f"{number}.tif" for number in range(5)]
    assert outcomes[0].status == "done"  # 1.tif may still have been in the worker's hands
    assert {outcome.status for outcome in outcomes[2:]} == {"failed"}
    assert "signal 9: killed" in outcomes[4].message
    assert (tmp_path / "starts").read_text().count("start") == 3


def test_a_worker_that_dies_at_its_start_is_told_once(images: list[str], tmp_path: Path) -> None:
    with (
        pytest.raises(ChildProcessError, match=r"\(signal 11: segmentation fault\), before it began with an image"),
        started("die_at_start", tmp_path / "out"),
    ):
        pass
    assert (tmp_path / "starts").read_text() == "start\n"


def test_a_request_that_cannot_be_is_refused_with_the_reason(tmp_path: Path) -> None:
    request = SegmentRequest(tmp_path / "out", preset="cellpose")
    batch = REAL_WORKER(request)
    with pytest.raises(ValueError, match="there is no preset 'cellpose'; known are samcell"):
        batch.start()
    assert batch._process is None


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_signal_ends_command_and_worker_and_the_finished_images_stay_in_the_summary(
    tmp_path: Path, number: int, exit_code: int
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(200):
        tifffile.imwrite(folder / f"{index:03}.tif", np.zeros((256, 256), np.uint8) + index % 7)
    output = tmp_path / "out"
    code = "from dinocell.main import main; main()"
    words = ["segment", str(folder), "-o", str(output), "--device", "cpu"]
    process = subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        while not (output / "segment_summary.csv").exists() or len(rows(output)) < 3:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        workers = children(process.pid)
        assert workers, "test invalid"
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == exit_code
    finished = [name for name, status in rows(output) if status == "done"]
    assert 3 <= len(finished) < 200
    assert all((output / f"{Path(name).stem}_run.json").exists() for name in finished)
    if number != signal.SIGKILL:
        assert f"stopped after {len(finished)} of 200 images" in error.decode()
        assert not list(output.glob(".*.partial*"))
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "the worker outlives its parent"
        time.sleep(0.1)


def test_the_process_that_hands_out_images_does_not_load_torch() -> None:
    code = (
        "import sys, dinocell_seg.worker, dinocell_seg.inputs, dinocell_seg.outcome_table; "
        "assert 'torch' not in sys.modules and 'dinocell_kernels' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_causes_of_death_are_told_in_words() -> None:
    assert worker._told(-11) == "signal 11: segmentation fault"
    assert worker._told(3) == "exit code 3; its error is above"
