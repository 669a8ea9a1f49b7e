"""OME-TIFF sets: one description of many files, each of which holds some planes of it.

Files of sets are copied alone, renamed, swapped, and mixed with files of other acquisitions that have the same names.
tifffile takes the first file that has the name. Here every reference of the description to a file is settled before
tifffile reads it: it is the opened file, another one of the same folder that is of this set, or missing.
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from xml.etree import ElementTree

import tifffile

from dinocell_io.images.damage import damage_named
from dinocell_io.images.scenes import chosen_scene, names_or_numbers
from dinocell_io.plural import listed
from dinocell_io.stores.stored_file import StoredFile
from dinocell_io.system.image_file_error import ImageFileError

_OUTSIDE = str(2**31 - 1)  # a page that no file has: its plane is missing


@dataclass(frozen=True)
class SetImage:
    """One image of a set: its description, with references resolved, and the message about planes that are missing.

    `names` are those of all images of the set, of which this is `number`.
    """

    xml: str
    names: tuple[str, ...]
    number: int
    why_missing: str


def image_of_set(file: StoredFile, xml: str, uuid: str | None, scene: str | int | None) -> SetImage | None:
    """The chosen image of the set that `xml` describes; None for a description of this file alone.

    Without a choice it is the image of which this file holds planes. `uuid` is what this file says of itself.
    Raises ValueError if there is no such image or several, or if this file cannot be one of the set.
    """
    own_name = PurePosixPath(file.uri.replace("\\", "/")).name
    if set(re.findall(r"""FileName\s*=\s*["']([^"']*)["']""", xml)) <= {own_name}:
        return None
    root = ElementTree.fromstring(xml)
    images = root.findall("{*}Image")
    references = _References(file, own_name, uuid, _references(root))
    held = [number for number, image in enumerate(images) if references.own_planes(image)]
    names = _names(images)
    details = [f"in {listed(sorted({ref.name for ref in _references(image)}), 3)}" for image in images]
    only_own = scene is None and len(held) == 1
    number = held[0] if only_own else chosen_scene(file.uri, names, scene, details)
    for image in images[:number] + images[number + 1 :]:
        root.remove(image)
    missing = references.settle(images[number])
    if all(data.get("IFD") == _OUTSIDE for data in images[number].iterfind("{*}Pixels/{*}TiffData")):
        raise ImageFileError(f"{file.uri}: no plane of the image {names[number]} is there; {_missing_files(missing)}")
    root.set("UUID", "urn:this")  # no reference has it: tifffile compares names and UUIDs no more
    text = ElementTree.tostring(root, encoding="unicode")
    return SetImage(text, names, number, _missing_files(missing) if missing else "")


def file_uuid(xml: str) -> str | None:
    """What a file says it is, in its own description."""
    found = re.search(r"""<(?:\w+:)?OME\b[^>]*?\bUUID\s*=\s*["']([^"']+)["']""", xml)
    return found[1] if found else None


@dataclass(frozen=True)
class _Reference:
    element: ElementTree.Element
    name: str
    uuid: str


def _references(element: ElementTree.Element) -> list[_Reference]:
    return [reference for data in element.iterfind(".//{*}TiffData") if (reference := _reference(data)) is not None]


def _reference(data: ElementTree.Element) -> _Reference | None:
    """The file that a TiffData names; None if it means the file that holds the description."""
    found = data.find("{*}UUID")
    if found is None:
        return None
    # the name in the folder, whatever path was written where the set was made
    name = PureWindowsPath(PurePosixPath(found.get("FileName", "")).name).name
    return _Reference(found, name, (found.text or "").strip())


def _missing_files(missing: list[str]) -> str:
    are = "is" if len(missing) == 1 else "are"
    return (
        f"planes of it are in {listed(missing, 3)}, which {are} not beside it, or of another set; put the whole set "
        "into one folder, or export the image as one file"
    )


def _names(images: list[ElementTree.Element]) -> tuple[str, ...]:
    return names_or_numbers([(image.get("Name") or "").strip() for image in images])


class _References:
    """Which file a reference means."""

    def __init__(self, file: StoredFile, own_name: str, own_uuid: str | None, references: list[_Reference]) -> None:
        self.file, self.own_name, self.own_uuid = file, own_name, own_uuid
        known = sorted({reference.name for reference in references})
        of_uuid = sorted({reference.name for reference in references if reference.uuid == own_uuid})
        by_uuid = of_uuid[0] if len(of_uuid) == 1 else None
        by_name = own_name if own_name in known else next((name for name in known if _same(name, own_name)), None)
        # a writer whose files do not have the UUIDs that its descriptions say is known by names alone
        self.has_uuids = own_uuid is None or by_uuid is not None
        self._of_set: dict[tuple[str, str], bool] = {}
        if by_uuid is not None and by_name is not None and by_uuid != by_name:
            self.own = self._swapped_or_copied(by_uuid, by_name)
        elif by_uuid is not None or by_name is not None or len(known) == 1:
            # a description of one file, under a name that it no longer has, is of the file that holds it
            self.own = by_uuid or by_name or known[0]
        else:
            raise ImageFileError(
                f"{file.uri} is one file of a set of {len(known)} files but has none of their names "
                f"({listed(known, 3)}); give it back the name it had"
            )

    def _swapped_or_copied(self, by_uuid: str, by_name: str) -> str:
        """The UUID is that of one file of the set, the name that of another."""
        other = self._uuid_in(by_uuid)
        if other is None:
            raise ImageFileError(
                f"{self.file.uri} says that it is {by_uuid} of its set, but has the name of another file of it, and "
                f"{by_uuid} is not beside it; give it back the name it had"
            )
        # where both files have one UUID, each holds a copy of the same text, and only the names distinguish them
        return by_name if other == self.own_uuid else by_uuid

    def own_planes(self, image: ElementTree.Element) -> bool:
        references = [_reference(data) for data in image.iterfind("{*}Pixels/{*}TiffData")]
        return any(reference is None or reference.name == self.own for reference in references)

    def settle(self, image: ElementTree.Element) -> list[str]:
        """Change the references for tifffile; the names of files that are missing."""
        missing: dict[str, None] = {}
        for data in image.iterfind("{*}Pixels/{*}TiffData"):
            reference = _reference(data)
            if reference is None:
                continue
            if reference.name != self.own and self._is_there(reference):
                reference.element.set("FileName", reference.name)
                reference.element.text = f"urn:file:{reference.name}"  # two files may have one UUID
                continue
            data.remove(reference.element)
            if reference.name != self.own:
                missing[reference.name] = None
                data.set("IFD", _OUTSIDE)
        return list(missing)

    def _is_there(self, reference: _Reference) -> bool:
        key = (reference.name, reference.uuid)
        if key not in self._of_set:
            found = self._uuid_in(reference.name) if reference.name != self.own_name else None
            is_of_set = found in ("", reference.uuid, self.own_uuid) or not self.has_uuids
            self._of_set[key] = found is not None and is_of_set
        return self._of_set[key]

    def _uuid_in(self, name: str) -> str | None:
        """What the file of that name says it is; "" if nothing, None if there is no such file."""
        path: Path | None = None if self.file.path is None else self.file.path.with_name(name)
        if path is None or not path.is_file():
            return None
        with damage_named(str(path), "TIFF", tifffile.TiffFileError), tifffile.TiffFile(path) as tif:
            return file_uuid(tif.ome_metadata or "") or ""


def _same(name: str, other: str) -> bool:
    return unicodedata.normalize("NFC", name).casefold() == unicodedata.normalize("NFC", other).casefold()
