"""Labels of an OME-Zarr image: what its `labels` group holds."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from dinocell_io.formats.zarr.array import joined_key
from dinocell_io.formats.zarr.ome_zarr import ZarrGroup, open_group, open_zarr_image, zarr_place
from dinocell_io.images.damage import damage_named
from dinocell_io.images.scenes import chosen_scene
from dinocell_io.plural import counted
from dinocell_io.stores.store import Store
from dinocell_io.system.image_file_error import ImageFileError


def read_zarr_labels(
    uri: str | Path,
    *,
    scene: str | int | None = None,
    z: int | None = None,
    t: int | None = None,
    store: Store | None = None,
) -> Shaped[np.ndarray, "y x"]:
    """The full-size numbers of a label image, or of the only one in an image's `labels` group.

    Labels may be empty: where no chunk is stored, they are the fill value.
    """
    place, key, text = zarr_place(uri, store)
    with damage_named(text, "OME-Zarr labels"):
        group = open_group(place, key, text)
        if group.zarr_format is not None and not _is_label_image(group):
            group = _chosen_labels(group, scene)
        image = open_zarr_image(group.store, group.key, group.uri, may_be_empty=True)
    if len(image.channels) != 1:
        raise ImageFileError(f"{group.uri} has {len(image.channels)} channels, expected one plane of labels [y x]")
    return image.read(z=z, t=t)[0]


def _is_label_image(group: ZarrGroup) -> bool:
    """By the key "image-label", which some writers leave out, or as an image that stands in a `labels` group."""
    folder, _, name = group.key.rstrip("/").rpartition("/")
    inside = folder.rpartition("/")[2] == "labels" and not name.lower().endswith(".zarr")
    return "image-label" in group.attributes or (inside and "multiscales" in group.attributes)


def _chosen_labels(group: ZarrGroup, scene: str | int | None) -> ZarrGroup:
    labels = group
    if not isinstance(group.attributes.get("labels"), list):
        labels = open_group(group.store, joined_key(group.key, "labels"), f"{group.uri}/labels")
    names = [str(name) for name in labels.attributes.get("labels") or []]
    if not names or (scene is None and len(names) > 1):
        raise ImageFileError(
            f"{group.uri} holds {counted(len(names), 'label image')} ({', '.join(names) or 'none'}), expected one; "
            "give the address of one: image.zarr/labels/NAME"
        )
    name = names[chosen_scene(group.uri, names, scene)]
    return open_group(labels.store, joined_key(labels.key, name), f"{labels.uri}/{name}")
