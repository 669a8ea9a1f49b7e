"""Labels in OME-Zarr: the `labels` group of an image (NGFF 0.4 in Zarr 2, NGFF 0.5 in Zarr 3)."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped

from .atomic import atomic_folder, atomic_path
from .damage import damage_named
from .label_rows import bands
from .local_store import LocalStore
from .ome_zarr import ZarrGroup, open_group, open_ome_zarr, open_zarr_image, zarr_place
from .scenes import chosen_scene
from .store import Store
from .uri import is_remote, split_uri
from .zarr_array import open_zarr_array
from .zarr_write import write_array, write_group

_CHUNK = 1024
_DEFAULT_NAME = "cells"


@dataclass(frozen=True)
class _Target:
    """The image group, the name of the labels, and what the image says: sizes of its levels, its pixel size."""

    group: Path
    name: str
    zarr_format: int | None  # None: the group is not there yet
    sizes: tuple[tuple[int, int], ...]
    pixel_size_um: float | None


def read_zarr_labels(
    uri: str | Path,
    *,
    scene: str | int | None = None,
    z: int | None = None,
    t: int | None = None,
    store: Store | None = None,
) -> Shaped[np.ndarray, "y x"]:
    """The full-size numbers of a label image, or of the only one in an image's `labels` group."""
    place, key, text = zarr_place(uri, store)
    with damage_named(text, "OME-Zarr labels"):
        group = open_group(place, key, text)
        if group.zarr_format is not None and "image-label" not in group.attributes:
            group = _chosen_labels(group, scene)
        image = open_zarr_image(group.store, group.key, group.uri)
    if len(image.channels) != 1:
        raise ValueError(f"{group.uri} has {len(image.channels)} channels, expected one plane of labels [y x]")
    return image.read(z=z, t=t)[0]


def _chosen_labels(group: ZarrGroup, scene: str | int | None) -> ZarrGroup:
    labels = group
    if not isinstance(group.attributes.get("labels"), list):
        labels = open_group(group.store, f"{group.key}/labels", f"{group.uri}/labels")
    names = [str(name) for name in labels.attributes.get("labels") or []]
    if not names or (scene is None and len(names) > 1):
        raise ValueError(
            f"{group.uri} holds {len(names)} label images ({', '.join(names) or 'none'}), expected one; give the "
            "address of one: image.zarr/labels/NAME"
        )
    name = names[chosen_scene(group.uri, names, scene)]
    return open_group(labels.store, f"{labels.key}/{name}", f"{labels.uri}/{name}")


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
    nearest label, so that no number is invented. They appear under their name when they are whole.
    """
    target = _target(uri, shape, pixel_size_um)
    if target.zarr_format is None:
        with atomic_folder(target.group) as temporary:
            write_group(temporary, {}, zarr_format=2)
            write_group(temporary / "labels", {"labels": [target.name]}, zarr_format=2)
            _write_levels(temporary / "labels" / target.name, target, rows, dtype)
        return
    labels = target.group / "labels"
    labels.mkdir(exist_ok=True)
    with atomic_folder(labels / target.name) as temporary:
        _write_levels(temporary, target, rows, dtype)
    _list_name(labels, target)


def _target(uri: str | Path, shape: tuple[int, int], pixel_size_um: float | None) -> _Target:
    if is_remote(uri):
        raise ValueError(
            f"{uri}: OME-Zarr labels are many objects, which a bucket cannot take in one step; write locally"
        )
    _, root, key = split_uri(uri)
    path = Path(root, key)
    name = path.name if path.parent.name == "labels" else _DEFAULT_NAME
    folder = path.parent.parent if path.parent.name == "labels" else path
    group = open_group(LocalStore(folder.parent), folder.name, str(folder))
    if group.zarr_format is None:
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} exists and is no Zarr group; give an OME-Zarr image, or a new name")
        return _Target(folder, name, None, _halved(shape), pixel_size_um)
    if "multiscales" not in group.attributes:
        return _Target(folder, name, group.zarr_format, _halved(shape), pixel_size_um)
    image = open_ome_zarr(folder)
    sizes = tuple((level.height, level.width) for level in image.levels)
    if sizes[0] != shape:
        raise ValueError(
            f"{folder} is an image of {sizes[0][0]} x {sizes[0][1]} pixels, its labels are {shape[0]} x {shape[1]}"
        )
    return _Target(folder, name, group.zarr_format, sizes, pixel_size_um or image.pixel_size_um)


def _halved(shape: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    sizes = [shape]
    while max(sizes[-1]) > _CHUNK:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return tuple(sizes)


def _write_levels(folder: Path, target: _Target, rows: Iterable[Integer[np.ndarray, "row x"]], dtype: np.dtype) -> None:
    zarr_format = target.zarr_format or 2
    write_group(folder, _attributes(target, zarr_format), zarr_format=zarr_format)
    for number, size in enumerate(target.sizes):
        source = rows if number == 0 else _smaller(folder, number - 1, size)
        bands_of_chunks = bands(source, height=min(_CHUNK, size[0]))
        write_array(
            folder / str(number), bands_of_chunks, shape=size, dtype=dtype, chunk=_CHUNK, zarr_format=zarr_format
        )


def _smaller(folder: Path, level: int, size: tuple[int, int]) -> Iterator[Integer[np.ndarray, "row x"]]:
    """Rows of the nearest labels of a level, read back from the folder a band at a time."""
    source = open_zarr_array(LocalStore(folder), str(level), str(folder))
    height, width = source.shape
    row_of = np.minimum((np.arange(size[0]) * 2 + 1) * height // (2 * size[0]), height - 1)
    column_of = np.minimum((np.arange(size[1]) * 2 + 1) * width // (2 * size[1]), width - 1)
    step = max(1, _CHUNK * size[0] // height)
    for start in range(0, size[0], step):
        wanted = row_of[start : start + step]
        band = source.read([slice(int(wanted[0]), int(wanted[-1]) + 1), slice(0, width)])
        yield band[wanted - wanted[0]][:, column_of]


def _attributes(target: _Target, zarr_format: int) -> dict[str, Any]:
    full_height, full_width = target.sizes[0]
    pixel = target.pixel_size_um or 1.0
    unit = {} if target.pixel_size_um is None else {"unit": "micrometer"}
    multiscale: dict[str, Any] = {
        "name": target.name,
        "axes": [{"name": axis, "type": "space", **unit} for axis in "yx"],
        "datasets": [
            {
                "path": str(number),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [pixel * full_height / height, pixel * full_width / width]}
                ],
            }
            for number, (height, width) in enumerate(target.sizes)
        ],
    }
    label = {"source": {"image": "../../"}}
    if zarr_format == 3:
        return {"ome": {"version": "0.5", "multiscales": [multiscale], "image-label": label}}
    return {"multiscales": [{"version": "0.4", **multiscale}], "image-label": {"version": "0.4", **label}}


def _list_name(labels: Path, target: _Target) -> None:
    """Add the name to the list of the `labels` group, in one step."""
    zarr_format = target.zarr_format or 2
    listed = open_group(LocalStore(labels.parent), labels.name, str(labels))
    names = [*(listed.attributes.get("labels") or []), target.name]
    file = labels / ("zarr.json" if zarr_format == 3 else ".zattrs")
    if listed.zarr_format is None:
        attributes = {"ome": {"version": "0.5", "labels": names}} if zarr_format == 3 else {"labels": names}
        write_group(labels, attributes, zarr_format=zarr_format)
        return
    content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    holder = content.setdefault("attributes", {}).setdefault("ome", {"version": "0.5"}) if zarr_format == 3 else content
    holder["labels"] = names
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
