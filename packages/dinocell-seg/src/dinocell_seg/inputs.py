"""Which image files a command line means: files, folders and patterns, in a fixed order."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from dinocell_io import IMAGE_SUFFIXES
from dinocell_seg.output_files import is_output, output_stem


def find_images(words: Iterable[str]) -> list[str]:
    """The images of a list of files, folders and glob patterns, each once.

    A folder means the images directly in it, without hidden files and without what an earlier run wrote
    there. A pattern may hold ** for folders within folders. What contains :// is passed on as it is. Raises
    ValueError for a word that names nothing, and for a folder without images.
    """
    found: dict[str, None] = {}
    for word in words:
        for image in _images_of(word):
            found[image] = None
    return list(found)


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
        return [word]
    path = Path(word)
    if path.is_dir():
        images = [str(file) for file in sorted(path.iterdir()) if _is_image(file)]
        if not images:
            raise ValueError(f"the folder {word} holds no images; expected {', '.join(IMAGE_SUFFIXES)}")
        return images
    if path.exists():
        return [str(path)]
    if not glob.has_magic(word):
        raise ValueError(f"{word} does not exist; give an image file, a folder of images or a pattern")
    images = [match for match in sorted(glob.glob(word, recursive=True)) if _is_image(Path(match))]
    if not images:
        raise ValueError(f"the pattern {word} matches no image; expected {', '.join(IMAGE_SUFFIXES)}")
    return images


def _is_image(file: Path) -> bool:
    hidden = file.name.startswith(".")
    return file.suffix.lower() in IMAGE_SUFFIXES and file.is_file() and not hidden and not is_output(file)
