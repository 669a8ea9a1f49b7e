"""Which of a TIFF's images is opened: one of several series, positions, or images of a set of files."""

import json
import math
from dataclasses import dataclass
from typing import Any

import tifffile

from dinocell_io.formats.tiff.axes import size, sizes
from dinocell_io.formats.tiff.ome_set import SetImage
from dinocell_io.images.scenes import chosen_scene, names_or_numbers
from dinocell_io.stores.stored_file import StoredFile
from dinocell_io.system.image_file_error import ImageFileError

_BESIDE_THE_IMAGE = ("Thumbnail", "Label", "Macro", "Map")
_SLIDES = ("svs", "ndpi", "scn", "bif", "qpi", "philips", "indica", "avs")
_STOPPED = "its acquisition was stopped, or it is not whole: choose another plane, or copy it again"


@dataclass(frozen=True, eq=False)
class ChosenSeries:
    """A series of the file, by its index; of its positions, one; `names` are the scenes it was chosen from.

    `why_missing` is the reason in messages about planes that the series describes but does not hold.
    """

    series: tifffile.TiffPageSeries
    index: int
    position: int
    names: tuple[str, ...]
    number: int
    why_missing: str
    notes: tuple[str, ...] = ()


def chosen_series(
    file: StoredFile, tif: tifffile.TiffFile, scene: str | int | None, of_set: SetImage | None
) -> ChosenSeries:
    """The series that `scene` names; the only one needs no choice, nor does the only position that the file holds."""
    why_missing = (of_set.why_missing if of_set is not None else "") or _STOPPED
    images = [(i, s) for i, s in enumerate(series_of(tif)) if s.keyframe is not None and _is_image(s)]
    if not images:
        raise ImageFileError(f"{file.uri} holds no images; copy or export it again")
    if of_set is not None and of_set.names:
        index, series = images[0]
        if series.kind != "ome":  # tifffile could not use the description, and gave the pages of this file
            raise ImageFileError(
                f"{file.uri}: what the OME-XML of its set says of the image {of_set.names[of_set.number]} does not fit "
                "the pages of its files; export the image as one file"
            )
        return ChosenSeries(series, index, 0, of_set.names, of_set.number, why_missing)
    if len(images) == 1 and size(images[0][1], "R") > 1:
        index, series = images[0]
        names = _position_names(tif, size(series, "R"))
        held = _positions_held(tif, series)
        position = held[0] if scene is None and len(held) == 1 else chosen_scene(file.uri, names, scene)
        return ChosenSeries(series, index, position, names, position, why_missing)
    names = _names([series for _, series in images])
    number = chosen_scene(file.uri, names, scene, [f"{s.axes} {s.shape}" for _, s in images])
    index, series = images[number]
    return ChosenSeries(series, index, 0, names, number, why_missing, _notes(tif, series))


def _notes(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[str, ...]:
    described = "OME-XML" if tif.is_ome else "shape text" if tif.pages.first.shaped_description else None
    if described is not None and series.kind in ("generic", "uniform"):
        return (f"its {described} does not fit its pages, which are read in the order in which they are stored",)
    return ()


def series_of(tif: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """The file's series; shapes that tifffile once wrote and that no longer fit the pages do not count."""
    if getattr(tif, "is_shaped", False) and not _shapes_fit(tif):
        tif.is_shaped = False  # type: ignore[attr-defined]
    return tif.series


def _shapes_fit(tif: tifffile.TiffFile) -> bool:
    """Whether the pages have the shapes in their descriptions, which other programs keep when they crop."""
    index = 0
    while index < len(tif.pages):
        page: Any = tif.pages[index]
        text = str(page.shaped_description or "")
        if not text.startswith("{"):
            return index == 0 and text != ""  # an old style, which is left to tifffile
        try:
            stated = json.loads(text)
            shape = [int(length) for length in stated["shape"]]
        except (ValueError, TypeError, KeyError):
            return False
        longer, own = [length for length in shape if length != 1], [length for length in page.shape if length != 1]
        if longer[len(longer) - len(own) :] != own or len(stated.get("axes", shape)) != len(shape):
            return False
        index += 1 if stated.get("truncated") else math.prod(shape) // math.prod(page.shape)
    return index == len(tif.pages)


def _is_image(series: tifffile.TiffPageSeries) -> bool:
    is_beside = series.kind in _SLIDES and series.name in _BESIDE_THE_IMAGE
    is_smaller_copy = bool(series.keyframe.is_reduced) and len(series.keyframe.parent.pages) > 1
    return not is_beside and not is_smaller_copy


def _names(images: list[tifffile.TiffPageSeries]) -> tuple[str, ...]:
    return names_or_numbers([str(series.name or "").strip() for series in images])


def _position_names(tif: tifffile.TiffFile, count: int) -> tuple[str, ...]:
    """The stage positions' own names in Micro-Manager, if it gives one to each, else Pos0, Pos1 ..."""
    summary = (tif.micromanager_metadata or {}).get("Summary") or {}
    listed_positions = summary.get("StagePositions") or summary.get("InitialPositionList") or []
    names = [str(p.get("Label") or p.get("label") or "") for p in listed_positions if isinstance(p, dict)]
    if len(names) == count and len(set(names)) == count and all(names):
        return tuple(names)
    return tuple(f"Pos{number}" for number in range(count))


def _positions_held(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> list[int]:
    """The positions of which a page lies in this file."""
    axes, shape = sizes(series)
    outer = [(axis, length) for axis, length in zip(axes, shape, strict=True) if axis not in "YXS"]
    inside = 1
    for _, length in outer[[axis for axis, _ in outer].index("R") + 1 :]:
        inside *= length
    count = size(series, "R")
    return sorted({(i // inside) % count for i, page in enumerate(series.pages) if page and page.parent is tif})
