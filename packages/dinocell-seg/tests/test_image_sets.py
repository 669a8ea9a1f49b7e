"""A batch of the files of a set: each image once, under the name of a file that holds it."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from torch import nn

from dinocell_seg import DINOCellPipeline
from dinocell_seg.batch import segment_files
from dinocell_seg.outcomes import Outcome

HEAD = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'


def described(name: str, files: list[str], size: tuple[int, ...]) -> str:
    """One image with a z plane in each of the files."""
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{file}">urn:uuid:{file}</UUID></TiffData>'
        for z, file in enumerate(files)
    )
    return (
        f'<Image ID="Image:{name}" Name="{name}"><Pixels ID="Pixels:{name}" DimensionOrder="XYCZT" Type="uint16" '
        f'SizeX="{size[1]}" SizeY="{size[0]}" SizeZ="{len(files)}" SizeC="1" SizeT="1">'
        f'<Channel ID="Channel:{name}:0"/>{planes}</Pixels></Image>'
    )


def write(path: Path, pixels: np.ndarray, images: str) -> str:
    text = f'{HEAD} UUID="urn:uuid:{path.name}">{images}</OME>'
    tifffile.imwrite(path, pixels, description=text, metadata=None, photometric=1)
    return str(path)


@pytest.fixture
def pipeline(stand_in: nn.Module) -> DINOCellPipeline:
    return DINOCellPipeline(stand_in, device="cpu", tile=64, overlap=16, thresholds={"peak": 0.7, "fill": 0.5})


@pytest.fixture
def plate(tmp_path: Path, three_discs: np.ndarray) -> list[str]:
    """Three wells in three files: one with three cells, two empty ones."""
    size = three_discs.shape
    images = "".join(described(well, [f"{well}.ome.tif"], size) for well in ("A1", "A2", "A3"))
    contents = {"A1": three_discs, "A2": np.zeros_like(three_discs), "A3": np.zeros_like(three_discs)}
    return [write(tmp_path / f"{well}.ome.tif", pixels, images) for well, pixels in contents.items()]


def test_each_file_of_a_set_gives_the_cells_of_its_own_well(
    pipeline: DINOCellPipeline, plate: list[str], tmp_path: Path
) -> None:
    outcomes = segment_files(plate, tmp_path / "out", pipeline)
    assert [(outcome.status, outcome.num_cells) for outcome in outcomes] == [("done", 3), ("done", 0), ("done", 0)]


def test_a_scene_is_not_segmented_under_the_name_of_a_file_that_does_not_hold_it(
    pipeline: DINOCellPipeline, plate: list[str], tmp_path: Path
) -> None:
    for number, scene in enumerate(("A1", "0", 0)):
        outcomes = segment_files(plate, tmp_path / f"out{number}", pipeline, scene=scene)
        assert [outcome.status for outcome in outcomes] == ["done", "failed", "failed"]
        assert f"does not hold scene {scene}, whose pixels are in {plate[0]}" in outcomes[1].message
        assert not list((tmp_path / f"out{number}").glob("A2*"))


def test_an_image_of_several_files_is_segmented_once(
    pipeline: DINOCellPipeline, tmp_path: Path, three_discs: np.ndarray
) -> None:
    names = ["z0.ome.tif", "z1.ome.tif"]
    images = described("stack", names, three_discs.shape)
    files = [write(tmp_path / name, three_discs * z, images) for z, name in enumerate(names)]
    lone = tmp_path / "lone.tif"
    tifffile.imwrite(lone, three_discs)
    outcomes = segment_files([*files, str(lone)], tmp_path / "out", pipeline, z=1, existing="overwrite")
    reason = f"it holds further planes of the image in {files[0]}, which is segmented once"
    assert outcomes[0] == Outcome(files[1], "left out", message=reason)
    assert [(outcome.image, outcome.num_cells) for outcome in outcomes[1:2]] == [(files[0], 3)]
    run = json.loads((tmp_path / "out" / "z0_run.json").read_text())
    assert sorted(run["input"]["files"]) == names
    again = segment_files(files, tmp_path / "out", pipeline, z=1, existing="skip")
    assert [outcome.status for outcome in again] == ["left out", "skipped"]
    write(tmp_path / names[1], np.zeros_like(three_discs), images)
    changed = segment_files(files, tmp_path / "out", pipeline, z=1, existing="skip")
    assert changed[1].status == "failed"
    assert "has other further files" in changed[1].message


def test_an_orientation_tag_is_in_the_record_and_the_summary(
    pipeline: DINOCellPipeline, tmp_path: Path, three_discs: np.ndarray
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", three_discs, metadata=None, extratags=[(274, 3, 1, 4, True)])
    (outcome,) = segment_files([str(tmp_path / "a.tif")], tmp_path / "out", pipeline)
    assert outcome.num_cells == 3
    assert outcome.message.startswith("its orientation tag (4) is not applied")
    run = json.loads((tmp_path / "out" / "a_run.json").read_text())
    assert run["input"]["notes"] == [outcome.message]
    labels = tifffile.imread(tmp_path / "out" / "a_labels.tif")
    assert (labels[three_discs == three_discs.max()] > 0).mean() > 0.5
