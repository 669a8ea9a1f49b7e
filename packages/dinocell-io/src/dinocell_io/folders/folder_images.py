"""Which files of a folder are images, by their names alone, and which are labels, results or thumbnails of images."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Mapping

from dinocell_io.formats.open_image import READABLE_SUFFIXES
from dinocell_io.images.image import IMAGE_SUFFIXES

# what segmentation programs write beside the image of that name; see also `dinocell_eval`'s label files
COMPANION_ENDINGS = (
    *("_labels", "_label", "_overlay", "_distance_map", "_cells", "_segmentation"),
    *("_masks", "_mask", "_cp_masks", "_seg", "_flows", "_cp_output", "_cp_flows", "_dp", "_cellprob"),
    *("_outlines", "_cp_outlines", ".stardist"),
)
FOLDERS_OF_LABELS = frozenset({"masks", "labels"})
_OUR_RECORD = "_run.json"
_COMPANION = "labels or a result beside the image of that name"
_DOUBLE_SUFFIXES = (".ome.tiff", ".ome.tif", ".ome.zarr")
# ImageXpress writes ..._thumb and a GUID for each image, which has another GUID
_THUMBNAIL = re.compile(r"(.+?)_thumb(?:nail)?s?[0-9a-f]*(?![0-9a-z])", re.IGNORECASE)


def image_stem(name: str) -> str:
    """A file name without its suffix; .ome.tif counts as one."""
    for suffix in _DOUBLE_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name.rpartition(".")[0] or name


def images_among(names: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """Of the files of folders, with "/" between parts of a path, the images in order, and what is left out with why.

    Images have one of `IMAGE_SUFFIXES`. Left out are, beside an image of that name, labels and results (an ending of
    `COMPANION_ENDINGS`; results of `dinocell segment` also beside their _run.json) and thumbnails (..._thumb...); and
    files in a folder `masks` or `labels` beside a folder `images` with a file of that name. Hidden files and what
    lies in a .zarr are not looked at.
    """
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in names:
        folder, _, name = path.rpartition("/")
        if not any(part.startswith(".") or part.lower().endswith(".zarr") for part in folder.split("/")):
            by_folder[folder].append(name)
    images: list[str] = []
    left_out: dict[str, str] = {}
    for folder, found in by_folder.items():
        place = f"{folder}/" if folder else ""
        why = _not_images(found) | _in_folder_of_labels(folder, found, by_folder)
        left_out |= {place + name: reason for name, reason in why.items()}
        images += [place + name for name in found if _is_named_like_image(name) and name not in why]
    return sorted(images), dict(sorted(left_out.items()))


def _is_named_like_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def _not_images(names: Collection[str]) -> dict[str, str]:
    """Why files that are named like images are none, by what lies beside them in one folder."""
    records = {name.casefold() for name in names if name.endswith(_OUR_RECORD)}
    stems = {image_stem(name).casefold() for name in names if name.lower().endswith(READABLE_SUFFIXES)}
    stems |= {stem.removesuffix("_img") for stem in stems}  # as Cellpose names the images of its data sets
    why = {}
    for name in filter(_is_named_like_image, names):
        stem = image_stem(name).casefold()
        for ending in COMPANION_ENDINGS:
            of = stem.removesuffix(ending)
            if of not in (stem, "") and (of in stems or of + _OUR_RECORD in records):
                why[name] = _COMPANION
    thumbnails = {name: match[1].casefold() for name in names if (match := _THUMBNAIL.match(name))}
    full = sorted(name.casefold() for name in names if _is_named_like_image(name) and name not in thumbnails)
    for name, start in thumbnails.items():
        first = bisect_left(full, start)
        if first < len(full) and full[first].startswith(start):
            why[name] = "a thumbnail beside its image"
    return why


def _in_folder_of_labels(
    folder: str, names: Collection[str], by_folder: Mapping[str, Collection[str]]
) -> dict[str, str]:
    """Why files in masks/ or labels/ are not images: those in a dataset's images/ have the same names."""
    above, _, last = folder.rpartition("/")
    if last.casefold() not in FOLDERS_OF_LABELS:
        return {}
    images = f"{above}/images" if above else "images"
    stems = {image_stem(name).casefold() for name in by_folder.get(images, ())}
    why = {}
    for name in filter(_is_named_like_image, names):
        stem = image_stem(name).casefold()
        if stems & {stem, *map(stem.removesuffix, COMPANION_ENDINGS)}:
            why[name] = "labels of an image in images/"
    return why
