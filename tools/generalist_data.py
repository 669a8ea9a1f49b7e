"""The labelled sets of a generalist, made ready: test images left out, something held out of each set for validation.

    python tools/generalist_data.py SHARED --output runs/generalist/data

SHARED holds `dsb2018/`, `usiigaci_phase/` and `general/`. Each set becomes a dataset folder under --output whose images
and masks are links and whose splits.csv holds 'train' and 'val' alone. A set without validation images, or whose
validation images hold no cell, gives its smallest group of fields (its last image, if it has one group) to validation.
The one field of codex_expert_murphy is cut in two, and each of its three channels and their mean is an image.
The set `simulated` is drawn by dinocell_io.simulate_field: kinds of which there are few real images.

Not used: bbbc010_worms (worms are not cells).
"""

import argparse
import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from dinocell_io import Sample, open_dataset, read_labels, simulate_field, write_labels

LICENCES = {
    "dsb2018": "CC0 1.0",
    "usiigaci_phase": "MIT",
    "aitslab_cells": "CC BY 4.0",
    "aitslab_nuclei": "CC BY 4.0",
    "dsb2018_stage1_test": "CC0 1.0",
    "kromp_gnb_tissue": "CC0 1.0",
    "codex_expert_murphy": "MIT",
    "cellbindb_demo": "MIT, data CC0 1.0",
    "fnc_neurons_fluo": "Apache-2.0, data CC BY 4.0",
    "mdck_zo1_jahn": "MIT",
    "rbc_chula_derived": "MIT",
    "bubil_phase_single": "BSD-4-Clause",
    "cellaap_hela_dic": "MIT",
    "bbbc009_rbc_dic": "CC0 1.0",
    "ecoli_trpL_phase": "BSD-3-Clause",
    "ecoli_colicoords": "MIT",
    "baby_yeast_bf": "MIT",
    "pfc_neuron_bf": "CC0 1.0",
}
TOP_LEVEL = ("dsb2018", "usiigaci_phase")
CODEX = "codex_expert_murphy"
CODEX_COLUMNS = {"train": slice(0, 1000), "val": slice(1040, 1344)}  # between them no cell is in both
SIMULATED = "simulated"
NUM_SIMULATED = 120  # fields; each is an image in two channels
# Cells of these shapes are seen in these channels; of a field of round cells, DNA shows the nuclei.
SHAPES = {
    "round": ("DNA", "ER", "AGP", "RNA", "Mito", "Membrane", "Phase", "DIC", "Brightfield", "Absorbing"),
    "rods": ("ER", "Phase", "Brightfield", "DIC"),
    "yeast": ("ER", "Phase", "Brightfield", "DIC"),
    "blood": ("Absorbing", "DIC", "Brightfield", "Phase"),
    "spread": ("ER", "AGP", "RNA", "Mito", "Phase", "DIC", "Brightfield"),
    "tissue": ("DNA", "ER", "AGP", "Membrane", "Absorbing", "DIC"),
}
COLUMNS = ("name", "split", "field_group", "modality", "labels")


def prepare(shared: Path, output: Path) -> list[Path]:
    """Write the folders, those that are there already anew, and return them."""
    folders = []
    for name in LICENCES:
        source = shared / name if name in TOP_LEVEL else shared / "general" / name
        folder = output / name
        shutil.rmtree(folder, ignore_errors=True)
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True)
        rows = _codex(source, folder) if name == CODEX else _linked(open_dataset(source), folder)
        _write_splits(folder, rows)
        folders.append(folder)
    return [*folders, simulate(output / SIMULATED)]


def _write_splits(folder: Path, rows: list[tuple[str | None, ...]]) -> None:
    with (folder / "splits.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def simulate(folder: Path, *, side: int = 320) -> Path:
    """Write a set of simulated fields, the same bits every time; every tenth field validates."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rows = []
    for seed in range(NUM_SIMULATED):
        rng = np.random.default_rng((2026, seed))
        shape = list(SHAPES)[seed % len(SHAPES)]
        channels = tuple(str(name) for name in rng.choice(SHAPES[shape], 2, replace=False))
        diameter_px = float(np.exp(rng.uniform(np.log(14), np.log(45))))
        room = (side / diameter_px) ** 2
        field = simulate_field(
            (side, side),
            num_cells=max(3, round(room * (rng.uniform(0.8, 1.2) if shape == "tissue" else rng.uniform(0.08, 0.45)))),
            channels=channels,
            cell_shape=shape,
            diameter_px=diameter_px,
            touching=float(rng.uniform(0, 0.9)),
            nucleus_fraction=float(rng.uniform(0.4, 0.8)),
            psf_sigma_px=float(rng.uniform(0.7, 2)),
            photons=float(np.exp(rng.uniform(np.log(30), np.log(1000)))),
            gradient=float(rng.uniform(0, 0.5)),
            seed=seed,
        )
        for channel, pixels in zip(channels, field.image.pixels, strict=True):
            name = f"{shape}_{seed:03d}_{channel}"
            Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
            write_labels(folder / "masks" / f"{name}.png", field.nuclei_labels if channel == "DNA" else field.labels)
            rows.append((name, "val" if seed % 10 == 9 else "train", f"field{seed}", SIMULATED, "complete"))
    _write_splits(folder, rows)
    return folder


def _linked(samples: tuple[Sample, ...], folder: Path) -> list[tuple[str | None, ...]]:
    samples = tuple(sample for sample in samples if sample.split in ("train", "val"))
    held_out = _held_out(samples)
    rows = []
    for sample in samples:
        for part, path in (("images", sample.image_path), ("masks", sample.labels_path)):
            (folder / part / f"{sample.name}{path.suffix}").symlink_to(path.resolve())
        split = "val" if sample.name in held_out else sample.split
        rows.append((sample.name, split, sample.group, sample.modality, sample.annotation))
    return rows


def _held_out(samples: tuple[Sample, ...]) -> set[str]:
    """Names of the training images that validate where no validation image holds a cell."""
    if any(read_labels(sample.labels_path).any() for sample in samples if sample.split == "val"):
        return set()
    with_cells = [sample for sample in samples if sample.split == "train" and read_labels(sample.labels_path).any()]
    groups = Counter(sample.group or sample.name for sample in with_cells)
    if len(groups) == 1:
        return {with_cells[-1].name}
    smallest = min(groups, key=lambda group: (groups[group], group))
    return {sample.name for sample in with_cells if (sample.group or sample.name) == smallest}


def _codex(source: Path, folder: Path) -> list[tuple[str | None, ...]]:
    (sample,) = open_dataset(source, split="train")
    pixels = tifffile.imread(sample.image_path)  # [y x channel]; its tags say [channel y x]
    labels = read_labels(sample.labels_path)
    planes = {"membrane": pixels[..., 0], "cytoplasm": pixels[..., 1], "nucleus": pixels[..., 2]}
    planes["mean"] = np.rint(pixels.astype(np.float64).mean(axis=-1)).astype(np.uint16)
    rows = []
    for split, columns in CODEX_COLUMNS.items():
        for channel, plane in planes.items():
            name = f"{channel}_{split}"
            Image.fromarray(np.ascontiguousarray(plane[:, columns])).save(folder / "images" / f"{name}.png")
            write_labels(folder / "masks" / f"{name}.png", np.ascontiguousarray(labels[:, columns]))
            rows.append((name, split, split, sample.modality, sample.annotation))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    for folder in prepare(arguments.shared, arguments.output):
        samples = open_dataset(folder)
        counts = [sum(sample.split == split for sample in samples) for split in ("train", "val")]
        print(f"{folder.name}: {counts[0]} train, {counts[1]} val, {LICENCES.get(folder.name, 'made here')}")


if __name__ == "__main__":
    main()
