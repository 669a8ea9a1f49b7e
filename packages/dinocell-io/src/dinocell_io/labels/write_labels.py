"""Writing label images: whole arrays, or rows as they come, to one file or to OME-Zarr."""

import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Integer, Shaped

from dinocell_io.formats.zarr.ome_zarr_path import is_zarr
from dinocell_io.images.image import TIFF_SUFFIXES
from dinocell_io.labels.label_rows import bands, checked_rows
from dinocell_io.labels.read_labels import LABEL_SUFFIXES, whole_numbers
from dinocell_io.stores.open_store import open_store
from dinocell_io.stores.s3_store import S3Store
from dinocell_io.stores.uri import is_remote
from dinocell_io.system.atomic import atomic_path

_CLASSIC_TIFF_BYTES = 2**32 - 2**25  # room for tags below the 4 GiB that 32-bit offsets reach
_STRIP_BYTES = 1 << 18
_MAX_LABEL = 2**32 - 1
_SIZES_UM = (1e-5, 1e9)  # whose pixels per centimetre are a fraction of two numbers of 32 bits


def write_labels(
    uri: str | Path, labels: Shaped[np.ndarray, "..."], *, pixel_size_um: float | int | None = None
) -> None:
    """Write labels losslessly and atomically, as uint16, or as uint32 if one is above 65535.

    The suffix picks the format: TIFF (deflate, BigTIFF when needed, the pixel size as resolution per centimetre; no
    predictor, which ImageJ before 1.53v ignores beside deflate), PNG (16 bit, so labels up to 65535, no pixel size),
    npy, or OME-Zarr: then `image.zarr` gets the label image `labels/cells`, `image.zarr/labels/nuclei` the one of that
    name, and a group that is not there is made; labels that are there are never replaced (FileExistsError). Labels of
    an image take its scales, translations and units; another `pixel_size_um` is refused. All may be in a bucket
    (`s3://`). OME-Zarr is many objects there: the one that makes them a label image is put last, so that a reader
    finds all of it or nothing; a write that fails leaves no label image, and the next one overwrites its objects.
    Raises ValueError, before anything is written, for an array that is not [y x], that holds negative
    numbers, fractions or numbers above 2**32 - 1, that PNG cannot hold, or that has not the size of the
    OME-Zarr image it belongs to.
    """
    _check_target(uri, pixel_size_um)
    whole = whole_numbers(labels, f"the array for {uri}")
    largest = int(whole.max(initial=0))
    if largest > _MAX_LABEL:
        raise ValueError(f"{uri}: the largest label is {largest}, a file holds up to {_MAX_LABEL}; relabel first")
    if str(uri).lower().endswith(".png") and largest > 65535:
        raise ValueError(f"{uri}: the largest label is {largest}, a PNG holds up to 65535; write a .tif")
    numbers = np.ascontiguousarray(whole, dtype=np.uint16 if largest <= 65535 else np.uint32)
    shape = (numbers.shape[0], numbers.shape[1])
    _write(uri, [numbers], shape, numbers.dtype, None if pixel_size_um is None else float(pixel_size_um))


def write_label_rows(
    uri: str | Path,
    rows: Iterable[Shaped[np.ndarray, "..."]],
    *,
    shape: tuple[int, int],
    max_label: int = _MAX_LABEL,
    pixel_size_um: float | int | None = None,
) -> None:
    """Write labels that come in blocks of rows, from the top down, as `write_labels` writes them whole.

    For labels larger than memory: at most a few blocks are held, of any height each, to TIFF or OME-Zarr. `shape` is
    (height, width); `max_label` is the largest label that may come, up to 65535 for uint16.
    Raises ValueError at the first block that does not fit (its width, numbers, or too many or too few rows); then
    nothing is left of the file, and of OME-Zarr in a bucket nothing that a reader takes for labels.
    """
    _check_target(uri, pixel_size_um)
    if not is_zarr(uri) and not str(uri).lower().endswith(TIFF_SUFFIXES):
        raise ValueError(f"{uri}: rows of labels are written as {', '.join(TIFF_SUFFIXES)} or .zarr; use one of these")
    if min(shape) < 1 or not 0 <= max_label <= _MAX_LABEL:
        raise ValueError(f"{uri}: shape {shape} and max_label {max_label}; expected positive and 0 to {_MAX_LABEL}")
    dtype = np.dtype(np.uint16 if max_label <= 65535 else np.uint32)
    size = None if pixel_size_um is None else float(pixel_size_um)
    checked = checked_rows(rows, shape=shape, max_label=max_label, dtype=dtype, name=str(uri))
    _write(uri, checked, shape, dtype, size)


def _check_target(uri: str | Path, pixel_size_um: float | int | None) -> None:
    if not is_zarr(uri) and not str(uri).lower().endswith(LABEL_SUFFIXES):
        raise ValueError(
            f"{uri}: labels are written as {', '.join(LABEL_SUFFIXES)} or .zarr; use one of these suffixes"
        )
    if pixel_size_um is not None and not 0 < pixel_size_um < float("inf"):
        raise ValueError(f"{uri}: pixel_size_um is {pixel_size_um}, expected a positive length or None")
    is_tiff = not is_zarr(uri) and str(uri).lower().endswith(TIFF_SUFFIXES)
    if is_tiff and pixel_size_um is not None and not _SIZES_UM[0] <= pixel_size_um <= _SIZES_UM[1]:
        raise ValueError(
            f"{uri}: pixel_size_um is {pixel_size_um}; a TIFF holds {_SIZES_UM[0]:g} to {_SIZES_UM[1]:g} um as "
            "resolution. Give the pixel size in um, or None"
        )


def _write(
    uri: str | Path,
    rows: Iterable[Integer[np.ndarray, "row x"]],
    shape: tuple[int, int],
    dtype: np.dtype,
    pixel_size_um: float | None,
) -> None:
    if is_zarr(uri):
        from dinocell_io.labels.write_zarr_labels import write_zarr_labels

        write_zarr_labels(uri, rows, shape=shape, dtype=dtype, pixel_size_um=pixel_size_um)
    elif is_remote(uri):
        store, key = open_store(uri)
        assert isinstance(store, S3Store)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, key.rpartition("/")[2])
            _write_file(file, rows, shape, dtype, pixel_size_um)
            store.put_file(key, file)
    else:
        path = Path(uri)
        with atomic_path(path) as temporary:
            _write_file(temporary, rows, shape, dtype, pixel_size_um)


def _write_file(
    path: Path,
    rows: Iterable[Integer[np.ndarray, "row x"]],
    shape: tuple[int, int],
    dtype: np.dtype,
    pixel_size_um: float | None,
) -> None:
    suffix = path.suffix.lower()
    if suffix == ".png":
        import imagecodecs

        path.write_bytes(imagecodecs.png_encode(_joined(rows)))
    elif suffix == ".npy":
        np.save(path, _joined(rows), allow_pickle=False)
    else:
        _write_tiff(path, rows, shape, dtype, pixel_size_um)


def _joined(rows: Iterable[Integer[np.ndarray, "row x"]]) -> Integer[np.ndarray, "y x"]:
    blocks = list(rows)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _write_tiff(
    path: Path,
    rows: Iterable[Integer[np.ndarray, "row x"]],
    shape: tuple[int, int],
    dtype: np.dtype,
    pixel_size_um: float | None,
) -> None:
    import imagecodecs
    import tifffile

    per_cm = None if pixel_size_um is None else (_pixels_per_cm(pixel_size_um),) * 2
    height = min(shape[0], max(1, _STRIP_BYTES // (shape[1] * dtype.itemsize)))

    def strips() -> Iterator[bytes]:
        # packed here: tifffile takes an iterator's arrays for whole pages
        for strip in bands(rows, height=height):
            content = np.asarray(strip, dtype.newbyteorder("<")).tobytes()
            yield bytes(imagecodecs.zlib_encode(content, level=6))

    tifffile.imwrite(
        path,
        strips(),
        shape=shape,
        dtype=dtype,
        byteorder="<",
        bigtiff=shape[0] * shape[1] * dtype.itemsize > _CLASSIC_TIFF_BYTES,
        photometric="minisblack",
        compression="zlib",
        rowsperstrip=height,
        resolution=per_cm,
        resolutionunit=None if per_cm is None else "CENTIMETER",
        metadata=None,
        software="dinocell-io",
    )


def _pixels_per_cm(pixel_size_um: float) -> tuple[int, int]:
    """Numerator and denominator of the TIFF tag, of 32 bits; from a float tifffile takes one that is 3e-6 off."""
    per_cm = Fraction(10_000) / Fraction(str(float(pixel_size_um)))
    return per_cm.limit_denominator(max(1, int((2**32 - 1) / max(1.0, float(per_cm))))).as_integer_ratio()
