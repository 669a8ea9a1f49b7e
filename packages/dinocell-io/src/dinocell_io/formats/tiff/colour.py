"""TIFF's colour spaces: what the samples of a page are, and how they become grey or red, green and blue."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dinocell_io.images.lazy_image import LazyImage
from dinocell_io.plural import counted
from dinocell_io.system.image_file_error import ImageFileError

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
_PHOTOMETRIC_TAG, _COEFFICIENTS_TAG, _REFERENCE_TAG = 262, 529, 532
_SEPARATE = 2
_BAND_PX = 1 << 20  # bounds the temporaries of a large image
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated
_FAX = (2, 3, 4)
_JPEG = (6, 7, 33007, 34892)
_APERIO_YCBCR, _APERIO_RGB = 33003, 33005
# what their decoders give is RGB already, whatever the tag says
_DECODED_AS_RGB = (*_JPEG, _APERIO_RGB, 50001, 50002, 52546)
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the default of the tag
_FULL_RANGE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)


def photometric_of(page: Any, uri: str) -> int:
    """The colour space of a page: one of those above; ValueError for others, by name.

    Where the tag is missing it is what libtiff takes it for: three samples are RGB (YCbCr in JPEG), fax pages are
    white as zero, everything else is black as zero.
    """
    if _PHOTOMETRIC_TAG not in page.tags and not page.photometric:
        num_colours = int(page.samplesperpixel) - len(page.extrasamples or ())
        compression = int(page.compression)
        if num_colours == 3:
            page.photometric = YCBCR if compression in _JPEG else RGB
        else:
            page.photometric = WHITE_IS_ZERO if compression in _FAX else BLACK_IS_ZERO
    photometric = int(page.photometric)
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR):
        raise ImageFileError(
            f"{uri} has the colour space {getattr(page.photometric, 'name', photometric)}, "
            "expected grey or RGB; save it as RGB"
        )
    return photometric


def bits_of(page: Any, uri: str) -> int:
    """Bits of a sample; ValueError where the samples of a pixel have different ones."""
    bits = page.bitspersample
    if isinstance(bits, tuple) and len(set(bits)) > 1:
        raise ImageFileError(f"{uri} has samples of {bits} bits, expected one number of bits for all; save it as RGB")
    return int(bits[0] if isinstance(bits, tuple) else bits)


def wanted_samples(page: Any, photometric: int, uri: str) -> int:
    """How many of a page's samples are data: alpha, and one sample beside red, green and blue, are not."""
    extra = tuple(int(kind) for kind in (page.extrasamples or ()))
    num_samples = int(page.samplesperpixel)
    name = {RGB: "RGB", YCBCR: "YCbCr", PALETTE: "palette"}.get(photometric)
    if photometric in (RGB, YCBCR):
        if num_samples in (3, 4):
            return 3
        raise ImageFileError(
            f"{uri} has the colour space {name} and {counted(num_samples, 'sample')} per pixel, expected 3, or 4 with "
            "alpha; save it as RGB, or as separate channels with photometric interpretation BlackIsZero"
        )
    wanted = num_samples - 1 if num_samples > 1 and extra and extra[-1] in _ALPHA else num_samples
    if photometric == PALETTE and wanted > 1:
        raise ImageFileError(f"{uri} has a palette and {num_samples} samples per pixel, expected 1; save it as RGB")
    return wanted


@dataclass(frozen=True)
class YCbCr:
    """How luma and colour differences are red, green and blue: shares of luma, and black and white of Y, Cb and Cr."""

    luma: tuple[float, ...]
    reference: tuple[float, ...]


def ycbcr_of(page: Any, photometric: int, uri: str) -> YCbCr | None:
    """Of a page whose decoded samples are Y, Cb and Cr; None for others: JPEG's decoder, too, gives RGB.

    By YCbCrCoefficients and ReferenceBlackWhite (TIFF 6.0, section 21). Raises ValueError for fewer colours than
    pixels outside of JPEG, for other than 8 bits, and for coefficients that give no RGB.
    """
    compression = int(page.compression)
    if compression in (_APERIO_YCBCR, _APERIO_RGB):
        page.subsampling = (1, 1)  # the codec's own
    one_by_one = int(page.planarconfig) == _SEPARATE  # a decoder that sees one sample cannot turn three
    is_decoded = compression in _DECODED_AS_RGB and not one_by_one
    if compression != _APERIO_YCBCR and (photometric != YCBCR or is_decoded):
        return None
    _check_samples(page, uri)
    if compression == _APERIO_YCBCR:
        return YCbCr(_LUMA, _FULL_RANGE)
    luma = _ratios(page.tags.valueof(_COEFFICIENTS_TAG)) or _LUMA
    reference = _ratios(page.tags.valueof(_REFERENCE_TAG)) or _FULL_RANGE
    is_sound = len(luma) == 3 and luma[1] != 0 and len(reference) == 6
    if not is_sound or any(black == white for black, white in zip(reference[::2], reference[1::2], strict=True)):
        raise ImageFileError(
            f"{uri} has YCbCrCoefficients {luma} and ReferenceBlackWhite {reference}, expected three shares of "
            "red, green and blue and three different pairs of black and white; save it as RGB"
        )
    return YCbCr(luma, reference)


def _check_samples(page: Any, uri: str) -> None:
    if page.subsampling is None and int(page.compression) == 1 and sum(page.databytecounts) == page.nbytes:
        page.subsampling = (1, 1)  # the tag is missing, and the default (2, 2) contradicts the bytes
    if page.is_subsampled:
        raise ImageFileError(
            f"{uri} has the colour space YCbCr with fewer colours than pixels (YCbCrSubSampling "
            f"{page.subsampling or (2, 2)}) outside of JPEG, which is not read here; save it as RGB"
        )
    if np.dtype(page.dtype) != np.uint8:
        raise ImageFileError(f"{uri} has the colour space YCbCr in {page.dtype}, expected 8 bits; save it as RGB")


def ycbcr_as_rgb(image: LazyImage, ycbcr: YCbCr) -> LazyImage:
    """The image in red, green and blue."""

    def read_planes(
        channels: tuple[int, ...], z: int, t: int, level: int, rows: slice, columns: slice
    ) -> Shaped[np.ndarray, "channel y x"]:
        pixels = image.read_planes((0, 1, 2), z, t, level, rows, columns)
        rgb = np.empty(pixels.shape, np.uint8)
        band = max(1, _BAND_PX // pixels.shape[2])
        for start in range(0, pixels.shape[1], band):
            rgb[:, start : start + band] = _rgb(pixels[:, start : start + band], ycbcr)
        return np.ascontiguousarray(rgb[list(channels)])

    return replace(image, read_planes=read_planes)


def _rgb(stored: Shaped[np.ndarray, "3 y x"], ycbcr: YCbCr) -> Shaped[np.ndarray, "3 y x"]:
    black_y, white_y, black_cb, white_cb, black_cr, white_cr = ycbcr.reference
    luma = ycbcr.luma
    y = (stored[0] - np.float32(black_y)) * np.float32(255 / (white_y - black_y))
    cb = (stored[1] - np.float32(black_cb)) * np.float32(127 / (white_cb - black_cb))
    cr = (stored[2] - np.float32(black_cr)) * np.float32(127 / (white_cr - black_cr))
    red = cr * np.float32(2 - 2 * luma[0]) + y
    blue = cb * np.float32(2 - 2 * luma[2]) + y
    green = (y - np.float32(luma[2]) * blue - np.float32(luma[0]) * red) / np.float32(luma[1])
    return np.clip(np.rint(np.stack([red, green, blue])), 0, 255).astype(np.uint8)


def _ratios(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, tuple) or len(value) % 2:
        return None
    return tuple(above / below if below else 0.0 for above, below in zip(value[::2], value[1::2], strict=True))
