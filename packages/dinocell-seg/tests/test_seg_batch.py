"""Runs that are stopped, repeated, or meet a folder that cannot be written: what is on the disk, and what is said."""

import csv
import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import typer
from rich.console import Console
from torch import nn
from typer.testing import CliRunner, Result

from dinocell_seg import DINOCellPipeline, segment_file
from dinocell_seg.batch import segment_files
from dinocell_seg.cli import segment
from dinocell_seg.inputs import NOT_TAKEN
from dinocell_seg.outcome_table import print_outcomes
from dinocell_seg.outcomes import Outcome, append_outcome, write_summary
from dinocell_seg.pipeline import ModelIdentity
from dinocell_seg.plane_choice import PlaneChoice
from dinocell_seg.segment import (
    OpenedImage,
    Segmentation,
    SegmentedFile,
    open_image_to_segment,
    segment_image,
    write_segmentation,
)


@pytest.fixture
def pipeline(stand_in: nn.Module) -> DINOCellPipeline:
    return DINOCellPipeline(stand_in, device="cpu", tile=64, overlap=16, thresholds={"peak": 0.7, "fill": 0.5})


@pytest.fixture
def images(tmp_path: Path, three_discs: np.ndarray) -> list[str]:
    paths = [tmp_path / f"{name}.tif" for name in "abc"]
    for path in paths:
        tifffile.imwrite(path, three_discs)
    return [str(path) for path in paths]


def test_memory_that_the_cpu_lacks_fails_one_image_and_a_bug_stops_all(
    pipeline: DINOCellPipeline, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dinocell_seg import batch

    problem = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 784000000 bytes"

    calls = iter(range(6))

    def segment(plane: Any, pipeline: DINOCellPipeline) -> Segmentation:
        if next(calls) in (1, 4):
            raise RuntimeError(problem)
        return segment_image(plane, pipeline)

    monkeypatch.setattr(batch, "segment_image", segment)
    outcomes = segment_files(images, tmp_path / "out", pipeline)
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert "can't allocate memory" in outcomes[1].message
    problem = "a bug"
    with pytest.raises(RuntimeError, match="a bug"):
        segment_files(images, tmp_path / "again", pipeline)


def run(monkeypatch: pytest.MonkeyPatch, stand_in: nn.Module, *words: str | Path) -> Result:
    identity = ModelIdentity("stand-in", "0" * 64, None)
    monkeypatch.setattr("dinocell_seg.pipeline._loaded", lambda model, device: (stand_in, identity))
    monkeypatch.setenv("COLUMNS", "80")
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(segment)
    return CliRunner().invoke(app, [str(word) for word in words])


def summary(output: Path) -> dict[str, str]:
    rows = csv.DictReader((output / "segment_summary.csv").read_text(encoding="utf-8").splitlines())
    return {Path(row["image"]).name: row["status"] for row in rows}


def test_two_runs_into_one_folder_share_its_summary(
    pipeline: DINOCellPipeline, images: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    segment_files(images[:2], output, pipeline)
    segment_files(images[2:], output, pipeline)
    assert summary(output) == {"a.tif": "done", "b.tif": "done", "c.tif": "done"}
    segment_files(images[1:2], output, pipeline, existing="skip")
    assert summary(output) == {"a.tif": "done", "b.tif": "skipped", "c.tif": "done"}


def test_a_summary_of_somebody_else_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "segment_summary.csv"
    path.write_bytes(b"\xff plate;well\n")
    write_summary(path, [Outcome("a.tif", "done", 3, 1.5)])
    assert path.read_text() == "image,status,num_cells,seconds,message\na.tif,done,3,1.500,\n"


def test_a_name_that_is_no_unicode_has_its_row(tmp_path: Path) -> None:
    write_summary(tmp_path / "segment_summary.csv", [Outcome(os.fsdecode(b"Z\xfcrich.tif"), "done", 3, 1.5)])
    assert (tmp_path / "segment_summary.csv").read_text(encoding="utf-8").splitlines()[1].startswith("Z\\udcfcrich.tif")


def test_an_interrupted_run_says_what_is_done_and_how_to_go_on(
    stand_in: nn.Module, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"

    segmented: list[object] = []

    def stopped_at_b(plane: np.ndarray, pipeline: DINOCellPipeline) -> Segmentation:
        segmented.append(plane)
        if len(segmented) == 2:
            raise KeyboardInterrupt
        return segment_image(plane, pipeline)

    monkeypatch.setattr("dinocell_seg.batch.segment_image", stopped_at_b)
    result = run(monkeypatch, stand_in, *images, "-o", output, "--tile", "64", "--overlap", "16")
    assert result.exit_code == 130
    assert "stopped after 1 of 3 images; the same command with --skip-existing continues" in result.stderr
    assert summary(output) == {"a.tif": "done"}


@pytest.mark.parametrize("large", [False, True])
def test_small_images_are_read_and_written_beside_the_model_and_large_ones_alone(
    pipeline: DINOCellPipeline, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    steps: list[str] = []
    second_is_open = threading.Event()

    def opening(uri: str, choice: PlaneChoice) -> OpenedImage:
        steps.append(f"read {Path(uri).stem}")
        if uri == images[1]:
            second_is_open.set()
        return open_image_to_segment(uri, choice)

    def writing(opened: OpenedImage, *arguments: Any, **options: Any) -> SegmentedFile:
        if not large:
            assert second_is_open.wait(60)
        steps.append(f"write {Path(opened.uri).stem}")
        return write_segmentation(opened, *arguments, **options)

    monkeypatch.setattr("dinocell_seg.batch.open_image_to_segment", opening)
    monkeypatch.setattr("dinocell_seg.batch.write_segmentation", writing)
    if large:
        monkeypatch.setattr("dinocell_seg.batch.LARGE_BYTES", 0)
    outcomes = segment_files(images, tmp_path / "out", pipeline)
    assert [(outcome.image, outcome.status) for outcome in outcomes] == [(image, "done") for image in images]
    if large:
        assert steps == ["read a", "write a", "read b", "write b", "read c", "write c"]
    else:
        assert steps.index("read b") < steps.index("write a")


def test_each_failed_image_is_told_in_its_place(
    pipeline: DINOCellPipeline, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(images[0]).write_bytes(b"no image")

    def full(opened: OpenedImage, *arguments: Any, **options: Any) -> SegmentedFile:
        if opened.uri == images[1]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_segmentation(opened, *arguments, **options)

    monkeypatch.setattr("dinocell_seg.batch.write_segmentation", full)
    outcomes = segment_files(images, tmp_path / "out", pipeline)
    assert [outcome.status for outcome in outcomes] == ["failed", "failed", "done"]
    assert "No space left" in outcomes[1].message


def test_a_disk_that_is_full_at_the_end_loses_no_outcome(
    stand_in: nn.Module, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, outcomes: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("dinocell_seg.outcomes.write_summary", full)
    result = run(monkeypatch, stand_in, *images, "-o", tmp_path / "out", "--tile", "64", "--overlap", "16")
    assert result.exit_code == 1
    assert "3 done" in result.stdout
    assert "segment_summary.csv was not written: [Errno 28] No space left on device" in result.stderr


@pytest.mark.parametrize("output", ["locked", "locked/new/deeper"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_model_is_loaded(
    stand_in: nn.Module, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    writable = os.access
    monkeypatch.setattr(
        "os.access", lambda path, mode: not (Path(path) == locked and mode & os.W_OK) and writable(path, mode)
    )
    result = run(monkeypatch, stand_in, *images, "-o", tmp_path / output)
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: --output {tmp_path / output}: the folder {locked} may not be written by this user; change its "
        "permissions, or give another folder\n"
    )
    assert not any(locked.iterdir())


def test_an_output_below_a_file_is_refused(
    stand_in: nn.Module, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(monkeypatch, stand_in, *images, "-o", Path(images[0]) / "out")
    assert result.exit_code == 2
    assert f"{images[0]} is a file; give a folder" in result.stderr


def test_a_result_that_is_made_again_and_stopped_is_not_taken_for_whole(
    pipeline: DINOCellPipeline, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    segment_file(images[0], output, pipeline, save_distance_map=True)
    assert json.loads((output / "a_run.json").read_text())["result"]["num_cells"] == 3

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dinocell_seg.segment.write_overlay", killed)
    with pytest.raises(KeyboardInterrupt):
        segment_file(images[0], output, pipeline)
    assert not (output / "a_run.json").exists()


def test_a_result_that_is_made_again_leaves_no_map_of_the_earlier_one(
    pipeline: DINOCellPipeline, images: list[str], tmp_path: Path
) -> None:
    segment_file(images[0], tmp_path / "out", pipeline, save_distance_map=True)
    assert (tmp_path / "out" / "a_distance_map.tif").exists()
    segment_file(images[0], tmp_path / "out", pipeline)
    assert not (tmp_path / "out" / "a_distance_map.tif").exists()


@pytest.mark.parametrize("killed_at", range(5))
def test_a_run_killed_while_it_withdraws_leaves_no_map_beside_new_labels(
    killed_at: int, pipeline: DINOCellPipeline, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    segment_file(images[0], output, pipeline, save_distance_map=True)
    removed: list[Path] = []

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if len(removed) == killed_at:
            raise KeyboardInterrupt
        removed.append(path)
        os.unlink(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(KeyboardInterrupt):
            segment_file(images[0], output, pipeline)
    assert (output / "a_run.json").exists() == (killed_at == 0)
    segment_file(images[0], output, pipeline)
    assert sorted(path.name for path in output.iterdir()) == [
        "a_cells.csv",
        "a_labels.tif",
        "a_overlay.png",
        "a_run.json",
    ]


def test_a_map_that_no_run_wrote_is_left_alone(pipeline: DINOCellPipeline, images: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    somebodys = tmp_path / "out" / "a_distance_map.tif"
    somebodys.write_bytes(b"drawn by hand")
    segment_file(images[0], tmp_path / "out", pipeline)
    assert somebodys.read_bytes() == b"drawn by hand"


def test_a_run_file_of_another_program_fails_its_image_only(
    pipeline: DINOCellPipeline, images: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    segment_files(images[:1], output, pipeline)
    (output / "a_run.json").write_text('{"sequencer": 7}')
    first, second = segment_files(images[:2], output, pipeline, existing="skip")
    assert (first.status, second.status) == ("failed", "done")
    assert "a_run.json is not a record of 'dinocell segment'; pass --overwrite" in first.message


def test_a_failure_names_its_image_once(
    stand_in: nn.Module, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(images[0]).write_bytes(b"")
    result = run(monkeypatch, stand_in, images[0], "-o", tmp_path / "out")
    assert f"failed: {images[0]} is empty" in result.stdout


def test_what_a_folder_leaves_out_is_told(
    stand_in: nn.Module, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stack.czi").touch()
    result = run(monkeypatch, stand_in, tmp_path, "-o", tmp_path / "out", "--tile", "64", "--overlap", "16")
    assert result.exit_code == 0
    assert "left out stack.czi: a folder stands for its .png, .jpg" in result.stdout
    assert "name such a file itself if 'dinocell info' reads it, else convert it" in result.stdout
    assert "3 done, 1 left out;" in result.stdout
    assert summary(tmp_path / "out")["stack.czi"] == "left out"


def test_the_row_of_a_file_that_was_left_out_stays_until_it_is_segmented(tmp_path: Path) -> None:
    path = tmp_path / "segment_summary.csv"
    write_summary(path, [Outcome("p/a.czi", "left out"), Outcome("p/b.gif", "left out"), Outcome("p/a.tif", "done", 3)])
    assert summary(tmp_path) == {"a.czi": "left out", "b.gif": "left out", "a.tif": "done"}
    write_summary(path, [Outcome("p/a.czi", "done", 5)])  # writes a_labels.tif anew
    assert summary(tmp_path) == {"a.czi": "done", "b.gif": "left out"}
    write_summary(path, [Outcome("p/a.czi", "left out"), Outcome("p/b.gif", "left out")])
    assert summary(tmp_path) == {"a.czi": "done", "b.gif": "left out"}


def test_of_many_files_left_out_the_first_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [Outcome(f"{n}.gif", "left out", message=NOT_TAKEN) for n in range(7)]
    outcomes.append(Outcome("s3://bucket/plate.zarr/A/1/0", "done", 0))
    print_outcomes(Console(width=100), [*outcomes, Outcome("a_masks.tif", "left out", message="labels")], Path("out"))
    printed = capsys.readouterr().out
    assert "left out 0.gif, 1.gif, 2.gif, 3.gif, 4.gif and 2 more: a folder stands for" in printed
    assert "left out a_masks.tif: labels" in printed
    assert "plate.zarr/A/1/0" in printed
    assert "1 done, 8 left out; 0 cells" in printed


def test_a_long_name_is_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcomes(Console(width=80), [Outcome(f"{'a' * 60}{'b' * 60}.tif", "done", 1)], Path("out"))
    printed = capsys.readouterr().out
    assert printed.count("a") >= 60
    assert printed.count("b") == 60


def test_a_long_list_says_how_many_rows_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcomes(Console(width=100), [Outcome(f"{n}.tif", "done", 1) for n in range(43)], Path("out"))
    printed = capsys.readouterr().out
    assert "39.tif" in printed
    assert "40.tif" not in printed
    assert "and 3 more" in printed


def _add_rows(folder: Path, name: str) -> None:
    for number in range(20):
        append_outcome(folder / "segment_summary.csv", Outcome(f"{name}{number}.tif", "done", 1))
    write_summary(folder / "segment_summary.csv", [Outcome(f"{name}{number}.tif", "done", 1) for number in range(20)])


def test_several_runs_that_write_into_one_folder_lose_no_row(tmp_path: Path) -> None:
    threads = [threading.Thread(target=_add_rows, args=(tmp_path, name)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(summary(tmp_path)) == 80
    assert len((tmp_path / "segment_summary.csv").read_text().splitlines()) == 81


def test_a_row_that_a_kill_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "segment_summary.csv"
    append_outcome(path, Outcome("a.tif", "done", 3))
    path.write_bytes(path.read_bytes() + b"b.tif,do")
    append_outcome(path, Outcome("c.tif", "done", 3))
    write_summary(path, [])
    assert summary(tmp_path) == {"a.tif": "done", "c.tif": "done"}


def test_a_result_that_is_kept_keeps_its_row(
    pipeline: DINOCellPipeline, images: list[str], tmp_path: Path, stand_in: nn.Module
) -> None:
    output = tmp_path / "out"
    segment_files(images, output, pipeline)
    other = DINOCellPipeline(stand_in, device="cpu", tile=64, overlap=16, thresholds={"peak": 0.9, "fill": 0.5})
    (output / "c_cells.csv").unlink()
    outcomes = segment_files(images, output, other, existing="skip")
    assert [outcome.status for outcome in outcomes] == ["failed"] * 3
    assert "has other settings" in outcomes[0].message
    assert summary(output) == {"a.tif": "done", "b.tif": "done", "c.tif": "failed"}  # c is not whole
