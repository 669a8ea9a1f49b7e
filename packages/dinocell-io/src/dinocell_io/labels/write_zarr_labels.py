"""Writing labels in OME-Zarr: the `labels` group of an image (NGFF 0.4 in Zarr 2, NGFF 0.5 in Zarr 3)."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from dinocell_io.formats.zarr.array import joined_key
from dinocell_io.formats.zarr.consolidated import add_to_consolidated
from dinocell_io.formats.zarr.description import open_zarr_array, read_json
from dinocell_io.formats.zarr.ngff_metadata import axis_names, plane_transformations, plane_units
from dinocell_io.formats.zarr.ome_zarr import ZarrGroup, open_group, open_zarr_image
from dinocell_io.formats.zarr.write import StoredFolder, write_array, write_group
from dinocell_io.images.lazy_image import LazyImage
from dinocell_io.labels.label_rows import bands
from dinocell_io.stores.local_store import LocalStore
from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.store import Store
from dinocell_io.stores.uri import is_remote, split_uri
from dinocell_io.system.atomic import atomic_folder

_CHUNK = 1024
_SAME_SIZE = 0.01  # relative difference up to which two pixel sizes are one
_DEFAULT_NAME = "cells"


@dataclass(frozen=True)
class _Target:
    """The image group, the name of the labels, the sizes of their levels, and their axes and scales (NGFF)."""

    store: Store
    key: str
    uri: str
    name: str
    zarr_format: int | None  # None: the group is not there yet
    sizes: tuple[tuple[int, int], ...]
    placed: Mapping[str, Any]


def write_zarr_labels(
    uri: str | Path,
    rows: Iterable[Integer[np.ndarray, "row x"]],
    *,
    shape: tuple[int, int],
    dtype: np.dtype,
    pixel_size_um: float | None,
) -> None:
    """Write rows of labels with their smaller levels; see `write_labels`.

    The levels have the sizes of the image's, or halve until 1024 pixels where there is no image; each takes the
    nearest label, so that no number is invented. A folder appears under its name when it is whole. In a bucket,
    which has no such step, the description that makes the objects a label image is put after all of them. Where the
    image, or a plate around it, has consolidated metadata, the labels are added to them.
    """
    target = _target(uri, shape, pixel_size_um)
    _names(target)  # what cannot be added to is refused before anything is written
    if is_remote(uri):
        _write_to_bucket(target, rows, dtype)
        return
    folder = _local_path(target)
    if target.zarr_format is None:
        with atomic_folder(folder) as temporary:
            write_group(temporary, {}, zarr_format=2)
            write_group(temporary / "labels", {"labels": [target.name]}, zarr_format=2)
            _write_levels(temporary / "labels" / target.name, target, rows, dtype)
        return
    (folder / "labels").mkdir(exist_ok=True)
    with atomic_folder(folder / "labels" / target.name) as temporary:
        _write_levels(temporary, target, rows, dtype)
    _list(target)


def _write_to_bucket(target: _Target, rows: Iterable[Integer[np.ndarray, "row x"]], dtype: np.dtype) -> None:
    image = StoredFolder(target.store, target.key)
    folder = image / "labels" / target.name
    if open_group(folder.store, folder.key, target.uri).zarr_format is not None:
        raise FileExistsError(f"{target.uri} has labels {target.name} already; choose another name: labels/NAME")
    if target.zarr_format is None:
        # first, so that a killed writer leaves a group, which the next one can continue
        write_group(image, {}, zarr_format=2)
    _write_levels(folder, target, rows, dtype)
    _list(target)


def _target(uri: str | Path, shape: tuple[int, int], pixel_size_um: float | None) -> _Target:
    scheme, place, _ = split_uri(uri)
    store, key = open_store(uri)
    key = key.rstrip("/")
    name = _DEFAULT_NAME
    parent, _, last = key.rpartition("/")
    if parent.rpartition("/")[2] == "labels" and not last.lower().endswith(".zarr"):
        key, name = parent.removesuffix("/labels"), last
    text = f"{scheme}://{place}/{key}" if is_remote(uri) else str(Path(place, key))
    group = open_group(store, key, text)
    if group.zarr_format is None and next(iter(store.list(f"{key}/", delimiter="/")), None) is not None:
        raise ValueError(f"{text} exists and is not a Zarr group; give an OME-Zarr image, or a new name")
    if "multiscales" not in group.attributes:
        sizes = _halved(shape)
        return _Target(store, key, text, name, group.zarr_format, sizes, _placed_alone(sizes, pixel_size_um))
    image = open_zarr_image(store, key, text)
    sizes = tuple((level.height, level.width) for level in image.levels)
    if sizes[0] != shape:
        raise ValueError(
            f"{text} is an image of {sizes[0][0]} x {sizes[0][1]} pixels, its labels are {shape[0]} x {shape[1]}"
        )
    placed = _placed_on(image, group.attributes["multiscales"][0], sizes)
    if pixel_size_um and image.pixel_size_um and not isclose(pixel_size_um, image.pixel_size_um, rel_tol=_SAME_SIZE):
        raise ValueError(
            f"{text} has pixels of {image.pixel_size_um:g} um, its labels are said to have {pixel_size_um:g} um; leave "
            "pixel_size_um out, labels take the image's"
        )
    return _Target(store, key, text, name, group.zarr_format, sizes, placed)


def _local_path(target: _Target) -> Path:
    assert isinstance(target.store, LocalStore)
    return target.store.root / target.key


def _halved(shape: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    sizes = [shape]
    while max(sizes[-1]) > _CHUNK:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return tuple(sizes)


def _write_levels(
    folder: Path | StoredFolder, target: _Target, rows: Iterable[Integer[np.ndarray, "row x"]], dtype: np.dtype
) -> None:
    zarr_format = target.zarr_format or 2
    for number, size in enumerate(target.sizes):
        source = rows if number == 0 else _smaller(folder, number - 1, size)
        bands_of_chunks = bands(source, height=min(_CHUNK, size[0]))
        write_array(
            folder / str(number), bands_of_chunks, shape=size, dtype=dtype, chunk=_CHUNK, zarr_format=zarr_format
        )
    write_group(folder, _attributes(target, zarr_format), zarr_format=zarr_format)


def _smaller(folder: Path | StoredFolder, level: int, size: tuple[int, int]) -> Iterator[Integer[np.ndarray, "row x"]]:
    """Rows of the nearest labels of a level, read back a band at a time."""
    store, key = (LocalStore(folder), "") if isinstance(folder, Path) else (folder.store, f"{folder.key}/")
    source = open_zarr_array(store, f"{key}{level}", str(folder))
    height, width = source.shape
    row_of = np.minimum((np.arange(size[0]) * 2 + 1) * height // (2 * size[0]), height - 1)
    column_of = np.minimum((np.arange(size[1]) * 2 + 1) * width // (2 * size[1]), width - 1)
    step = max(1, _CHUNK * size[0] // height)
    for start in range(0, size[0], step):
        wanted = row_of[start : start + step]
        band = source.read([slice(int(wanted[0]), int(wanted[-1]) + 1), slice(0, width)])
        yield band[wanted - wanted[0]][:, column_of]


def _attributes(target: _Target, zarr_format: int) -> dict[str, Any]:
    multiscale = {"name": target.name, **target.placed}
    label = {"source": {"image": "../../"}}
    if zarr_format == 3:
        return {"ome": {"version": "0.5", "multiscales": [multiscale], "image-label": label}}
    return {"multiscales": [{"version": "0.4", **multiscale}], "image-label": {"version": "0.4", **label}}


def _placed_alone(sizes: tuple[tuple[int, int], ...], pixel_size_um: float | None) -> dict[str, Any]:
    """Axes and levels of labels without an image, whose first pixel is the origin."""
    pixel = pixel_size_um or 1.0
    unit = None if pixel_size_um is None else "micrometer"
    return _placed((unit, unit), [[_scale(size, sizes[0], (pixel, pixel))] for size in sizes])


def _placed_on(image: LazyImage, multiscale: Mapping[str, Any], sizes: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    """Axes and levels of labels that lie on an image where its own scales and translations put it."""
    axes = axis_names(multiscale, len(multiscale.get("axes") or "tczyx"), image.uri)
    levels = [plane_transformations(level, axes, image.uri) for level in multiscale["datasets"]]
    if not any(levels):  # NGFF 0.1 to 0.3 have none
        levels = [[_scale(size, sizes[0], (1.0, 1.0))] for size in sizes]
    placed = _placed(plane_units(multiscale, axes), levels)
    whole = plane_transformations(multiscale, axes, image.uri)
    return placed | ({"coordinateTransformations": whole} if whole else {})


def _placed(units: tuple[str | None, str | None], levels: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
    return {
        "axes": [
            {"name": axis, "type": "space", **({"unit": unit} if unit else {})}
            for axis, unit in zip("yx", units, strict=True)
        ],
        "datasets": [
            {"path": str(number), "coordinateTransformations": transformations}
            for number, transformations in enumerate(levels)
        ],
    }


def _scale(size: tuple[int, int], full: tuple[int, int], pixel: tuple[float, float]) -> dict[str, Any]:
    return {"type": "scale", "scale": [pixel[0] * full[0] / size[0], pixel[1] * full[1] / size[1]]}


def _list(target: _Target) -> None:
    """Make the labels known: in the list of the `labels` group, and in consolidated metadata where there are any."""
    _list_name(target)
    labels = joined_key(target.key, "labels")
    nodes = [labels, f"{labels}/{target.name}"]
    nodes += [f"{labels}/{target.name}/{number}" for number in range(len(target.sizes))]
    add_to_consolidated(target.store, labels, nodes, zarr_format=target.zarr_format or 2, uri=target.uri)


def _names(target: _Target) -> tuple[ZarrGroup, list[str]]:
    """The `labels` group, which may not be there yet, and the names it lists."""
    group = open_group(target.store, joined_key(target.key, "labels"), f"{target.uri}/labels")
    names = group.attributes.get("labels") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{group.uri} lists its labels as {names!r}, expected a list of names; repair its attributes")
    return group, names


def _list_name(target: _Target) -> None:
    """Add the name to the list of the `labels` group, in one step."""
    zarr_format = target.zarr_format or 2
    key = joined_key(target.key, "labels")
    listed, names = _names(target)
    names = [*names, target.name]
    if listed.zarr_format is None:
        attributes = {"ome": {"version": "0.5", "labels": names}} if zarr_format == 3 else {"labels": names}
        place = StoredFolder(target.store, key) if is_remote(target.uri) else _local_path(target) / "labels"
        write_group(place, attributes, zarr_format=zarr_format)
        return
    file = joined_key(key, "zarr.json") if zarr_format == 3 else joined_key(key, ".zattrs")
    content = read_json(target.store, file, target.uri) or {}
    holder = content.setdefault("attributes", {}).setdefault("ome", {"version": "0.5"}) if zarr_format == 3 else content
    holder["labels"] = names
    target.store.put(file, json.dumps(content, indent=2, ensure_ascii=False).encode())
