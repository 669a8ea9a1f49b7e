"""Which images a command line means: files, OME-Zarr, addresses, folders and patterns, in a fixed order."""

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dinocell_io import (
    IMAGE_SUFFIXES,
    READABLE_SUFFIXES,
    StoreError,
    images_among,
    is_zarr,
    open_store,
    zarr_images,
    zarr_root,
)
from dinocell_seg.output_files import is_output, output_stem

_UNREADABLE = (
    *(".bmp", ".c01", ".dcm", ".dv", ".flex", ".gif", ".ims", ".jp2", ".lsm", ".mrc", ".mrxs", ".nii"),
    *(".oib", ".oif", ".sld", ".stk", ".vsi", ".webp", ".zvi"),
)
_NOT_TAKEN = {*READABLE_SUFFIXES, *_UNREADABLE} - {*IMAGE_SUFFIXES, ".npy"}  # npy files may be anything
_EXPECTED = f"{', '.join(IMAGE_SUFFIXES)}, or OME-Zarr (.zarr)"
NOT_TAKEN = (
    f"a folder stands for its {', '.join(IMAGE_SUFFIXES)} and .zarr; name such a file itself if 'dinocell info' reads "
    "it, else convert it"
)


@dataclass(frozen=True)
class Inputs:
    """The images of a command line, in order, each once; files that look like images but are not used, and images that
    cannot be segmented, both with why."""

    images: list[str]
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def find_images(words: Iterable[str], *, whole_zarr: bool = False) -> Inputs:
    """The images of a list of files, OME-Zarr folders, folders of images and glob patterns, each once.

    An OME-Zarr folder is one image, or those that it lists: the fields of a plate or well, the series of a file;
    with `whole_zarr` it is always one. Any other folder, of this machine or a bucket, means the images directly in
    it, without hidden files and without what an earlier run wrote there; formats that hold more than images (npy) or
    many of them (nd2, czi, lif, slides) are named one by one, or by a pattern that ends with their suffix. A pattern
    may hold ** for folders within folders, and does not look into OME-Zarr. Labels, results and thumbnails beside
    the image of that name (`images_among`) are left out where both are meant; named alone they are taken. Another
    address of a bucket is passed on as one image, unseen. Raises ValueError for a word that names nothing and for a
    folder without images, StoreError for a folder of a bucket that cannot be listed.
    """
    words = list(words)
    found = _joined(_of_word(word, whole_zarr=whole_zarr) for word in words)
    # a shell puts names of files in place of a pattern
    named = {Path(word).as_posix(): str(Path(word)) for word in words if "://" not in word and Path(word).is_file()}
    beside = {named[name]: why for name, why in images_among(named)[1].items()}
    images = [image for image in found.images if image not in beside]
    return Inputs(images, {file: why for file, why in (found.left_out | beside).items() if file not in images})


def _joined(parts: Iterable[Inputs]) -> Inputs:
    images: dict[str, None] = {}
    left_out: dict[str, str] = {}
    for part in parts:
        images |= dict.fromkeys(part.images)
        left_out |= part.left_out
    return Inputs(list(images), left_out)


def _of_word(word: str, *, whole_zarr: bool) -> Inputs:
    path = Path(word)
    if "://" in word:
        return _of_address(word, whole_zarr=whole_zarr)
    if is_zarr(path) and path.exists():
        return Inputs(_zarr(str(path), whole_zarr=whole_zarr))
    if path.is_dir():
        return _among(_names_in(path), folder=str(path), whole_zarr=whole_zarr)
    return Inputs([str(path)]) if path.exists() else _of_pattern(word, whole_zarr=whole_zarr)


def without_clashes(found: Inputs, words: Iterable[str]) -> Inputs:
    """The images without those of one folder that would write the same output files: an image and its preview.

    Of each such group the first has failed, and the others are left out. Raises ValueError, with a list, if the `words`
    name one of them, if they lie in different folders, or if no other image remains.
    """
    by_stem: dict[str, list[str]] = {}
    for image in found.images:
        by_stem.setdefault(output_stem(image).casefold(), []).append(image)
    groups = [group for group in by_stem.values() if len(group) > 1]
    clashing = {image for group in groups for image in group}
    named = {name for word in words for name in (word.rstrip("/"), str(Path(word)))}
    in_one_folder = all(len({_folder_of(image) for image in group}) == 1 for group in groups)
    images = [image for image in found.images if image not in clashing]
    if groups and (named & clashing or not in_one_folder or not images):
        raise ValueError(
            f"these images would write the same output files: {'; '.join(map(' and '.join, groups))}. "
            "Nothing was written; segment them into different folders, or rename them"
        )
    failed = {group[0]: _clash(group) for group in groups}
    others = {image: _clash(group) for group in groups for image in group[1:]}
    return Inputs(images, found.left_out | others, failed)


def _clash(group: Sequence[str]) -> str:
    """Why none of these images is segmented, and the patterns that choose one of them."""
    endings = [PurePosixPath(zarr_root(image)[0].replace("\\", "/")).suffix for image in group]
    patterns = [f"'{glob.escape(_folder_of(group[0]))}/*{ending}'" for ending in endings if endings.count(ending) == 1]
    choice = f"choose with a pattern, {' or '.join(patterns)}" if "://" not in group[0] and patterns else "rename one"
    return f"{' and '.join(group)} would write the same output files, and none was segmented; {choice}"


def _folder_of(image: str) -> str:
    return zarr_root(image)[0].replace("\\", "/").rpartition("/")[0] or "."


def _of_address(word: str, *, whole_zarr: bool) -> Inputs:
    if is_zarr(word):
        return Inputs(_zarr(word.rstrip("/"), whole_zarr=whole_zarr))
    if not word.endswith("/") and PurePosixPath(word).suffix:
        return Inputs([word])
    store, prefix = open_store(word if word.endswith("/") else f"{word}/")
    names = [info.key.removeprefix(prefix) for info in store.list(prefix, delimiter="/")]
    if not names and not word.endswith("/"):
        return Inputs([word])  # an object without a suffix, or a mistake: reading it will show
    return _among(names, folder=word.rstrip("/"), whole_zarr=whole_zarr)


def _names_in(folder: Path) -> list[str]:
    """Its files, and its OME-Zarr with a slash behind; a link that leads nowhere must not be passed over."""
    found = sorted(folder.iterdir())
    return [path.name for path in found if not path.is_dir()] + [
        f"{path.name}/" for path in found if path.is_dir() and is_zarr(path)
    ]


def _among(names: Sequence[str], *, folder: str, whole_zarr: bool) -> Inputs:
    """The images of a folder with these files and, with a slash behind, folders."""
    groups = [name.rstrip("/") for name in names if name.endswith("/") and is_zarr(f"{folder}/{name}")]
    files = [name for name in names if not name.endswith("/")]
    # a group without a suffix has one here, to be seen as an image that files may be beside
    images, beside = images_among([*files, *(name if is_zarr(name) else f"{name}.zarr" for name in groups)])
    taken = [f"{folder}/{name}" for name in images]
    taken += [one for name in groups if name[0] != "." for one in _zarr(f"{folder}/{name}", whole_zarr=whole_zarr)]
    if not taken:
        raise ValueError(f"the folder {folder} holds no images; expected {_EXPECTED}, or name the files themselves")
    why = {name: NOT_TAKEN for name in files if PurePosixPath(name.lower()).suffix in _NOT_TAKEN and name[0] != "."}
    why |= {name: reason for name, reason in beside.items() if not is_output(name, files)}
    return Inputs(sorted(taken), {f"{folder}/{name}": reason for name, reason in sorted(why.items())})


def _zarr(address: str, *, whole_zarr: bool) -> list[str]:
    if whole_zarr:
        return [address]
    try:
        return zarr_images(address)
    except (ValueError, StoreError):  # the error is reported when it is read, and does not stop others
        return [address]


def _of_pattern(word: str, *, whole_zarr: bool) -> Inputs:
    if not glob.has_magic(word):
        raise ValueError(f"{word} does not exist; give an image file, a folder of images or a pattern")
    named = Path(word).suffix.lower()
    suffixes = (*IMAGE_SUFFIXES, named) if named in READABLE_SUFFIXES else IMAGE_SUFFIXES
    matches = [path for path in map(Path, sorted(glob.glob(word, recursive=True))) if path.name[0] != "."]
    beside = {folder: _beside(folder) for folder in {path.parent for path in matches}}
    found = _joined(_of_match(path, suffixes, beside[path.parent], whole_zarr=whole_zarr) for path in matches)
    if not found.images:
        raise ValueError(f"the pattern {word} matches no image; expected {_EXPECTED}")
    return found


def _of_match(path: Path, suffixes: tuple[str, ...], beside: Mapping[str, str], *, whole_zarr: bool) -> Inputs:
    if is_zarr(path.parent):  # what lies inside is read as part of it
        return Inputs([])
    if path.is_dir():
        return Inputs(_zarr(str(path), whole_zarr=whole_zarr) if is_zarr(path) else [])
    why = beside.get(path.name)
    if path.suffix.lower() not in suffixes or is_zarr(path):
        return Inputs([])
    return Inputs([str(path)]) if why is None else Inputs([], {str(path): why} if why else {})


def _beside(folder: Path) -> dict[str, str]:
    """Why files of a folder are not images; "" for results of an earlier run, which need no row."""
    names = _names_in(folder)
    why = images_among([name.rstrip("/") for name in names])[1]
    return {name: "" if is_output(name, names) else reason for name, reason in why.items()}
