"""Label images: whole numbers, 0 the background, written and read back without a change."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Integer, Shaped

from .atomic import atomic_path
from .image import TIFF_SUFFIXES
from .memory import check_memory
from .store import Store
from .stored_file import StoredFile, stored_file

LABEL_SUFFIXES = (".png", *TIFF_SUFFIXES, ".npy")
_CLASSIC_TIFF_BYTES = 2**32 - 2**25  # room for tags below the 4 GiB that 32-bit offsets reach


def read_labels(uri: str | Path, *, store: Store | None = None) -> Integer[np.ndarray, "y x"]:
    """Read a label image from PNG, TIFF or npy, with the numbers that are in the file.

    A colour map or WhiteIsZero is display and changes no number; a bilevel file gives 0 and 1. Floats
    that are whole numbers become integers. The dtype is the file's integer type.
    Raises ValueError for colour, several planes, fractions, NaN or negative numbers, for JPEG (it changes
    numbers), and for pickled npy (it could run code); else as `read_image`.
    """
    file = stored_file(uri, store=store)
    if file.suffix == ".png":
        stored = _png_numbers(file)
    elif file.suffix in TIFF_SUFFIXES:
        stored = _tiff_numbers(file)
    elif file.suffix == ".npy":
        stored = _npy_numbers(file)
    else:
        raise ValueError(
            f"{file.uri} has the suffix {file.suffix or '(none)'}; labels are read from {', '.join(LABEL_SUFFIXES)}"
        )
    return _whole_numbers(stored, file.uri)


def write_labels(
    uri: str | Path, labels: Shaped[np.ndarray, "..."], *, pixel_size_um: float | int | None = None
) -> None:
    """Write labels losslessly and atomically, as uint16, or as uint32 if one is above 65535.

    The suffix picks the format: TIFF (deflate with predictor, BigTIFF when needed, the pixel size as
    resolution per centimetre), PNG (16 bit, so labels up to 65535, no pixel size) or npy.
    Raises ValueError, before anything is written, for an array that is not [y x], that holds negative
    numbers, fractions or numbers above 2**32 - 1, or that PNG cannot hold.
    """
    path = Path(uri)
    suffix = path.suffix.lower()
    if suffix not in LABEL_SUFFIXES:
        raise ValueError(f"{path}: labels are written as {', '.join(LABEL_SUFFIXES)}; use one of these suffixes")
    if pixel_size_um is not None and not 0 < pixel_size_um < float("inf"):
        raise ValueError(f"{path}: pixel_size_um is {pixel_size_um}, expected a positive length or None")
    whole = _whole_numbers(labels, f"the array for {path}")
    largest = int(whole.max(initial=0))
    if largest > 2**32 - 1:
        raise ValueError(f"{path}: the largest label is {largest}, a file holds up to {2**32 - 1}; relabel first")
    if suffix == ".png" and largest > 65535:
        raise ValueError(f"{path}: the largest label is {largest}, a PNG holds up to 65535; write a .tif")
    numbers = np.ascontiguousarray(whole, dtype=np.uint16 if largest <= 65535 else np.uint32)
    with atomic_path(path) as temporary:
        if suffix == ".png":
            import imagecodecs

            temporary.write_bytes(imagecodecs.png_encode(numbers))
        elif suffix == ".npy":
            np.save(temporary, numbers, allow_pickle=False)
        else:
            _write_tiff(temporary, numbers, None if pixel_size_um is None else float(pixel_size_um))


def _write_tiff(path: Path, numbers: Integer[np.ndarray, "y x"], pixel_size_um: float | None) -> None:
    import tifffile

    per_cm = None if pixel_size_um is None else (10000 / pixel_size_um,) * 2
    tifffile.imwrite(
        path,
        numbers,
        bigtiff=numbers.nbytes > _CLASSIC_TIFF_BYTES,
        photometric="minisblack",
        compression="zlib",
        predictor=True,
        rowsperstrip=max(1, (1 << 18) // max(1, numbers.shape[1] * numbers.itemsize)),
        resolution=per_cm,
        resolutionunit=None if per_cm is None else "CENTIMETER",
        metadata=None,
        software="dinocell-io",
    )


def _png_numbers(file: StoredFile) -> Shaped[np.ndarray, "y x"]:
    from .orientation import upright
    from .png import read_stored_png

    stored = read_stored_png(file)
    if stored.pixels.shape[2] != 1:
        raise _colour(file.uri)
    return upright(stored.pixels, stored.orientation)[..., 0]


def _tiff_numbers(file: StoredFile) -> Shaped[np.ndarray, "y x"]:
    from .tiff import open_stored_tiff

    image = open_stored_tiff(file).image
    if image.is_rgb:
        raise _colour(file.uri)
    if len(image.channels) != 1:
        raise ValueError(
            f"{file.uri} has {len(image.channels)} planes ({', '.join(image.channels)}), expected one "
            "plane of labels; save each as a file of its own"
        )
    return image.read()[0]


def _npy_numbers(file: StoredFile) -> Shaped[np.ndarray, "..."]:
    from .npy import read_npy_header

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


def _whole_numbers(numbers: Shaped[np.ndarray, "..."], name: str) -> Integer[np.ndarray, "y x"]:
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
        if numbers.max() >= 2**53:
            raise ValueError(f"{name} holds floats above 2**53, which are not exact; save the labels as integers")
        return numbers.astype(np.uint32 if numbers.max() < 2**32 else np.int64)
    return numbers
