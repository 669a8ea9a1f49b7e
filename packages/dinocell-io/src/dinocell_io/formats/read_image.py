"""The one function that reads a plane of an image whole."""

from pathlib import Path

from dinocell_io.formats.open_image import open_image
from dinocell_io.images.image import Image
from dinocell_io.stores.store import Store


def read_image(
    uri: str | Path,
    *,
    scene: str | int | None = None,
    z: int | None = None,
    t: int | None = None,
    store: Store | None = None,
) -> Image:
    """Read one plane of an image whole, with all its channels, without changing a pixel.

    Grey stays one channel and RGB three, in the file's own dtype. Transparency is dropped, a palette becomes RGB,
    the orientation in EXIF or a TIFF's tag is noted and not applied. What is ambiguous is refused with what can be
    chosen: several images in one file (`scene`, by name or index), Z or T axes longer than 1 (`z`, `t`, from 0);
    CMYK is refused. Addresses and formats are those of `open_image`, which reads regions and smaller levels.
    Raises FileNotFoundError, StoreError, or ValueError for a file that is empty, damaged, cut short, of
    an unsupported format or larger than memory; a damaged file is never returned as a black image.
    """
    image = open_image(uri, scene=scene, store=store)
    pixels = image.read(z=z, t=t)
    return Image(pixels, image.channels, image.pixel_size_um, image.is_rgb, image.uri, image.files, image.notes)
