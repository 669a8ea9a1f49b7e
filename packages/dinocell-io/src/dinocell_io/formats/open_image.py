"""Which module reads which file: by suffix, imported when first needed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dinocell_io.formats.zarr.ome_zarr_path import is_zarr
from dinocell_io.images.image import TIFF_SUFFIXES
from dinocell_io.images.lazy_image import LazyImage, bilevel_as_grey
from dinocell_io.stores.store import Store
from dinocell_io.stores.stored_file import StoredFile, stored_file
from dinocell_io.system.image_file_error import ImageFileError

# slide formats that are TIFF files inside
SLIDE_SUFFIXES = (".svs", ".ndpi", ".scn", ".bif", ".qptiff")
_Opener = Callable[[StoredFile, str | int | None], LazyImage]


# Readers are imported when they are called: a program that reads only PNG does not wait for tifffile.
def _open_tiff(file: StoredFile, scene: str | int | None) -> LazyImage:
    from dinocell_io.formats.tiff.tiff_image import open_tiff_image

    return open_tiff_image(file, scene)


def _open_png(file: StoredFile, scene: str | int | None) -> LazyImage:
    from dinocell_io.formats.png import open_png_image

    return open_png_image(file, scene)


def _open_jpeg(file: StoredFile, scene: str | int | None) -> LazyImage:
    from dinocell_io.formats.jpeg import open_jpeg_image

    return open_jpeg_image(file, scene)


def _open_npy(file: StoredFile, scene: str | int | None) -> LazyImage:
    from dinocell_io.formats.npy import open_npy_image

    return open_npy_image(file, scene)


def _open_nd2(file: StoredFile, scene: str | int | None) -> LazyImage:
    from dinocell_io.formats.nd2 import open_nd2_image

    return open_nd2_image(file, scene)


def _open_czi(file: StoredFile, scene: str | int | None) -> LazyImage:
    from dinocell_io.formats.czi import open_czi_image

    return open_czi_image(file, scene)


def _open_lif(file: StoredFile, scene: str | int | None) -> LazyImage:
    from dinocell_io.formats.lif import open_lif_image

    return open_lif_image(file, scene)


_OPENERS: dict[str, _Opener] = {
    **dict.fromkeys((*TIFF_SUFFIXES, *SLIDE_SUFFIXES), _open_tiff),
    ".png": _open_png,
    ".jpg": _open_jpeg,
    ".jpeg": _open_jpeg,
    ".npy": _open_npy,
    ".nd2": _open_nd2,
    ".czi": _open_czi,
    ".lif": _open_lif,
}
READABLE_SUFFIXES = (*_OPENERS, ".zarr")
_CONVERT = "convert it to OME-Zarr (bioformats2raw) or OME-TIFF (Fiji: Plugins > Bio-Formats > Exporter)"


def open_image(uri: str | Path, *, scene: str | int | None = None, store: Store | None = None) -> LazyImage:
    """Open one image and read what it says about itself; pixels are read by `LazyImage.read`.

    `uri` is a path, a `file://` or `s3://` address, or a key in `store`. The suffix says the format: TIFF and
    its OME, ImageJ, BigTIFF and pyramidal kinds, the slide formats that are TIFF inside, PNG, JPEG, npy, CZI, a
    folder of OME-Zarr (an address with a part that ends with .zarr), and with an extra ND2 and LIF.
    `scene` chooses one image, by name or by index from 0, where a file holds several.
    Raises FileNotFoundError, StoreError, or ValueError for a file that is empty, damaged, cut short, of an
    unsupported format, ambiguous (with the list), or that needs an extra (with its name).
    """
    if is_zarr(uri, store):
        from dinocell_io.formats.zarr.ome_zarr import open_ome_zarr

        return _pixels_as_numbers(open_ome_zarr(uri, scene=scene, store=store))
    return open_stored_image(stored_file(uri, store=store), scene)


def open_stored_image(file: StoredFile, scene: str | int | None = None) -> LazyImage:
    """`open_image` for a file that is found already."""
    return _pixels_as_numbers(_opener_of(file)(file, scene))


def _pixels_as_numbers(image: LazyImage) -> LazyImage:
    return bilevel_as_grey(image) if image.dtype == np.bool_ else image


def _opener_of(file: StoredFile) -> _Opener:
    if file.uri.lower().endswith(".companion.ome"):
        raise ImageFileError(
            f"{file.uri} describes a set of OME-TIFF files and holds no pixels; open one of these files"
        )
    if file.suffix not in _OPENERS:
        raise ImageFileError(
            f"{file.uri} has the suffix {file.suffix or '(none)'}; supported are {', '.join(READABLE_SUFFIXES)}. "
            f"To read this file, {_CONVERT}"
        )
    return _OPENERS[file.suffix]
