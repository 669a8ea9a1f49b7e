"""The names of the files that segmenting an image writes."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from dinocell_io import image_stem, zarr_root

OUTPUT_SUFFIXES = {
    "labels": "_labels.tif",
    "cells": "_cells.csv",
    "overlay": "_overlay.png",
    "run": "_run.json",
}
DISTANCE_MAP_SUFFIX = "_distance_map.tif"


def output_files(uri: str | Path, output: str | Path, *, save_distance_map: bool = False) -> dict[str, Path]:
    """The files that segmenting an image writes into a folder, by what they hold."""
    suffixes = OUTPUT_SUFFIXES | ({"distance_map": DISTANCE_MAP_SUFFIX} if save_distance_map else {})
    stem = output_stem(uri)
    return {kind: Path(output) / f"{stem}{suffix}" for kind, suffix in suffixes.items()}


def output_stem(uri: str | Path) -> str:
    """The name of an image's outputs: its file name without the suffix (.ome.tif counts as one), and of an image in
    an OME-Zarr the path from there: plate_A_1_0 for plate.zarr/A/1/0.
    """
    root, inside = zarr_root(uri)
    stem = image_stem(PurePosixPath(root.replace("\\", "/")).name)
    return "_".join([stem, *inside.split("/")]) if inside else stem


def is_output(name: str, names: Collection[str]) -> bool:
    """Whether a file was written by an earlier run: its name ends so, and its run's _run.json is among the `names`."""
    return any(
        name.endswith(suffix) and name.removesuffix(suffix) + OUTPUT_SUFFIXES["run"] in names
        for suffix in (*OUTPUT_SUFFIXES.values(), DISTANCE_MAP_SUFFIX)
    )
