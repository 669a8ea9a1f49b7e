"""The embedded model: what its manifest promises, and what it does on images nobody trained it on."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from dinocell_core import file_sha256, read_model_metadata
from dinocell_eval import evaluate
from dinocell_io import grey_image, open_dataset, read_image, read_labels, simulate_field
from dinocell_seg import DINOCellPipeline
from dinocell_seg.pipeline import default_model_path

MANIFEST = json.loads((default_model_path().parent / "manifest.json").read_text())["default.safetensors"]
DATA = os.environ.get("DINOCELL_DATA")


@pytest.fixture(scope="module")
def pipeline() -> DINOCellPipeline:
    return DINOCellPipeline(device="cpu", precision="fp32")


def test_the_manifest_names_the_file_by_its_hash_and_stays_under_25_mb():
    path = default_model_path()
    assert file_sha256(path) == MANIFEST["sha256"]
    assert path.stat().st_size == MANIFEST["size_bytes"] < 25_000_000


def test_manifest_and_model_file_tell_the_same_licences_and_thresholds():
    metadata = read_model_metadata(default_model_path())
    assert metadata["licence"] == MANIFEST["licence"] == "MIT"
    assert metadata["training_data"] == MANIFEST["training_data"]
    assert {data["licence"] for data in metadata["training_data"]} <= {"CC0-1.0", "MIT"}
    assert metadata["thresholds"] == MANIFEST["thresholds"]
    assert metadata["calibration"]["split"] == "val"


def test_the_manifest_tells_the_average_of_which_stages_the_last_one_started_from():
    assert MANIFEST["averaged_stages"] == read_model_metadata(default_model_path())["averaged_stages"]
    assert set(map(int, MANIFEST["averaged_stages"])) <= set(range(1, len(MANIFEST["recipes"]) + 1))


def test_the_manifest_holds_the_recipe_and_seed_of_every_stage():
    assert [recipe["seed"] for recipe in MANIFEST["recipes"]] == [2026, 2027, 2028, 2029, 2030, 2031, 2035]
    assert MANIFEST["recipes"][-1] == read_model_metadata(default_model_path())["recipe"]


def test_the_model_file_tells_no_path_of_the_machine_it_was_trained_on():
    assert "/" not in json.dumps(read_model_metadata(default_model_path())["recipe"]["network"]).replace(
        "runs/default/average.safetensors", ""
    )


def test_simulated_touching_nuclei_are_found_one_by_one(pipeline):
    field = simulate_field((256, 256), channels=("DNA",), num_cells=50, diameter_px=32, nucleus_fraction=0.9, seed=7)
    scores = evaluate([field.nuclei_labels], [pipeline.run(field.image)]).pooled
    assert scores["det"] > 0.9
    assert scores["seg"] > 0.8


def test_bright_and_dark_copies_of_a_field_give_the_same_cells(pipeline):
    field = simulate_field((128, 128), channels=("DNA",), num_cells=12, diameter_px=32, nucleus_fraction=0.9, seed=2)
    plane = field.image.pixels[0]
    dim = (plane // 4 + 100).astype(np.uint16)
    scores = evaluate([pipeline.run(plane)], [pipeline.run(dim)]).pooled
    assert scores["ap_0.50"] > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_images_of_noise_alone_have_no_cells(pipeline, seed):
    rng = np.random.default_rng(seed)
    assert pipeline.run(rng.normal(1000, 30, (256, 256)).astype(np.float32)).max() == 0
    assert pipeline.run(rng.poisson(20, (256, 256)).astype(np.uint16)).max() == 0
    assert pipeline.run(rng.normal(0, 1, (200, 300)).astype(np.float32)).max() == 0


@pytest.mark.real_data
@pytest.mark.skipif(DATA is None, reason="needs real images: set DINOCELL_DATA to the folder of the image sets")
def test_real_fluorescence_images_of_the_validation_split_are_segmented_well(pipeline):
    samples = [s for s in open_dataset(Path(DATA) / "dsb2018") if s.split == "val" and s.modality == "fluorescence"]
    small = [sample for sample in samples if read_labels(sample.labels_path).size <= 256 * 256][:12]
    truths = [read_labels(sample.labels_path) for sample in small]
    predictions = [pipeline.run(grey_image(read_image(sample.image_path))) for sample in small]
    means = evaluate(truths, predictions).per_image_mean
    assert means["ap_0.50"] > 0.75
    assert means["seg"] > 0.7
