"""Which files hold an image's pixels, so that a batch reads an image of several files once."""

from pathlib import Path

from dinocell_io.images.damage import DAMAGE
from dinocell_io.images.image import TIFF_SUFFIXES
from dinocell_io.stores.uri import split_uri


def image_files(uri: str | Path, *, scene: str | int | None = None) -> tuple[str | None, tuple[str, ...]]:
    """The chosen image's name and its files, for a file of an OME-TIFF or Micro-Manager set; (None, ()) for others.

    Errors are those of `open_image`.
    """
    scheme, _, key = split_uri(uri)
    if scheme != "file" or not key.lower().endswith(TIFF_SUFFIXES) or not _may_be_of_a_set(Path(uri)):
        return None, ()
    from dinocell_io.formats.open_image import open_image

    image = open_image(uri, scene=scene)
    return image.scene, image.files or (image.uri,)


def _may_be_of_a_set(path: Path) -> bool:
    """Judged by the first page only: most files of a batch are single images, and every file is checked."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            text = tif.ome_metadata or ""
            return "FileName" in text or "BinaryOnly" in text or tif.is_mmstack
    except (*DAMAGE, tifffile.TiffFileError):
        return False  # the error is reported when the file is read
