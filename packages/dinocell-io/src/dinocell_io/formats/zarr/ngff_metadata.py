"""What NGFF attributes say about axes, channels and the pixel size."""

import math
from collections.abc import Mapping
from typing import Any

from dinocell_io.system.image_file_error import ImageFileError

_UM_PER_UNIT = {
    "angstrom": 1e-4,
    "picometer": 1e-6,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
    # not in the specification, and yet written
    "nm": 1e-3,
    "um": 1.0,
    "µm": 1.0,
    "micron": 1.0,
    "mm": 1e3,
}
_SQUARE = 0.01  # relative difference of x and y up to which a pixel counts as square


def axis_names(multiscale: Mapping[str, Any], num_axes: int, uri: str) -> str:
    """One letter per axis: t, c, z, y, x by their types and names, "?" for an axis of another kind.

    NGFF 0.1 and 0.2 have no axes: theirs are t, c, z, y, x by the specification.
    """
    axes = multiscale.get("axes")
    if axes is None and str(multiscale.get("version", "")) in ("0.1", "0.2", "") and num_axes == 5:
        return "tczyx"
    if not axes or len(axes) != num_axes:
        raise ImageFileError(
            f"{uri} names {len(axes or ())} axes for an array of {num_axes}; it is damaged, export it again"
        )
    return "".join(_letter(axis) for axis in axes)


def _letter(axis: Any) -> str:
    if isinstance(axis, str):  # NGFF 0.3
        return axis if axis in ("t", "c", "z", "y", "x") else "?"
    kind, name = axis.get("type"), str(axis.get("name", "")).lower()
    if kind == "channel":
        return "c"
    if kind == "time":
        return "t"
    return name if name in ("t", "c", "z", "y", "x") else "?"


def channel_labels(attributes: Mapping[str, Any], count: int) -> tuple[str, ...] | None:
    """The `count` channels' labels in the "omero" block, or None if it does not name each of them."""
    channels = (attributes.get("omero") or {}).get("channels") or []
    names = tuple(str(channel.get("label") or "").strip() for channel in channels)
    return names if len(names) == count and all(names) else None


def pixel_size_um(multiscale: Mapping[str, Any], axes: str) -> float | None:
    """The side of a square pixel of the full size; None without a unit of length, a scale, or square pixels."""
    stated = multiscale.get("axes") or []
    sizes = []
    for axis in "yx":
        index = axes.index(axis)
        unit = stated[index].get("unit") if index < len(stated) and isinstance(stated[index], Mapping) else None
        factor = _UM_PER_UNIT.get(str(unit).lower())
        scale = _scale(multiscale["datasets"][0], index) * _scale(multiscale, index)
        if factor is None or not math.isfinite(scale) or scale <= 0:
            return None
        sizes.append(scale * factor)
    return sizes[1] if abs(sizes[0] - sizes[1]) <= _SQUARE * sizes[1] else None


def plane_units(multiscale: Mapping[str, Any], axes: str) -> tuple[str | None, str | None]:
    """The units of y and x as they are stated, None where they are not."""
    stated = multiscale.get("axes") or []
    found = [stated[axes.index(axis)] if stated else None for axis in "yx"]
    y, x = (axis.get("unit") if isinstance(axis, Mapping) else None for axis in found)
    return y, x


def plane_transformations(described: Mapping[str, Any], axes: str, uri: str) -> list[dict[str, Any]]:
    """The scales and translations that are listed, of y and x alone, in their order.

    Raises ValueError for a transformation of another type, or without finite numbers for y and x.
    """
    kept = []
    for transformation in described.get("coordinateTransformations") or []:
        kind = transformation.get("type")
        if kind == "identity":
            continue
        numbers = transformation.get(kind) if kind in ("scale", "translation") else None
        if not isinstance(numbers, list) or len(numbers) != len(axes) or not all(map(_is_finite, numbers)):
            raise ImageFileError(
                f"{uri} is placed by the transformation {transformation}, expected a scale or translation of its "
                f"{len(axes)} axes, which labels can take over; write them to a .zarr of their own or a .tif"
            )
        kept.append({"type": kind, kind: [numbers[axes.index(axis)] for axis in "yx"]})
    return kept


def _is_finite(number: Any) -> bool:
    return isinstance(number, int | float) and math.isfinite(number)


def _scale(described: Mapping[str, Any], index: int) -> float:
    """The product of the scales of an axis; 1 where only other transformations are listed; NaN where it is unknown."""
    product = 1.0
    for transformation in described.get("coordinateTransformations") or []:
        if transformation.get("type") == "scale":
            product *= float(transformation["scale"][index]) if "scale" in transformation else math.nan
    return product
