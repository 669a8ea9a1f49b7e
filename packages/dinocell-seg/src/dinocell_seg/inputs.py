"""Which images a command line means: files, OME-Zarr, addresses, folders and patterns, in a fixed order."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from dinocell_io import IMAGE_SUFFIXES
from dinocell_io.formats import READABLE_SUFFIXES
from dinocell_io.ome_zarr_path import is_zarr
from dinocell_seg.output_files import is_output, output_stem

_UNREADABLE = (
    *(".bmp", ".c01", ".dcm", ".dv", ".flex", ".gif", ".ims", ".jp2", ".lsm", ".mrc", ".mrxs", ".nii"),
    *(".oib", ".oif", ".sld", ".stk", ".vsi", ".webp", ".zvi"),
)
_LEFT_OUT = {*READABLE_SUFFIXES, *_UNREADABLE} - {*IMAGE_SUFFIXES, ".npy"}  # npy files may be anything
_EXPECTED = f"{', '.join(IMAGE_SUFFIXES)}, or OME-Zarr (.zarr)"


def find_images(words: Iterable[str]) -> list[str]:
    """The images of a list of files, OME-Zarr folders, folders of images and glob patterns, each once.

    An OME-Zarr folder is one image, and so is a group inside one. Any other folder means the images directly in
    it, without hidden files and without what an earlier run wrote there; formats that hold more than images (npy)
    or many of them (nd2, czi, lif, slides) are named one by one, or by a pattern that ends with their suffix. A
    pattern may hold ** for folders within folders, and does not look into OME-Zarr. What contains :// is passed on
    as one image, unseen. Raises ValueError for a word that names nothing, a folder without images, and an address
    that ends with / and is no OME-Zarr.
    """
    found: dict[str, None] = {}
    for word in words:
        for image in _images_of(word):
            found[image] = None
    return list(found)


def left_out(words: Iterable[str]) -> list[str]:
    """Files that look like images and lie in folders of the command line, but are not taken: formats that hold many
    images, unless they are named too, and formats that cannot be read."""
    words = list(words)
    named = {Path(word).absolute() for word in words}
    folders = [Path(word) for word in words if "://" not in word and Path(word).is_dir() and not is_zarr(word)]
    files = (file for folder in folders for file in sorted(folder.iterdir()))
    return [
        str(file)
        for file in files
        if file.suffix.lower() in _LEFT_OUT
        and not file.name.startswith(".")
        and file.is_file()
        and file.absolute() not in named
    ]


def refuse_equal_stems(images: Sequence[str]) -> None:
    """Raise ValueError, with a list, if two images would write the same output files."""
    by_stem: dict[str, list[str]] = {}
    for image in images:
        by_stem.setdefault(output_stem(image).casefold(), []).append(image)
    clashes = [" and ".join(group) for group in by_stem.values() if len(group) > 1]
    if clashes:
        raise ValueError(
            f"these images would write the same output files: {'; '.join(clashes)}. "
            "Nothing was written; segment them into different folders, or rename them"
        )


def _images_of(word: str) -> list[str]:
    if "://" in word:
        address = word.rstrip("/") if is_zarr(word) else word
        if address.endswith("/"):
            raise ValueError(f"{word} is a folder of a bucket; give the addresses of its images, or copy it here first")
        return [address]
    path = Path(word)
    if path.is_dir() and not is_zarr(path):
        images = [str(file) for file in sorted(path.iterdir()) if _is_image(file)]
        if not images:
            raise ValueError(f"the folder {word} holds no images; expected {_EXPECTED}, or name the files themselves")
        return images
    if path.exists():
        return [str(path)]
    if not glob.has_magic(word):
        raise ValueError(f"{word} does not exist; give an image file, a folder of images or a pattern")
    named = path.suffix.lower()
    suffixes = (*IMAGE_SUFFIXES, named) if named in READABLE_SUFFIXES else IMAGE_SUFFIXES
    matches = [Path(match) for match in sorted(glob.glob(word, recursive=True))]
    images = [str(match) for match in matches if _is_image(match, suffixes)]
    if not images:
        raise ValueError(f"the pattern {word} matches no image; expected {_EXPECTED}")
    return images


def _is_image(path: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    if path.name.startswith("."):
        return False
    if is_zarr(path):
        # what lies inside is read as part of it
        return path.is_dir() and is_zarr(path.name) and not is_zarr(path.parent)
    # a link that leads nowhere fails like any file that cannot be read: it must not be passed over
    is_file = path.is_file() or (path.is_symlink() and not path.exists())
    return path.suffix.lower() in suffixes and is_file and not is_output(path)
