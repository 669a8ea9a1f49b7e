"""The names of the files that segmenting an image writes."""

from pathlib import Path, PurePosixPath

from dinocell_io import IMAGE_SUFFIXES

OUTPUT_SUFFIXES = {
    "labels": "_labels.tif",
    "cells": "_cells.csv",
    "overlay": "_overlay.png",
    "run": "_run.json",
}
DISTANCE_MAP_SUFFIX = "_distance_map.tif"
_DOUBLE_SUFFIXES = (".ome.tiff", ".ome.tif", ".ome.zarr")


def output_files(uri: str | Path, output: str | Path, *, save_distance_map: bool = False) -> dict[str, Path]:
    """The files that segmenting an image writes into a folder, by what they hold."""
    suffixes = OUTPUT_SUFFIXES | ({"distance_map": DISTANCE_MAP_SUFFIX} if save_distance_map else {})
    stem = output_stem(uri)
    return {kind: Path(output) / f"{stem}{suffix}" for kind, suffix in suffixes.items()}


def output_stem(uri: str | Path) -> str:
    """The name of an image's outputs: its file name without the suffix; .ome.tif counts as one."""
    name = PurePosixPath(str(uri).replace("\\", "/")).name
    for suffix in _DOUBLE_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return PurePosixPath(name).stem


def is_output(path: Path) -> bool:
    """Whether a file was written by an earlier run: its name ends so, and beside it lies that run's _run.json or, of a
    run that was killed before it wrote one, its image."""
    for suffix in (*OUTPUT_SUFFIXES.values(), DISTANCE_MAP_SUFFIX):
        if path.name.endswith(suffix):
            stem = path.name.removesuffix(suffix)
            images = (path.with_name(stem + ending) for ending in (*IMAGE_SUFFIXES, *_DOUBLE_SUFFIXES))
            return path.with_name(stem + OUTPUT_SUFFIXES["run"]).is_file() or any(map(Path.exists, images))
    return False
