"""Two commands in a row: what `dinocell segment` writes is what `dinocell eval` reads."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dinocell.main import build_app
from dinocell_io import open_dataset, read_labels, simulate_field, write_image, write_labels


def run(*words: object) -> str:
    arguments = [str(word) for word in words]
    result = CliRunner().invoke(build_app(arguments), arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for seed in range(2):
        field = simulate_field((160, 192), num_cells=9, channels=("DNA",), seed=seed)
        write_image(tmp_path / "images" / f"field{seed}.tif", field.image)
        write_labels(tmp_path / "masks" / f"field{seed}.tif", np.asarray(field.labels))
    return tmp_path


def test_segmented_images_are_evaluated_without_renaming_a_file(dataset: Path) -> None:
    run("segment", dataset / "images", "--output", dataset / "out", "--save-distance-map")
    assert any(path.name.endswith("_overlay.png") for path in (dataset / "out").iterdir()), "test invalid"
    output = run("eval", dataset / "masks", dataset / "out", "--output", dataset / "report", "--images",
                 dataset / "images")  # fmt: skip
    assert "2 images" in output
    summary = json.loads((dataset / "report" / "summary.json").read_text())
    predicted = [read_labels(dataset / "out" / f"{sample.name}_labels.tif") for sample in open_dataset(dataset)]
    assert summary["counts"]["n_predicted"] == sum(np.unique(labels[labels > 0]).size for labels in predicted)
    assert summary["counts"]["n_truth"] == sum(
        int(read_labels(path).max()) for path in sorted((dataset / "masks").iterdir())
    )
    assert summary["metrics"]["seg"]["pooled"] is not None
    assert (dataset / "report" / "report.html").exists()


def test_saved_distance_maps_are_swept(dataset: Path) -> None:
    run("segment", dataset / "images", "--output", dataset / "out", "--save-distance-map")
    output = run("eval-sweep", dataset / "masks", dataset / "out", "--output", dataset / "sweep", "--peak", 0.4,
                 "--peak", 0.5, "--fill", 0.1)  # fmt: skip
    assert "their scores are not a result" in output
    assert json.loads((dataset / "sweep" / "sweep.json").read_text())["images"] == ["field0", "field1"]
