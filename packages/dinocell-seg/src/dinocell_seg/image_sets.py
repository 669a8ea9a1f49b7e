"""Images of several files, as OME-TIFF sets are: a batch that names their files segments each image once."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dinocell_io import Image, image_files


def parts_of_images(images: Sequence[str], scene: str | int | None) -> dict[str, str]:
    """The images that are further files of an image named before, and why each is left out."""
    in_folder = Counter(Path(image).parent for image in images)
    first: dict[tuple[str | None, tuple[str, ...]], str] = {}
    parts: dict[str, str] = {}
    for image in images:
        if in_folder[Path(image).parent] == 1:
            continue
        try:
            name, files = image_files(image, scene=scene)
        except (ValueError, OSError):
            continue  # the error is reported when it is segmented
        if image not in files:
            continue
        if (name, files) in first:
            parts[image] = f"it holds further planes of the image in {first[name, files]}, which is segmented once"
        else:
            first[name, files] = image
    return parts


def check_holds_pixels(image: Image, scene: str | int | None) -> None:
    """Raise ValueError if a file of a set does not hold the scene: its results would have another file's name."""
    if image.files and image.uri not in image.files:
        raise ValueError(
            f"{image.uri} does not hold scene {scene}, whose pixels are in {', '.join(image.files[:3])}; give that "
            "file, or leave --scene out: each file of a set then gives its own image"
        )
