"""The images of an OME-Zarr group: itself, the fields of a plate or well, or its series."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dinocell_io.formats.zarr.array import joined_key
from dinocell_io.formats.zarr.ome_zarr import ZarrGroup, open_group, series_of, zarr_place
from dinocell_io.images.damage import damage_named
from dinocell_io.stores.store import Store

_READERS = 16  # a plate in a bucket has hundreds of wells


def zarr_images(uri: str | Path, *, store: Store | None = None) -> list[str]:
    """The addresses of the images in a Zarr group, in the order of its lists; no pixel is read.

    Of a plate they are the fields of all wells, of a well its fields, of a bioformats2raw layout its series; any
    other group or array is one image. A well that a plate lists and that is not there is one address, which cannot
    be opened. Raises ValueError or FileNotFoundError as `open_image`.
    """
    place, key, text = zarr_place(uri, store)
    with damage_named(text, "OME-Zarr"):
        group = open_group(place, key, text)
        if "multiscales" in group.attributes:
            return [text]
        if "plate" in group.attributes:
            wells = [str(well["path"]) for well in group.attributes["plate"]["wells"]]
            with ThreadPoolExecutor(_READERS) as pool:
                return [field for fields in pool.map(lambda well: _fields_of(group, well), wells) for field in fields]
        if "well" in group.attributes:
            return _inside(group, [str(image["path"]) for image in group.attributes["well"]["images"]])
        if "bioformats2raw.layout" in group.attributes:
            return _inside(group, series_of(group))
    return [text]


def _fields_of(plate: ZarrGroup, path: str) -> list[str]:
    well = open_group(plate.store, joined_key(plate.key, path), f"{plate.uri}/{path}")
    if "well" not in well.attributes:
        return [well.uri]
    return _inside(well, [str(image["path"]) for image in well.attributes["well"]["images"]])


def _inside(group: ZarrGroup, paths: Sequence[str]) -> list[str]:
    return [f"{group.uri}/{path}" for path in paths] or [group.uri]
