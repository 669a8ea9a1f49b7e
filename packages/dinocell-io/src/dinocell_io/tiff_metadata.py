"""Channel names and the pixel size from OME-XML, ImageJ and TIFF tags, in this order."""

import math
import re
from typing import Any
from xml.etree import ElementTree

import tifffile

_UM_PER_UNIT = {
    "pm": 1e-6,
    "å": 1e-4,
    "nm": 1e-3,
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "\\u00b5m": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "inch": 25400.0,
    "in": 25400.0,
}
# TIFF tags are often a printer's resolution or a camera's own pixel (3.45 to 16 um, not divided by
# the magnification), so only sizes that a light microscope gives are believed
_PLAUSIBLE_TAG_UM = (0.02, 3.0)
_UM_PER_TAG_UNIT = {2: 25400.0, 3: 10000.0}
_MICROMANAGER_TAG = 51123
_SQUARE = 0.01  # relative difference of x and y up to which a pixel counts as square


def channel_names(tif: tifffile.TiffFile, count: int, series: int = 0) -> tuple[str, ...] | None:
    """The `count` channel names of one of the file's images, or None if it does not name each of them."""
    names: list[str] = []
    if tif.is_ome:
        pixels = _ome_pixels(tif, series)
        names = [] if pixels is None else [channel.get("Name") or "" for channel in pixels.iterfind("{*}Channel")]
    elif tif.is_imagej:
        labels = (tif.imagej_metadata or {}).get("Labels") or []
        names = [str(label or "").strip() for label in ([labels] if isinstance(labels, str) else labels)]
    elif tif.is_micromanager:
        names = [str(name) for name in _micromanager_summary(tif).get("ChNames") or []]
    elif tif.is_shaped:
        stated = _shaped_channels(tif)
        names = [str(name) for name in stated]
    return tuple(names) if len(names) == count and all(names) else None


def pixel_size_um(tif: tifffile.TiffFile, series: int = 0) -> float | None:
    """The side of a square pixel in micrometres; None if unknown, implausible or not square."""
    if tif.is_ome:
        pixels = _ome_pixels(tif, series)
        x, y = (None, None) if pixels is None else _ome_sizes_um(pixels)
    elif tif.is_imagej:
        unit = str((tif.imagej_metadata or {}).get("unit") or "").strip().lower()
        factor = _UM_PER_UNIT.get(unit)
        x, y = (_scaled(per, factor) for per in _resolution(tif.pages.first))
    elif tif.is_micromanager and (stated_um := _micromanager_size_um(tif)) is not None:
        x = y = stated_um
    elif tif.is_svs:
        # the tags hold the scanner's print resolution, the description the specimen's
        stated = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", str(tif.pages.first.description))
        x = y = _positive(stated[1], 1.0) if stated else None
    else:
        page: Any = tif.pages.first
        unit_tag = page.tags.get("ResolutionUnit")
        factor = _UM_PER_TAG_UNIT.get(int(unit_tag.value)) if unit_tag is not None else None
        x, y = (_scaled(per, factor) for per in _resolution(page))
        low, high = _PLAUSIBLE_TAG_UM
        if x is not None and not low <= x <= high:
            return None
    if x is None or y is None or abs(x - y) > _SQUARE * x:
        return None
    return x


def _micromanager_summary(tif: tifffile.TiffFile) -> dict[str, Any]:
    summary = (tif.micromanager_metadata or {}).get("Summary")
    return summary if isinstance(summary, dict) else {}


def _micromanager_size_um(tif: tifffile.TiffFile) -> float | None:
    """From the first plane's own metadata (version 2), or the summary of all (version 1.4)."""
    of_plane = tif.pages.first.tags.valueof(_MICROMANAGER_TAG)
    for stated in (of_plane, _micromanager_summary(tif)):
        for key in ("PixelSizeUm", "PixelSize_um"):
            size = stated.get(key) if isinstance(stated, dict) else None
            if isinstance(size, int | float) and size > 0:
                return _positive(str(size), 1.0)
    return None


def _ome_pixels(tif: tifffile.TiffFile, series: int) -> ElementTree.Element | None:
    """What the OME-XML says of one of the file's images; None if it is not sure which of several it describes."""
    try:
        found = ElementTree.fromstring(tif.ome_metadata or "").findall("{*}Image/{*}Pixels")
    except ElementTree.ParseError as error:
        raise OSError(f"its OME-XML cannot be parsed: {error}") from error
    if not found:
        raise OSError("its OME-XML describes no pixels")
    if len(found) == 1:
        return found[0]
    return found[series] if len(found) == len(tif.series) else None


def _ome_sizes_um(pixels: ElementTree.Element) -> tuple[float | None, float | None]:
    x, y = (
        _positive(
            pixels.get(f"PhysicalSize{axis}"),
            _UM_PER_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm").lower()),
        )
        for axis in "XY"
    )
    return x, y


def _positive(text: str | None, factor: float | None) -> float | None:
    if text is None or factor is None:
        return None
    value = float(text) * factor
    return value if math.isfinite(value) and value > 0 else None


def _resolution(page: Any) -> tuple[float | None, float | None]:
    """Pixels per unit along x and y."""
    tags = [page.tags.get(name) for name in ("XResolution", "YResolution")]
    rationals = [tag.value if tag is not None else (0, 1) for tag in tags]
    x, y = (above / below if above and below else None for above, below in rationals)
    return x, y


def _scaled(per_unit: float | None, um_per_unit: float | None) -> float | None:
    return None if per_unit is None or um_per_unit is None else um_per_unit / per_unit


def _shaped_channels(tif: tifffile.TiffFile) -> list[Any]:
    described = (tif.shaped_metadata or ({},))[0]
    channel = described.get("Channel")
    names = channel.get("Name") if isinstance(channel, dict) else described.get("channels")
    return names if isinstance(names, list) else []
