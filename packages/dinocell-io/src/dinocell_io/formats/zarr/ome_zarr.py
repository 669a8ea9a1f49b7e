"""OME-Zarr: which array of a group is what (NGFF 0.1 to 0.5), and its pixels as [channel y x].

Axes come from the metadata, never from lengths. A group that holds several images (a plate, a well, a
bioformats2raw series, several multiscales, labels) is opened with a scene. Chunks that are not stored are the
fill value, as the format says; a plane of which not one chunk is stored is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dinocell_io.formats.npy import MAX_PLANES_AS_CHANNELS
from dinocell_io.formats.zarr.array import ZarrArray, joined_key
from dinocell_io.formats.zarr.description import open_zarr_array, read_json
from dinocell_io.formats.zarr.ngff_metadata import axis_names, channel_labels, pixel_size_um
from dinocell_io.images.damage import damage_named
from dinocell_io.images.image import check_channel_count, numbered_channels
from dinocell_io.images.lazy_image import LazyImage, Level
from dinocell_io.images.scenes import chosen_scene, names_or_numbers
from dinocell_io.images.stack_image import stack_image
from dinocell_io.plural import counted, listed
from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.store import Store
from dinocell_io.stores.uri import check_local_folder, is_remote
from dinocell_io.system.image_file_error import ImageFileError


@dataclass(frozen=True)
class ZarrGroup:
    """A group's own attributes, with those that NGFF 0.5 keeps under "ome" brought up."""

    uri: str
    key: str
    store: Store
    attributes: Mapping[str, Any]
    zarr_format: int | None  # None where there is no group, or an array


def open_ome_zarr(uri: str | Path, *, scene: str | int | None = None, store: Store | None = None) -> LazyImage:
    """The image of a Zarr group or of a plain array in it; see `open_image`."""
    return open_zarr_image(*zarr_place(uri, store), scene)


def zarr_place(uri: str | Path, store: Store | None) -> tuple[Store, str, str]:
    """The store, the key in it without a trailing slash, and the address for messages.

    Raises FileNotFoundError or ValueError for a local address that is not a folder.
    """
    text = str(uri).rstrip("/\\")
    if store is None:
        if not is_remote(text):
            check_local_folder(text)
        store, key = open_store(text)
        return store, key, text
    return store, text.strip("/"), text or repr(store)


def open_zarr_image(
    store: Store, key: str, uri: str, scene: str | int | None = None, *, may_be_empty: bool = False
) -> LazyImage:
    """The image at `key`; `uri` is its address for messages.

    With `may_be_empty`, a plane without stored chunks holds fill values and is not an error.
    """
    with damage_named(uri, "OME-Zarr"):
        group = open_group(store, key, uri)
        attributes = group.attributes
        if "multiscales" in attributes:
            return _multiscale(group, scene, may_be_empty=may_be_empty)
        if "plate" in attributes:
            return _image_of_plate(group, scene)
        if "well" in attributes:
            return _inside(group, [str(image["path"]) for image in attributes["well"]["images"]], scene)
        if isinstance(attributes.get("labels"), list):
            return _inside(group, [str(name) for name in attributes["labels"]], scene)
        if "bioformats2raw.layout" in attributes:
            return _inside(group, series_of(group), scene)
        if group.zarr_format is None:
            return _plain_array(group, scene, may_be_empty=may_be_empty)
    raise ImageFileError(
        f"{group.uri} is a Zarr group without an image (no multiscales, plate or well in its attributes); give "
        "the path of an image inside it"
    )


def open_group(store: Store, key: str, uri: str) -> ZarrGroup:
    """The attributes of the group at `key`; of an array, or of nothing, none."""
    described = read_json(store, joined_key(key, "zarr.json"), uri)
    if described is not None:
        found = described.get("attributes", {}) if described.get("node_type") == "group" else None
        zarr_format = None if found is None else 3
    else:
        zarr_format = 2 if read_json(store, joined_key(key, ".zgroup"), uri) is not None else None
        found = read_json(store, joined_key(key, ".zattrs"), uri) if zarr_format else None
    attributes = found or {}
    nested = attributes.get("ome") if isinstance(attributes, dict) else None
    if not isinstance(attributes, dict) or not isinstance(nested, dict | None):
        raise ImageFileError(f"{uri}: its attributes are not a JSON object; it is damaged, export it again")
    return ZarrGroup(uri, key, store, {**attributes, **(nested or {})}, zarr_format)


def _multiscale(group: ZarrGroup, scene: str | int | None, *, may_be_empty: bool) -> LazyImage:
    images: Sequence[Mapping[str, Any]] = group.attributes["multiscales"]
    names = names_or_numbers([str(image.get("name") or index) for index, image in enumerate(images)])
    number = chosen_scene(group.uri, names, scene)
    multiscale = images[number]
    paths = [str(dataset["path"]) for dataset in multiscale["datasets"]]
    arrays = tuple(open_zarr_array(group.store, joined_key(group.key, path), f"{group.uri}/{path}") for path in paths)
    if not arrays:
        raise ImageFileError(f"{group.uri} lists no array of pixels; it is not whole, export it again")
    stored_axes = axis_names(multiscale, len(arrays[0].shape), group.uri)
    count = _length(arrays[0], stored_axes, "c")
    check_channel_count(group.uri, count)
    return lazy_from_arrays(
        group.uri,
        arrays,
        stored_axes,
        channels=channel_labels(group.attributes, count) or numbered_channels(count),
        pixel_size_um=pixel_size_um(multiscale, stored_axes),
        scenes=names,
        scene=number,
        may_be_empty=may_be_empty or "image-label" in group.attributes,
    )


def lazy_from_arrays(
    uri: str,
    arrays: tuple[ZarrArray, ...],
    stored_axes: str,
    *,
    channels: tuple[str, ...],
    pixel_size_um: float | None,
    scenes: Sequence[str] = (),
    scene: int = 0,
    may_be_empty: bool = False,
) -> LazyImage:
    """An image whose levels are arrays with the same axes, of which all but t, c, z, y and x are 1 long."""
    full = arrays[0]
    for array in arrays:
        if len(array.shape) != len(stored_axes) or array.dtype != full.dtype:
            raise ImageFileError(
                f"{uri}: its levels have different axes or number types; it is damaged, export it again"
            )
    sizes = dict(zip(stored_axes, full.shape, strict=True))
    is_known = all(axis in "tczyx" or size == 1 for axis, size in zip(stored_axes, full.shape, strict=True))
    if not is_known or stored_axes[-2:] != "yx" or any(stored_axes.count(axis) > 1 for axis in "tczyx"):
        raise ImageFileError(
            f"{uri} has the axes {stored_axes} {full.shape}; expected t, c, z, y, x, ending with y and x"
        )

    def read_planes(
        chosen: tuple[int, ...], z: int, t: int, level: int, rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "channel y x"]:
        array = arrays[level]
        # smaller levels may have fewer z planes
        index = {"t": t, "z": z * _length(array, stored_axes, "z") // _length(full, stored_axes, "z")}
        first, last = min(chosen), max(chosen) + 1
        parts = {"y": rows, "x": columns, "c": slice(first, last)}
        selection = [parts.get(axis, slice(index.get(axis, 0), index.get(axis, 0) + 1)) for axis in stored_axes]
        is_whole = (rows.stop - rows.start, columns.stop - columns.start) == array.shape[-2:]
        region = array.read(selection, may_be_empty=may_be_empty or not is_whole)
        planes = region.reshape(last - first if "c" in stored_axes else 1, *region.shape[-2:])
        wanted = [channel - first for channel in chosen]
        return planes if wanted == list(range(len(planes))) else planes[wanted]

    height, width = full.shape[-2:]
    return stack_image(
        uri,
        sizes,
        dtype=full.dtype,
        channels=channels,
        pixel_size_um=pixel_size_um,
        levels=tuple(
            Level(a.shape[-2], a.shape[-1], ((height / a.shape[-2]) * (width / a.shape[-1])) ** 0.5) for a in arrays
        ),
        read_planes=read_planes,
        scenes=scenes,
        scene=scene,
    )


def _plain_array(group: ZarrGroup, scene: str | int | None, *, may_be_empty: bool) -> LazyImage:
    """An array without OME metadata: its own names of axes, or [y x], or [channel y x] of few channels."""
    chosen_scene(group.uri, ("array",), scene)
    array = open_zarr_array(group.store, group.key, group.uri)
    named = array.dimension_names
    axes = "".join(name.lower() for name in named) if named else {2: "yx", 3: "cyx"}.get(len(array.shape), "")
    if named and (len(axes) != len(named) or len(axes) != len(array.shape)):
        raise ImageFileError(
            f"{group.uri} has the axes {', '.join(named)}; expected t, c, z, y, x. Open its OME-Zarr group"
        )
    if not axes or (not named and len(array.shape) == 3 and array.shape[0] > MAX_PLANES_AS_CHANNELS):
        raise ImageFileError(
            f"{group.uri} is an array of shape {array.shape} that does not say what its axes are; open the OME-Zarr "
            "group it belongs to (the folder above it), or save it with dimension_names"
        )
    check_channel_count(group.uri, _length(array, axes, "c"))
    channels = numbered_channels(_length(array, axes, "c"))
    return lazy_from_arrays(group.uri, (array,), axes, channels=channels, pixel_size_um=None, may_be_empty=may_be_empty)


def _image_of_plate(group: ZarrGroup, scene: str | int | None) -> LazyImage:
    wells = [str(well["path"]) for well in group.attributes["plate"]["wells"]]
    if isinstance(scene, str) and any(scene.startswith(f"{well}/") for well in wells):
        return open_zarr_image(group.store, joined_key(group.key, scene), f"{group.uri}/{scene}", None)
    raise ImageFileError(
        f"{group.uri} is a plate of {counted(len(wells), 'well')} ({listed(wells, 12)}), expected one field; choose it "
        f'with scene=, on the command line --scene, as well and field: "{wells[0] if wells else "A/1"}/0"'
    )


def _inside(group: ZarrGroup, paths: Sequence[str], scene: str | int | None) -> LazyImage:
    if not paths:
        raise ImageFileError(f"{group.uri} lists no image; it is not whole, export it again")
    number = chosen_scene(group.uri, paths, scene)
    path = paths[number]
    image = open_zarr_image(group.store, joined_key(group.key, path), f"{group.uri}/{path}", None)
    return replace(image, scene=path, scenes=tuple(paths)) if len(paths) > 1 else image


def series_of(group: ZarrGroup) -> list[str]:
    """The images of a bioformats2raw layout: those its OME group lists, or the numbered groups that are there."""
    listed = open_group(group.store, joined_key(group.key, "OME"), f"{group.uri}/OME").attributes.get("series")
    if isinstance(listed, list):
        return [str(path) for path in listed]
    prefix = f"{group.key}/" if group.key else ""
    found = [info.key.rstrip("/").rpartition("/")[2] for info in group.store.list(prefix, delimiter="/")]
    return sorted((name for name in found if name.isdecimal()), key=int)


def _length(array: ZarrArray, axes: str, axis: str) -> int:
    return array.shape[axes.index(axis)] if axis in axes else 1
