"""Writing an image so that `read_image` gives it back unchanged."""

from pathlib import Path

import numpy as np

from dinocell_io.images.image import TIFF_SUFFIXES, Image
from dinocell_io.system.atomic import atomic_path

_OME_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_PNG_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16))


def write_image(uri: str | Path, image: Image) -> None:
    """Write atomically and losslessly: PNG for one channel or RGB, OME-TIFF (deflate) for any channels.

    OME-TIFF keeps channel names and pixel size; PNG has no place for them.
    Raises ValueError for another suffix, for what OME-TIFF cannot hold (booleans, float16, integers of 64 bits,
    complex numbers), and for what a PNG cannot: several non-RGB channels, or pixels other than uint8 and uint16.
    """
    path = Path(uri)
    suffix = path.suffix.lower()
    if suffix == ".png":
        if image.pixels.dtype not in _PNG_DTYPES or not (image.is_rgb or len(image.channels) == 1):
            raise ValueError(
                f"{path}: a PNG holds one channel or RGB in uint8 or uint16, got {image.pixels.dtype} with "
                f"channels {', '.join(image.channels)}; write a .ome.tif"
            )
        _write_png(path, image)
    elif suffix in TIFF_SUFFIXES:
        if image.pixels.dtype.name not in _OME_DTYPES:
            raise ValueError(
                f"{path}: an OME-TIFF holds {', '.join(_OME_DTYPES)}, got {image.pixels.dtype}; convert the pixels to "
                "one of these that holds their values: uint8 for booleans, float32 for float16, uint32, int32 or "
                "float64 for integers of 64 bits"
            )
        _write_ome_tiff(path, image)
    else:
        raise ValueError(f"{path}: images are written as .png, {', '.join(TIFF_SUFFIXES)}; use one of these")


def _write_png(path: Path, image: Image) -> None:
    import imagecodecs

    pixels = np.ascontiguousarray(np.moveaxis(image.pixels, 0, 2)) if image.is_rgb else image.pixels[0]
    with atomic_path(path) as temporary:
        temporary.write_bytes(imagecodecs.png_encode(pixels))


def _write_ome_tiff(path: Path, image: Image) -> None:
    import tifffile

    metadata: dict[str, object] = {"axes": "YXS" if image.is_rgb else "CYX"}
    if not image.is_rgb:
        metadata["Channel"] = {"Name": list(image.channels)}
    if image.pixel_size_um is not None:
        for axis in "XY":
            metadata[f"PhysicalSize{axis}"] = image.pixel_size_um
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            np.moveaxis(image.pixels, 0, 2) if image.is_rgb else image.pixels,
            ome=True,
            bigtiff=image.pixels.nbytes > 2**32 - 2**25,
            photometric="rgb" if image.is_rgb else "minisblack",
            compression="zlib",
            metadata=metadata,
        )
