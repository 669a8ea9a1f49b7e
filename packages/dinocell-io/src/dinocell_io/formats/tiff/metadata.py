"""Channel names and the pixel size from OME-XML, ImageJ and TIFF tags, in this order."""

import re
from typing import Any
from xml.etree import ElementTree

import tifffile

from dinocell_io.images.length_units import positive, um_per_unit

# TIFF tags are often a printer's resolution or a camera's own pixel (3.45 to 16 um, not divided by
# the magnification), so only sizes that a light microscope gives are believed
_PLAUSIBLE_TAG_UM = (0.02, 3.0)
_UM_PER_TAG_UNIT = {2: 25400.0, 3: 10000.0}
_MICROMANAGER_TAG = 51123
_NOT_A_CHANNEL = re.compile(r"\b[czt]:\d+/\d+|\.(tiff?|nd2|czi|lif|png|jpe?g|zvi|oi[bf]|lsm|stk)\b|\n", re.IGNORECASE)
_SQUARE = 0.01  # relative difference of x and y up to which a pixel counts as square


def channel_names(tif: tifffile.TiffFile, count: int, series: int = 0) -> tuple[str, ...] | None:
    """The `count` channel names of one of the file's images, or None if it does not name each of them."""
    names: list[str] = []
    if tif.is_ome:
        pixels = _ome_pixels(tif, series)
        names = [] if pixels is None else [channel.get("Name") or "" for channel in pixels.iterfind("{*}Channel")]
    elif tif.is_imagej:
        names = _imagej_channels(tif)
    elif tif.is_qpi:
        names = _qpi_channels(tif, series)
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
        factor = um_per_unit(str((tif.imagej_metadata or {}).get("unit") or ""))
        x, y = (_scaled(per, factor) for per in _resolution(tif.pages.first))
    elif tif.is_micromanager and (stated_um := _micromanager_size_um(tif)) is not None:
        x = y = stated_um
    elif tif.is_svs:
        # the tags hold the scanner's print resolution, the description the specimen's
        stated = re.search(r"\|\s*MPP\s*=\s*([0-9.,]+)", str(tif.pages.first.description))
        x = y = positive(stated[1], 1.0) if stated else None
    elif tif.is_metaseries:
        x, y = _metaseries_sizes_um(tif)
    else:
        page: Any = tif.pages.first
        unit = page.tags.valueof("ResolutionUnit")
        factor = _UM_PER_TAG_UNIT.get(int(unit)) if isinstance(unit, int) else None
        x, y = (_scaled(per, factor) for per in _resolution(page))
        low, high = _PLAUSIBLE_TAG_UM
        if x is not None and not low <= x <= high:
            return None
    if x is None or y is None or abs(x - y) > _SQUARE * x:
        return None
    return x


def _imagej_channels(tif: tifffile.TiffFile) -> list[str]:
    """The slice labels, unless they are what Fiji makes of the place in a stack or of the file's name."""
    labels = (tif.imagej_metadata or {}).get("Labels") or []
    names = [str(label or "").strip() for label in ([labels] if isinstance(labels, str) else labels)]
    # the label of one slice tells where it came from: the same channel has another one in the next image
    are_places = len(names) == 1 or len(set(names)) < len(names) or any(map(_NOT_A_CHANNEL.search, names))
    return [] if are_places else names


def _qpi_channels(tif: tifffile.TiffFile, series: int) -> list[str]:
    """The names in the descriptions of PerkinElmer's and Akoya's pages."""
    names = []
    for page in tif.series[series].pages:
        text = str(page.aspage().description) if page is not None else ""
        try:
            names.append((ElementTree.fromstring(text).findtext("Name") or "").strip())
        except ElementTree.ParseError:
            return []
    return names


def _metaseries_sizes_um(tif: tifffile.TiffFile) -> tuple[float | None, float | None]:
    """MetaXpress and MetaMorph: calibration in the XML of the first page."""
    try:
        properties = ElementTree.fromstring(str(tif.pages.first.description)).iter("prop")
    except ElementTree.ParseError:
        return None, None
    stated = {str(item.get("id")): str(item.get("value") or "") for item in properties}
    if stated.get("spatial-calibration-state", "on").lower() not in ("on", "1", "true"):
        return None, None
    factor = um_per_unit(stated.get("spatial-calibration-units", ""))
    x, y = (positive(stated.get(f"spatial-calibration-{axis}"), factor) for axis in "xy")
    return x, y


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
                return positive(size, 1.0)
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
        positive(pixels.get(f"PhysicalSize{axis}"), um_per_unit(pixels.get(f"PhysicalSize{axis}Unit", "µm")))
        for axis in "XY"
    )
    return x, y


def _resolution(page: Any) -> tuple[float | None, float | None]:
    """Pixels per unit along x and y."""
    x, y = (_number(page.tags.valueof(name)) for name in ("XResolution", "YResolution"))
    return x, y


def _number(value: object) -> float | None:
    """A rational as the format wants it, or any number, which some writers put there; None for what is not positive."""
    numbers = value if isinstance(value, tuple) else (value,)
    if len(numbers) == 2:
        above, below = numbers
        return positive(above / below, 1.0) if below else None
    return positive(numbers[0], 1.0) if len(numbers) == 1 and isinstance(numbers[0], int | float) else None


def _scaled(per_unit: float | None, um_per_unit: float | None) -> float | None:
    return None if per_unit is None or um_per_unit is None else um_per_unit / per_unit


def _shaped_channels(tif: tifffile.TiffFile) -> list[Any]:
    described = (tif.shaped_metadata or ({},))[0]
    channel = described.get("Channel")
    names = channel.get("Name") if isinstance(channel, dict) else described.get("channels")
    return names if isinstance(names, list) else []
