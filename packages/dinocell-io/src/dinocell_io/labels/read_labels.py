"""Label images: whole numbers, 0 the background, read with the numbers that are in the file."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer, Shaped

from dinocell_io.formats.zarr.ome_zarr_path import is_zarr
from dinocell_io.images.image import TIFF_SUFFIXES
from dinocell_io.stores.store import Store
from dinocell_io.stores.stored_file import StoredFile, stored_file
from dinocell_io.system.image_file_error import ChoiceMissingError
from dinocell_io.system.memory import check_memory

LABEL_SUFFIXES = (".png", *TIFF_SUFFIXES, ".npy")


def read_labels(
    uri: str | Path,
    *,
    scene: str | int | None = None,
    z: int | None = None,
    t: int | None = None,
    store: Store | None = None,
) -> Integer[np.ndarray, "y x"]:
    """Read a label image from PNG, TIFF, npy or OME-Zarr, with the numbers that are in the file.

    Of an OME-Zarr image its only labels are read; where there are several, name them in the
    address (`image.zarr/labels/nuclei`) or by `scene`.

    A colour map or WhiteIsZero is display and changes no number; a bilevel file gives 0 and 1. Floats
    that are whole numbers become integers, as far as their type holds every one. The dtype is the file's integer
    type. `scene`, `z` and `t` choose a plane as in `read_image`; of OME-Zarr, `scene` is the name of the labels.
    Raises ValueError for colour, several planes, fractions, NaN or negative numbers, for JPEG (it changes
    numbers), and for pickled npy (it could run code); else as `read_image`.
    """
    try:
        return _read_labels(uri, scene=scene, z=z, t=t, store=store)
    except ChoiceMissingError as error:
        if any(choice is not None for choice in (scene, z, t)):
            raise
        # no command that reads labels has options to choose a plane of them
        raise ChoiceMissingError(
            f"{uri} holds several planes or images, expected one plane of labels; save the plane as a file of its own, "
            "or read it with scene=, z= or t= in Python"
        ) from error


def _read_labels(
    uri: str | Path, *, scene: str | int | None, z: int | None, t: int | None, store: Store | None
) -> Integer[np.ndarray, "y x"]:
    if is_zarr(uri, store):
        from dinocell_io.labels.read_zarr_labels import read_zarr_labels

        return whole_numbers(read_zarr_labels(uri, scene=scene, z=z, t=t, store=store), str(uri))
    file = stored_file(uri, store=store)
    if file.suffix not in TIFF_SUFFIXES and any(choice not in (None, 0) for choice in (scene, z, t)):
        raise ValueError(f"{file.uri} holds one plane, got scene={scene}, z={z}, t={t}; leave the choice out")
    if file.suffix == ".png":
        stored = _png_numbers(file)
    elif file.suffix in TIFF_SUFFIXES:
        stored = _tiff_numbers(file, scene, z, t)
    elif file.suffix == ".npy":
        stored = _npy_numbers(file)
    else:
        raise ValueError(
            f"{file.uri} has the suffix {file.suffix or '(none)'}; labels are read from "
            f"{', '.join(LABEL_SUFFIXES)} and .zarr"
        )
    return whole_numbers(stored, file.uri)


def _png_numbers(file: StoredFile) -> Shaped[np.ndarray, "y x"]:
    from dinocell_io.formats.png import read_stored_png

    stored = read_stored_png(file)
    if stored.pixels.shape[2] != 1:
        raise _colour(file.uri)
    return stored.pixels[..., 0]


def _tiff_numbers(file: StoredFile, scene: str | int | None, z: int | None, t: int | None) -> Shaped[np.ndarray, "y x"]:
    from dinocell_io.formats.tiff.tiff_image import open_stored_tiff

    image = open_stored_tiff(file, scene).image
    if image.is_rgb:
        raise _colour(file.uri)
    if len(image.channels) != 1:
        raise ValueError(
            f"{file.uri} has {len(image.channels)} planes ({', '.join(image.channels)}), expected one "
            "plane of labels; save each as a file of its own"
        )
    stack = [f"{axis.upper()}={image.size_of(axis)}" for axis in "tzi" if image.size_of(axis) > 1]
    if stack and z is None and t is None:
        raise ValueError(
            f"{file.uri} holds a stack ({', '.join(stack)}), expected one plane of labels; save the plane as a file of "
            "its own, or read it with z= or t="
        )
    return image.read(z=z, t=t)[0]


def _npy_numbers(file: StoredFile) -> Shaped[np.ndarray, "..."]:
    from dinocell_io.formats.npy import read_npy_header

    shape, dtype, offset, fortran = read_npy_header(file)
    check_memory(file.uri, file.size)
    count = math.prod(shape)
    numbers = np.frombuffer(file.read(offset, offset + count * dtype.itemsize), dtype)
    return numbers.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="))


def _colour(uri: str) -> ValueError:
    return ValueError(
        f"{uri} is a colour image, expected one number per pixel; colours are not labels, "
        "export the label image itself as 16-bit grey PNG or TIFF"
    )


def whole_numbers(numbers: Shaped[np.ndarray, "..."], name: str) -> Integer[np.ndarray, "y x"]:
    """The same numbers in an integer dtype (no copy if they have one), or a ValueError."""
    if numbers.ndim != 2 or 0 in numbers.shape:
        raise ValueError(f"{name} has shape {numbers.shape}, expected labels [y x] of at least one pixel")
    kind = numbers.dtype.kind
    if kind == "b":
        return numbers.astype(np.uint8)
    if kind == "f":
        if not np.isfinite(numbers).all() or (numbers != np.trunc(numbers)).any():
            raise ValueError(f"{name} holds fractions, NaN or infinities, expected whole numbers as labels")
    elif kind not in "ui":
        raise ValueError(f"{name} holds {numbers.dtype}, expected whole numbers as labels")
    smallest = numbers.min()
    if smallest < 0:
        raise ValueError(f"{name} holds negative numbers (down to {smallest}), expected labels from 0 (background) up")
    if kind == "f":
        largest = check_exact(numbers, f"the labels in {name}")
        return numbers.astype(np.uint32 if largest < 2**32 else np.int64)
    return numbers


def check_exact(numbers: Float[np.ndarray, "..."], subject: str) -> float:
    """The largest magnitude; ValueError from the size on where floats of their type no longer hold every whole number.

    There two labels may have become one when they were saved: from 2048 in float16, 2**24 in float32, 2**53 in float64.
    """
    largest = float(max(numbers.max(initial=0), -numbers.min(initial=0)))
    bits = min(np.finfo(numbers.dtype).nmant + 1, 63)
    if largest >= 2**bits:
        raise ValueError(
            f"{subject} reach {largest:.16g} in {numbers.dtype}, expected less than 2**{bits}, from where on "
            "different labels become one number; save the labels as integers where they are made"
        )
    return largest
