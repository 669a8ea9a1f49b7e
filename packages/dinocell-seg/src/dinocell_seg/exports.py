"""Pictures and maps of a result, for eyes and for other programs."""

import colorsys
from pathlib import Path

import cv2
import numpy as np
import tifffile
from jaxtyping import Float32, Integer, UInt8

from dinocell_io import atomic_path
from dinocell_seg.normalize import PreparedPlane
from dinocell_seg.resizing import resized
from dinocell_seg.row_blocks import row_blocks
from dinocell_seg.watershed import inner_boundaries

MAX_OVERLAY_PX = 4096
_NUM_COLOURS = 64
_GOLDEN_RATIO = 0.618034  # neighbouring labels get hues far apart


def overlay(prepared: PreparedPlane, labels: Integer[np.ndarray, "y x"]) -> UInt8[np.ndarray, "y_out x_out 3"]:
    """The image in grey, as its normalisation stretches it, with each cell's outline in colour (RGB).

    Images wider or higher than 4096 pixels are shrunk to that; labels are then sampled, never mixed.
    """
    height, width = labels.shape
    scale = min(1.0, MAX_OVERLAY_PX / max(height, width))
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    pixels = resized(prepared.pixels, shape)
    picture = np.empty((*shape, 3), np.uint8)
    for block in row_blocks(shape):
        values = pixels[block] * np.float32(prepared.affine.scale) + np.float32(prepared.affine.offset)
        grey = np.rint(np.clip((values + 2) / 4, 0, 1) * 255)  # network input -2..2 is v 0..1
        picture[block] = grey.astype(np.uint8)[..., None]
    rows = np.arange(shape[0]) * height // shape[0]
    columns = np.arange(shape[1]) * width // shape[1]
    shown = labels if shape == labels.shape else labels[np.ix_(rows, columns)]
    edges = inner_boundaries(shown)
    picture[edges] = _palette()[shown[edges].astype(np.int64) % _NUM_COLOURS]
    return picture


def write_overlay(path: str | Path, prepared: PreparedPlane, labels: Integer[np.ndarray, "y x"]) -> None:
    """Write `overlay` as a PNG, completely or not at all."""
    picture = overlay(prepared, labels)
    cv2.cvtColor(picture, cv2.COLOR_RGB2BGR, dst=picture)
    encoded, png = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert encoded
    with atomic_path(path) as temporary:
        Path(temporary).write_bytes(png.data)


def write_distance_map(path: str | Path, distance_map: Float32[np.ndarray, "y x"]) -> None:
    """Write a distance map as a float32 TIFF (zlib), whole or not at all.

    Without a predictor: no ImageJ up to 1.54u knows the one for floats, and it opens such files as noise.
    """
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, distance_map, compression="zlib")


def _palette() -> UInt8[np.ndarray, "colour 3"]:
    hues = [(index * _GOLDEN_RATIO) % 1 for index in range(_NUM_COLOURS)]
    colours = [colorsys.hsv_to_rgb(hue, 0.85, 1.0) for hue in hues]
    return np.rint(np.array(colours) * 255).astype(np.uint8)
